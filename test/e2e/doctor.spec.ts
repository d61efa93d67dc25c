/** `seaway doctor` with a real name server and real gateways: the step that fails, its cause, what mends it. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Diagnosis, DoctorStep } from '../../src/registry/index.ts'
import { rawCid } from '../../src/store/index.ts'
import { useBed } from './support/bed.ts'
import { type Bind, startBind } from './support/bind.ts'
import { freePort } from './support/daemon.ts'
import { gatewayEnv, runSeaway, type SeawayGateway } from './support/gateway.ts'
import { available, type RunResult } from './support/process.ts'
import { repository } from './support/wire.ts'

/** A directory that nobody has, and a peer that nobody is. */
const ABSENT = 'bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'
const NOBODY = '12D3KooWQ7ijcbCSmYXyrsPmVGZbmHMvM7gMRRiiRURXjqYdxM3x'

const LIMITS = { SEAWAY_DNS_TIMEOUT: '4s', SEAWAY_DIAL_TIMEOUT: '4s', SEAWAY_BLOCK_TIMEOUT: '3s' }

describe('doctor', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('doctor')
  const layer = Buffer.alloc(2_500_000, 'what the doctor looks at ')
  let bind: Bind
  let publisher: SeawayGateway
  let puller: SeawayGateway
  let root: string
  let pushed: { manifest: string; layer: string }

  before(async function () {
    if (!available('named', 'dig', 'nsupdate', 'tsig-keygen')) this.skip()
    bind = keep(await startBind({ dir: folder('named'), zones: { 'ships.example': [] } }))
    publisher = await gateway('publisher', {
      dns: bind.server,
      env: { ...LIMITS, SEAWAY_SEED_LISTEN: `127.0.0.1:${await freePort()}` }
    })
    puller = await gateway('puller', { dns: bind.server, env: LIMITS })
    pushed = await repository(publisher.url, 'ships.example/app').putImage('1', layer)
    root = await publisher.root('ships.example')
    await bind.setLines('ships.example', await publisher.records('ships.example'))
  })

  const ask = (from: SeawayGateway, ...args: string[]): Promise<RunResult> =>
    from.seaway(['doctor', ...args], { allowFailure: true })
  async function diagnose(from: SeawayGateway, ...args: string[]): Promise<RunResult & { found: Diagnosis }> {
    const result = await ask(from, ...args, '--json')
    return { ...result, found: JSON.parse(result.stdout) as Diagnosis }
  }
  const stepOf = ({ steps }: Diagnosis, name: string): DoctorStep => {
    const step = steps.find((one) => one.step === name)
    assert.ok(step, `no step ${name}: ${JSON.stringify(steps)}`)
    return step
  }
  /** What the zone holds instead of what is right; right is a link to the root, and the publisher's addresses. */
  const records = (link: string | undefined, peers: readonly string[] | undefined): Promise<void> =>
    bind.setTxt('ships.example', {
      ...(link === undefined ? {} : { _dnslink: `dnslink=${link}` }),
      ...(peers === undefined ? {} : { '@': `ipfsnode=${JSON.stringify(peers)}` })
    })

  it('times each step of a domain that works, through the gateway that runs', async () => {
    const { status, found, stderr } = await diagnose(puller, 'ships.example/app:1')
    assert.equal(status, 0, stderr)
    assert.equal(stderr, '')
    assert.deepEqual(
      found.steps.map(({ step, state }) => `${step} ${state}`),
      ['servers', 'records', 'peers', 'root', 'tree', 'manifest', 'layers'].map((step) => `${step} ok`),
      JSON.stringify(found)
    )
    assert.deepEqual([found.version, found.target, found.ok], [1, 'ships.example/app:1', true])
    const ways = stepOf(found, 'layers').parts.filter(({ what }) => what === pushed.layer)
    assert.deepEqual(
      ways.map(({ way, ok, says }) => [way, ok, says]),
      ['http', 'stream', 'bitswap'].map((way) => [way, true, '1048576 bytes'])
    )
    assert.ok(stepOf(found, 'peers').parts.length >= 3, 'TCP, WebSocket and the seed port')
    const usage = JSON.parse((await puller.seaway(['usage', '--json'])).stdout)
    assert.equal(usage.store.used, 0, 'nothing of what it fetched was kept')
  })

  it('prints plain lines through a pipe, and works alone when no gateway runs', async () => {
    const { status, stdout, stderr } = await runSeaway(
      ['doctor', 'ships.example'],
      gatewayEnv(folder('alone'), bind.server, LIMITS),
      { allowFailure: true }
    )
    assert.equal(status, 0, stderr)
    assert.equal(stderr, '')
    assert.match(stdout, /^ships\.example\nSTATE +STEP +TIME\nok +servers +\d+\.?\d* ms /)
    assert.match(stdout, new RegExp(`ok +records .* ships\\.example → /ipfs/${root} `))
    assert.ok(!stdout.includes('\r') && !stdout.includes('\u001b'))
  })

  /** What is published instead, which step fails, its cause, what it says, what mends it. */
  const cases: Record<string, [() => Promise<void>, string, string, RegExp, RegExp]> = {
    'a wrong record': [
      () => records('/ipfs/not-a-cid', publisher.peers),
      'records',
      'unusable-record',
      /not-a-cid/,
      /correct the record: _dnslink\.ships\.example TXT "dnslink=/
    ],
    'no record': [
      () => records(undefined, publisher.peers),
      'records',
      'no-record',
      /no dnslink record for ships\.example/,
      /seaway publish ships\.example/
    ],
    'a record for another namespace': [
      () => records('/swarm/1234', publisher.peers),
      'records',
      'unusable-record',
      /namespace "swarm"/,
      /correct the record/
    ],
    'a CID that is no directory': [
      () => records(`/ipfs/${rawOf(pushed.manifest)}`, publisher.peers),
      'root',
      'not-a-directory',
      /a file where a directory was expected/,
      /seaway root ships\.example/
    ],
    'a root that its peer does not have': [
      () => records(`/ipfs/${ABSENT}`, publisher.peers),
      'root',
      'root-missing',
      new RegExp(ABSENT),
      /seaway verify/
    ],
    'an unknown protocol': [
      () => records(`/ipfs/${root}`, ['/ip4/127.0.0.1/nonsense/1']),
      'peers',
      'no-peers',
      /nonsense/,
      /ships\.example TXT "ipfsnode=/
    ],
    'another peer at the address': [
      () =>
        records(`/ipfs/${root}`, [
          (publisher.peers.find((peer) => !peer.includes('/http')) ?? '').replace(
            /\/p2p\/.*/,
            `/p2p/${NOBODY}`
          )
        ]),
      'peers',
      'unreachable',
      /answered as another peer/,
      /its peer id of now/
    ]
  }
  for (const [what, [publish, step, cause, why, remedy]] of Object.entries(cases)) {
    it(`finds ${what}`, async () => {
      await publish()
      const { status, stderr, found } = await diagnose(puller, 'ships.example')
      assert.equal(status, 1)
      assert.equal(found.failed, step, JSON.stringify(found))
      const { trouble } = stepOf(found, step)
      assert.equal(trouble?.cause, cause)
      assert.match(trouble?.why ?? '', why)
      assert.match(trouble?.remedy ?? '', remedy)
      assert.match(stderr, new RegExp(`^seaway: ships\\.example: ${step} failed: [^\n]*\n$`))
    })
  }

  it('finds an address that the policy forbids', async () => {
    await records(`/ipfs/${root}`, publisher.peers)
    // what a gateway may dial that listens beyond loopback; alone, it listens nowhere
    const env = { ...LIMITS, SEAWAY_LISTEN: '192.0.2.1:0', SEAWAY_ALLOW_ANONYMOUS_PUSH: 'yes' }
    const careful = gatewayEnv(folder('careful'), bind.server, env)
    const result = await runSeaway(['doctor', 'ships.example', '--json'], careful, { allowFailure: true })
    assert.equal(result.status, 1)
    const { parts, trouble } = stepOf(JSON.parse(result.stdout) as Diagnosis, 'peers')
    assert.ok(parts.length >= 3 && parts.every(({ kind }) => kind === 'policy'), result.stdout)
    assert.match(trouble?.remedy ?? '', /SEAWAY_ANNOUNCE/)
  })

  it('refuses what is no image of a domain, as bad usage', async () => {
    for (const wrong of ['ships.example/app:a:b', 'ships.example/App', '-', 'nodomain/app']) {
      const { status, stdout } = await ask(puller, wrong)
      assert.deepEqual([status, stdout], [2, ''], wrong)
    }
  })

  it('looks at the gateway itself', async () => {
    const { status, found, stderr } = await diagnose(publisher)
    assert.equal(status, 0, stderr)
    assert.deepEqual(
      found.steps.map(({ step, state }) => `${step} ${state}`),
      ['listening ok', 'data ok', 'servers ok', 'addresses warning', 'published ok', 'upstreams ok'],
      JSON.stringify(found)
    )
    assert.equal(stepOf(found, 'addresses').trouble?.cause, 'loopback-only')
    const alone = await runSeaway(['doctor', '--json'], gatewayEnv(folder('alone'), bind.server, LIMITS), {
      allowFailure: true
    })
    assert.equal(alone.status, 1)
    assert.equal((JSON.parse(alone.stdout) as Diagnosis).failed, 'listening')
  })

  it('finds a damaged layer', async () => {
    // whoever asks next reads other bytes than the digest says
    const hex = pushed.layer.slice('sha256:'.length)
    await writeFile(join(publisher.data, 'blobs', hex.slice(0, 2), hex), Buffer.alloc(layer.length))
    const { status, found } = await diagnose(puller, 'ships.example/app:1')
    assert.equal(status, 1)
    assert.equal(found.failed, 'layers', JSON.stringify(found))
    const { trouble, parts } = stepOf(found, 'layers')
    assert.equal(trouble?.cause, 'layer-missing')
    assert.ok(trouble?.why.includes(pushed.layer))
    assert.match(trouble?.remedy ?? '', /seaway verify/)
    const mine = parts.filter(({ what }) => what === pushed.layer)
    assert.ok(mine.length >= 2 && mine.every(({ ok }) => !ok), JSON.stringify(mine))
  })

  it('finds a peer that was killed, and names the refusal of each address', async () => {
    const before = await repository(puller.url, 'ships.example/app').getManifest('1')
    assert.equal(before.status, 200, 'the puller knows the domain now')
    await before.arrayBuffer()
    await publisher.kill()
    const { status, found } = await diagnose(puller, 'ships.example')
    assert.equal(status, 1)
    assert.equal(found.failed, 'peers', JSON.stringify(found))
    const { parts, trouble } = stepOf(found, 'peers')
    assert.deepEqual(new Set(parts.map(({ kind }) => kind)), new Set(['refused']))
    assert.match(trouble?.remedy ?? '', /start the gateway at that address, or take the address out/)
  })

  it('marks the last good answer when the name servers are gone', async () => {
    await bind.stop()
    const { status, found } = await diagnose(puller, 'ships.example')
    assert.equal(status, 1)
    assert.equal(found.failed, 'servers')
    assert.equal(stepOf(found, 'servers').trouble?.cause, 'servers-down')
    const { stale, says } = stepOf(found, 'records')
    assert.equal(stale, true)
    assert.match(says, new RegExp(`last good answer, root ${root} of `))
    assert.equal(stepOf(found, 'peers').state, 'failed', 'what it leads to is looked at')
  })
})

/** The CID of a raw leaf follows from its digest. */
function rawOf(digest: string): string {
  return rawCid(Buffer.from(digest.slice('sha256:'.length), 'hex')).toString()
}
