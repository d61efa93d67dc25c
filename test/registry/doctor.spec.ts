/** What a doctor says of domains that can and cannot be pulled from. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { AUTHENTIC_DATA } from 'dns-packet'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import { parseImageOfDomain } from '../../src/oci/reference.ts'
import type { Diagnosis, DoctorStep } from '../../src/registry/index.ts'
import { dagPbBlock } from '../../src/store/dag.ts'
import { rawCid } from '../../src/store/index.ts'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'
import { descriptor, manifest, OCI_INDEX, type OciClient, ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

const DOMAIN = 'ships.example.org'

/** A directory that nobody has. */
const ABSENT = 'bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'
const EMPTY = dagPbBlock({ Data: new UnixFS({ type: 'directory' }).marshal(), Links: [] })
const NOBODY = '12D3KooWQ7ijcbCSmYXyrsPmVGZbmHMvM7gMRRiiRURXjqYdxM3x'
const LOST_NAME = 'k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8'

/** Looks at what is asked for with a server's doctor. */
async function examine(server: RegistryServer, asked?: string): Promise<Diagnosis> {
  const shown: string[] = []
  const found = await server.registry.doctor?.examine(asked === undefined ? {} : parseImageOfDomain(asked), {
    signal: new AbortController().signal,
    report: ({ what, done, total }) => {
      assert.ok(done < total, what)
      shown.push(what)
    }
  })
  assert.ok(found)
  const done = found.steps.filter(({ step, state }) => state !== 'skipped' && step !== 'ipns')
  assert.ok(shown.length >= done.length, 'each step is shown while it is under way')
  // what travels over the control socket, and is printed
  return JSON.parse(JSON.stringify(found)) as Diagnosis
}

const stepOf = ({ steps }: Diagnosis, name: string): DoctorStep => {
  const step = steps.find((one) => one.step === name)
  assert.ok(step, `there is no step ${name} among ${steps.map((one) => one.step).join()}`)
  return step
}

describe('doctor of a domain', () => {
  let dns: DnsServer
  let publisher: RegistryServer
  let reader: RegistryServer
  let push: OciClient
  let root: string
  let layer: string
  let free: number

  before(async () => {
    dns = await startDnsServer()
    publisher = await startRegistryServer({ dns })
    reader = await startRegistryServer({ dns })
    push = ociClient(publisher)
    const bytes = randomBytes(300_000)
    const made = await push.image(`${DOMAIN}/app`, '9')
    const config = JSON.parse(made.bytes.toString()).config
    const big = await push.blob(`${DOMAIN}/app`, bytes)
    layer = big.digest
    const image = manifest({ config, layers: [big] })
    await push.put(`${DOMAIN}/app`, image, '10')
    const index = manifest(
      { manifests: [{ ...descriptor(image), platform: { os: 'linux', architecture: 'amd64' } }] },
      OCI_INDEX
    )
    await push.put(`${DOMAIN}/other`, made, 'latest').catch(() => undefined)
    await push.put(`${DOMAIN}/app`, index, 'many')
    root = await publisher.publish(DOMAIN)
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    free = (server.address() as { port: number }).port
    await new Promise((resolve) => server.close(resolve))
    await publisher.store.blocks.put(EMPTY.cid, EMPTY.bytes)
  })
  after(async () => {
    await reader.stop()
    await publisher.stop()
    await dns.stop()
  })
  beforeEach(() => publisher.publish(DOMAIN))
  afterEach(() => dns.behave('*', undefined))

  const link = (value: string): void => dns.setTxt(`_dnslink.${DOMAIN}`, [`dnslink=${value}`])
  const peers = (...addresses: string[]): void =>
    dns.setTxt(DOMAIN, [`ipfsnode=${JSON.stringify(addresses)}`])

  it('times every step of one that works, and keeps nothing of what it fetches', async () => {
    const found = await examine(reader, DOMAIN)
    assert.equal(found.ok, true, JSON.stringify(found))
    assert.deepEqual(
      found.steps.map(({ step, state }) => `${step} ${state}`),
      ['servers', 'records', 'peers', 'root', 'tree', 'manifest', 'layers'].map((step) => `${step} ok`)
    )
    for (const { ms } of found.steps) assert.ok(ms > 0)
    const { parts } = stepOf(found, 'servers')
    assert.deepEqual(
      parts.map(({ what, says }) => [what, says]),
      [[dns.address, `dnslink=/ipfs/${root}`]]
    )
    assert.match(stepOf(found, 'records').says, new RegExp(`^${DOMAIN} → /ipfs/${root} `))
    assert.deepEqual(
      stepOf(found, 'layers').parts.map(({ way, ok }) => [way, ok]),
      [
        ['bitswap', true],
        ['bitswap', true]
      ]
    )
    assert.equal(await reader.store.blocks.find(CID.parse(root)), undefined)
    assert.equal((await readdir(join(reader.folder, 'incoming'))).length, 0)
  })

  it('looks at the image that is named: the tag, and of an index the image for this machine', async () => {
    const named = await examine(reader, `${DOMAIN}/app:10`)
    assert.match(stepOf(named, 'manifest').says, /^10 is sha256:\w+$/)
    assert.ok(stepOf(named, 'layers').parts.some(({ what }) => what === layer))
    const many = await examine(reader, `${DOMAIN}/app:many`)
    assert.match(stepOf(many, 'manifest').says, /an index; sha256:\w+ for linux\/amd64/)
    assert.ok(stepOf(many, 'layers').parts.some(({ what }) => what === layer))
  })

  /** What is arranged, which step fails, its cause, what it says, what mends it. */
  type Case = [
    arrange: () => unknown,
    step: string,
    cause: string,
    why: RegExp,
    remedy: RegExp,
    asked?: string
  ]
  const cases: Record<string, Case> = {
    'servers that fail': [
      () => dns.behave('*', { rcode: 'SERVFAIL' }),
      'servers',
      'servers-down',
      /127\.0\.0\.1:\d+.*answered SERVFAIL/,
      /SEAWAY_DNS_SERVERS/
    ],
    'no record': [
      () => dns.remove(`_dnslink.${DOMAIN}`),
      'records',
      'no-record',
      /no dnslink record for ships\.example\.org/,
      /seaway publish ships\.example\.org.*_dnslink\.ships\.example\.org TXT "dnslink=\/ipfs\/<root>"/
    ],
    'a record for another namespace': [
      () => link('/swarm/1234'),
      'records',
      'unusable-record',
      /namespace "swarm"/,
      /correct the record: _dnslink/
    ],
    'a record that holds no CID': [
      () => link('/ipfs/not-a-cid'),
      'records',
      'unusable-record',
      /not-a-cid/,
      /correct the record: _dnslink/
    ],
    'records that lead in a circle': [
      () => link(`/ipns/${DOMAIN}`),
      'records',
      'unusable-record',
      /loop: ships\.example\.org → ships\.example\.org/,
      /correct the record: _dnslink/
    ],
    'a name of which nobody has a record': [
      () => link(`/ipns/${LOST_NAME}`),
      'ipns',
      'ipns-unresolved',
      /did not resolve/,
      /seaway publish ships\.example\.org --ipns/
    ],
    'nobody named': [
      () => dns.remove(DOMAIN),
      'peers',
      'no-peers',
      /no usable ipfsnode= record/,
      /ships\.example\.org TXT "ipfsnode=/
    ],
    'an unknown protocol': [
      () => peers('/ip4/127.0.0.1/nonsense/1'),
      'peers',
      'no-peers',
      /nonsense/,
      /ships\.example\.org TXT "ipfsnode=/
    ],
    'a peer that is not there': [
      () => peers(`/ip4/127.0.0.1/tcp/${free}/p2p/${NOBODY}`),
      'peers',
      'unreachable',
      /connection refused/,
      /start the gateway at that address, or take the address out of the record/
    ],
    'another peer at its address': [
      () => peers((publisher.addresses()[0] as string).replace(/\/p2p\/.*/, `/p2p/${NOBODY}`)),
      'peers',
      'unreachable',
      /answered as another peer/,
      /prints its peer id of now/
    ],
    'an address that cannot be dialled': [
      () => peers('/ip4/127.0.0.1/udp/4001/quic-v1'),
      'peers',
      'unreachable',
      /nothing here can dial/,
      /over TCP, WebSocket or HTTP/
    ],
    'a root that is a file': [
      async () => link(`/ipfs/${rawCid(Buffer.from(layer.slice(7), 'hex'))}`),
      'root',
      'not-a-directory',
      /is a file where a directory was expected/,
      /seaway root ships\.example\.org/
    ],
    'a root that the peer does not have': [
      () => link(`/ipfs/${ABSENT}`),
      'root',
      'root-missing',
      new RegExp(ABSENT),
      /seaway verify.*seaway publish ships\.example\.org/
    ],
    'a directory that is no registry': [
      () => link(`/ipfs/${EMPTY.cid}`),
      'tree',
      'no-tree',
      /holds no repositories/,
      /seaway root ships\.example\.org/
    ],
    'a repository that is not there': [
      () => undefined,
      'tree',
      'no-repository',
      /has no repository missing; it has ships\.example\.org\/app/,
      /push it/,
      `${DOMAIN}/missing`
    ],
    'a tag that is not there': [
      () => undefined,
      'manifest',
      'no-tag',
      /has no tag '11'/,
      /push it/,
      `${DOMAIN}/app:11`
    ]
  }
  for (const [what, [arrange, step, cause, why, remedy, asked = DOMAIN]] of Object.entries(cases)) {
    it(`names the step, the cause and the remedy of ${what}`, async () => {
      await arrange()
      const found = await examine(reader, asked)
      assert.equal(found.ok, false)
      assert.equal(found.failed, step, JSON.stringify(found))
      const { state, trouble } = stepOf(found, step)
      assert.equal(state, 'failed')
      assert.equal(trouble?.cause, cause)
      assert.match(trouble?.why ?? '', why)
      assert.match(trouble?.remedy ?? '', remedy)
      const after = found.steps.slice(found.steps.findIndex((one) => one.step === step) + 1)
      const looked = after.filter((one) => one.state !== 'skipped' && one.step !== 'records')
      assert.deepEqual(looked, [], 'there is nothing left to look at')
    })
  }

  it('names addresses that the policy forbids', async () => {
    const careful = await startRegistryServer({ dns, doctorDial: 'public' })
    try {
      const { parts, trouble } = stepOf(await examine(careful, DOMAIN), 'peers')
      assert.deepEqual(
        parts.map(({ kind }) => kind),
        ['policy']
      )
      assert.match(trouble?.remedy ?? '', /SEAWAY_ANNOUNCE.*SEAWAY_ALLOW_PRIVATE_PEERS=yes/)
    } finally {
      await careful.stop()
    }
  })

  it('goes on with one address of several, and says what is wrong with the others', async () => {
    peers(`/ip4/127.0.0.1/tcp/${free}/p2p/${NOBODY}`, ...publisher.addresses())
    const found = await examine(reader, DOMAIN)
    assert.equal(found.ok, true)
    const { state, parts, trouble } = stepOf(found, 'peers')
    assert.equal(state, 'warning')
    assert.deepEqual(
      parts.map(({ ok, kind }) => [ok, kind]),
      [
        [false, 'refused'],
        [true, undefined]
      ]
    )
    assert.equal(trouble?.cause, 'unreachable')
  })

  it('says of records that are not used which they are, and goes on', async () => {
    dns.setTxt(`_dnslink.${DOMAIN}`, [`dnslink=/ipfs/${root}`, 'dnslink=/ipfs/zzz'])
    const found = await examine(reader, DOMAIN)
    assert.equal(found.ok, true)
    const { state, trouble } = stepOf(found, 'records')
    assert.deepEqual([state, trouble?.cause], ['warning', 'record-problems'])
    assert.match(trouble?.why ?? '', /zzz/)
  })

  it('says which servers validated their answers with DNSSEC', async () => {
    const plain = stepOf(await examine(reader, DOMAIN), 'servers').parts
    assert.equal(plain[0]?.authenticated, undefined)
    dns.behave('*', {
      handler: (_, { packet, send }) => send({ ...packet, flags: (packet.flags ?? 0) | AUTHENTIC_DATA })
    })
    const { parts } = stepOf(await examine(reader, DOMAIN), 'servers')
    assert.equal(parts[0]?.authenticated, true)
  })

  it('asks each name server by itself', async () => {
    const other = await startDnsServer()
    other.setTxt(`_dnslink.${DOMAIN}`, [`dnslink=/ipfs/${ABSENT}`])
    const two = await startRegistryServer({ dns, doctorServers: [dns.address, other.address] })
    try {
      const differ = stepOf(await examine(two, DOMAIN), 'servers')
      assert.deepEqual([differ.state, differ.trouble?.cause], ['warning', 'servers-differ'])
      assert.equal(differ.parts.length, 2)
      other.behave('*', { rcode: 'REFUSED' })
      const down = stepOf(await examine(two, DOMAIN), 'servers')
      assert.deepEqual([down.state, down.trouble?.cause], ['warning', 'servers-down'])
      assert.deepEqual(
        down.parts.map(({ ok }) => ok),
        [true, false]
      )
    } finally {
      await two.stop()
      await other.stop()
    }
  })

  it('marks the last good answer, and examines what it leads to', async () => {
    const knowing = await startRegistryServer({ dns })
    try {
      await ociClient(knowing).expect(200, 'GET', `/v2/${DOMAIN}/app/manifests/9`)
      dns.behave('*', { rcode: 'SERVFAIL' })
      const found = await examine(knowing, DOMAIN)
      assert.deepEqual([found.ok, found.failed], [false, 'servers'])
      const { state, stale, trouble } = stepOf(found, 'records')
      assert.deepEqual([state, stale], ['failed', true])
      assert.match(trouble?.why ?? '', new RegExp(`last good answer, root ${root} of 20`))
      assert.equal(stepOf(found, 'layers').state, 'ok')
    } finally {
      await knowing.stop()
    }
  })

  it('says where the tree here is ahead of what is published', async () => {
    await push.image(`${DOMAIN}/app`, 'newer')
    const found = await examine(publisher, DOMAIN)
    assert.equal(found.ok, true, JSON.stringify(found))
    const { state, trouble } = stepOf(found, 'records')
    assert.deepEqual([state, trouble?.cause], ['warning', 'behind'])
    assert.match(trouble?.remedy ?? '', /^run 'seaway publish ships\.example\.org'$/)
  })

  it('names a layer that its publisher has only damaged', async () => {
    const hex = layer.slice('sha256:'.length)
    await writeFile(join(publisher.folder, 'blobs', hex.slice(0, 2), hex), Buffer.alloc(300_000))
    const found = await examine(reader, `${DOMAIN}/app:10`)
    assert.equal(found.failed, 'layers')
    const { trouble, parts } = stepOf(found, 'layers')
    assert.equal(trouble?.cause, 'layer-missing')
    assert.match(trouble?.why ?? '', new RegExp(layer))
    assert.match(trouble?.remedy ?? '', /seaway verify/)
    assert.deepEqual(
      parts.map(({ what, ok }) => [what === layer, ok]),
      [
        [false, true],
        [true, false]
      ]
    )
  })
})

describe('doctor of the gateway itself', () => {
  let server: RegistryServer

  before(async () => {
    server = await startRegistryServer()
  })
  after(() => server.stop())

  const states = ({ steps }: Diagnosis): string[] => steps.map(({ step, state }) => `${step} ${state}`)

  it('says that none runs, and looks at the rest', async () => {
    const found = await examine(server)
    assert.deepEqual([found.target, found.failed], ['gateway', 'listening'])
    assert.deepEqual(states(found), [
      'listening failed',
      'data ok',
      'servers ok',
      'addresses skipped',
      'published ok'
    ])
    assert.match(stepOf(found, 'listening').trouble?.remedy ?? '', /seaway serve/)
  })

  it('looks at one that runs: its port, its addresses, what it has not published', async () => {
    server.registry.doctor?.listening({
      at: server.host,
      check: async () => undefined,
      addresses: () => server.addresses()
    })
    const fine = await examine(server)
    assert.equal(fine.ok, true, JSON.stringify(fine))
    const { state, trouble } = stepOf(fine, 'addresses')
    assert.deepEqual([state, trouble?.cause], ['warning', 'loopback-only'])
    assert.match(trouble?.remedy ?? '', /SEAWAY_ANNOUNCE/)

    await ociClient(server).image('own.example.org/app', '1')
    const before = stepOf(await examine(server), 'published')
    assert.deepEqual([before.state, before.trouble?.cause], ['warning', 'not-published'])
    assert.equal(before.trouble?.remedy, 'seaway publish own.example.org')
    await server.publish('own.example.org')
    assert.equal(stepOf(await examine(server), 'published').state, 'ok')
  })

  it('says which domains are published at addresses that the gateway has not', async () => {
    const [own] = server.addresses()
    const gone = own?.replace(/\/tcp\/\d+/, '/tcp/1') ?? assert.fail('it has no address')
    const others = `/ip4/192.0.2.1/tcp/4001/p2p/${NOBODY}`
    server.dns.setTxt('own.example.org', [`ipfsnode=${JSON.stringify([gone, own, others])}`])
    const { state, trouble } = stepOf(await examine(server), 'published')
    assert.deepEqual([state, trouble?.cause], ['warning', 'not-published'])
    assert.equal(trouble?.why, `own.example.org: is published at ${gone}, where this gateway is not any more`)
    assert.equal(trouble?.remedy, 'seaway publish own.example.org')
    server.dns.setTxt('own.example.org', [`ipfsnode=${JSON.stringify([others])}`])
    const without = stepOf(await examine(server), 'published').trouble
    assert.equal(without?.why, `own.example.org: is published without ${own}`)
    await server.publish('own.example.org')
    assert.equal(stepOf(await examine(server), 'published').state, 'ok')
  })

  it('fails when nobody can reach it', async () => {
    server.registry.doctor?.listening({
      at: server.host,
      check: async () => {
        throw new Error('what answers there is no registry')
      },
      addresses: () => [`/ip4/127.0.0.1/tcp/1/p2p/${NOBODY}`]
    })
    const found = await examine(server)
    assert.equal(found.failed, 'listening')
    assert.match(stepOf(found, 'listening').trouble?.why ?? '', /no registry/)
    assert.equal(stepOf(found, 'addresses').trouble?.cause, 'unreachable')
  })
})
