/** IPNS names of domains: keys, what is signed and given away when, and what a name leads to. */
import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { privateKeyFromProtobuf } from '@libp2p/crypto/keys'
import type { CID } from 'multiformats/cid'
import {
  createIpnsBook,
  createIpnsResolver,
  type IpnsBook,
  makeRecord,
  parseIpnsName,
  readRecord
} from '../../src/discovery/index.ts'
import type { Routing } from '../../src/ipfs/index.ts'
import { createLog } from '../../src/log.ts'
import { RegistryError } from '../../src/oci/errors.ts'
import { createIpns, type Ipns } from '../../src/registry/ipns.ts'
import { rawCid } from '../../src/store/index.ts'
import { memoryRecords } from '../support/ipfs-nodes.ts'
import { tempFolder } from '../support/temp.ts'

const DOMAIN = 'ships.example'
const ADDRESS = '/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWQ7ijcbCSmYXyrsPmVGZbmHMvM7gMRRiiRURXjqYdxM3x'
const MOVED = ADDRESS.replace('4001', '4002')
const OTHER = '/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWGRUfSTiwzQfJGhnxkZAGxVNqyGFzmmwwmHaqVpYGSUvA'
const HOUR = 3_600_000
const LIFETIME = 48 * HOUR

const log = createLog('silent')
const signal = new AbortController().signal
const rootOf = (n: number): CID => rawCid(new Uint8Array(32).fill(n))

describe('IPNS names of domains', () => {
  const folder = tempFolder()
  let serial = 0
  let now: number
  let given: { name: string; value: string; sequence: bigint; validUntil: number }[]
  /** What each service says of a record that it is given; nothing when it takes it. */
  let services: Record<string, string | undefined>
  /** What the network has, by name. */
  let network: Map<string, Uint8Array>
  let book: IpnsBook
  /** The gateway's own. */
  let addresses: string[]
  let ipns: Ipns

  after(() => folder.remove())

  function open(keys: string): Ipns {
    const routing: Pick<Routing, 'putRecord' | 'records'> = {
      async putRecord(cid, bytes) {
        const name = parseIpnsName(cid.toString()) ?? assert.fail('no name')
        const { value, sequence, validUntil } = await readRecord(name, bytes, now)
        given.push({ name: name.text, value, sequence, validUntil })
        const results = Object.entries(services).map(([by, problem]) => ({ by, problem }))
        if (results.some(({ problem }) => problem === undefined)) network.set(name.text, bytes)
        return results
      },
      async *records(cid) {
        const bytes = network.get(parseIpnsName(cid.toString())?.text ?? '')
        if (bytes !== undefined) yield { by: 'the network', bytes }
      }
    }
    const ipfs = { routing: routing as Routing, async *ask() {} }
    const resolver = createIpnsResolver({ ipfs, book, timeoutMs: 2000, log, now: () => now })
    return createIpns({
      folder: keys,
      ipfs,
      book,
      resolver,
      addresses: async () => addresses,
      lifetimeMs: LIFETIME,
      putTimeoutMs: 2000,
      log,
      now: () => now
    })
  }

  let keys: string
  beforeEach(async () => {
    keys = join(folder.path, `keys-${serial++}`)
    await mkdir(keys)
    now = Date.now()
    given = []
    services = { dht: undefined }
    network = new Map()
    addresses = [ADDRESS]
    book = createIpnsBook({ records: memoryRecords(), log, now: () => now })
    ipns = open(keys)
  })
  afterEach(() => ipns.stop())

  const publish = (n: number, addresses = [ADDRESS]) =>
    ipns.publish(DOMAIN, rootOf(n), addresses, { ttlMs: 60_000, signal })
  /** What a start gives away, when it is through with it, or has given so many. */
  async function renewed(count = 0): Promise<typeof given> {
    given = []
    ipns = open(keys)
    ipns.start()
    while (given.length < count) await new Promise((resolve) => setImmediate(resolve))
    await ipns.stop()
    return given
  }

  it('belong to their domains, and are made when they are first asked for', async () => {
    assert.deepEqual(await ipns.keys(), [])
    const name = await ipns.name(DOMAIN)
    assert.match(name, /^k51/)
    assert.equal(await ipns.name(DOMAIN), name)
    assert.notEqual(await ipns.name('other.example'), name)
    assert.deepEqual((await ipns.keys()).map(({ domain }) => domain).toSorted(), ['other.example', DOMAIN])
  })

  it('count up with every new root, and not for the same one', async () => {
    await publish(1)
    await publish(1)
    await publish(2)
    await publish(2, ['/ip4/127.0.0.1/tcp/4002'])
    assert.deepEqual(
      given.map(({ value, sequence }) => [value, sequence]),
      [
        [`/ipfs/${rootOf(1)}`, 0n],
        [`/ipfs/${rootOf(1)}`, 0n],
        [`/ipfs/${rootOf(2)}`, 1n],
        [`/ipfs/${rootOf(2)}`, 2n]
      ]
    )
    const name = await ipns.name(DOMAIN)
    const record = await ipns.record(name)
    assert.ok(record)
    const read = await readRecord(parseIpnsName(name) ?? assert.fail(), record.bytes, now)
    assert.deepEqual([read.providers, read.ttlMs], [['/ip4/127.0.0.1/tcp/4002'], 60_000])
    assert.ok(Math.abs(read.validUntil - now - LIFETIME) < 1000)
  })

  it('are told of only when nobody takes the record', async () => {
    services = { dht: 'no peers', router: undefined }
    assert.deepEqual((await publish(1)).notes, [])
    services = { dht: 'no peers', router: 'status 500' }
    assert.deepEqual((await publish(2)).notes, [
      'dht did not take the IPNS record: no peers',
      'router did not take the IPNS record: status 500'
    ])
    services = {}
    assert.deepEqual((await publish(3)).notes, [], 'where there is no network to tell, it is served here')
  })

  it('are signed again when half of their time has passed, under the same number', async () => {
    await publish(1)
    now += LIFETIME / 2 - HOUR
    const [same] = await renewed()
    assert.equal(same?.validUntil, given[0]?.validUntil)
    const before = same?.validUntil ?? 0
    now += 2 * HOUR
    const [fresh] = await renewed()
    assert.equal(fresh?.sequence, 0n)
    assert.ok((fresh?.validUntil ?? 0) > before + HOUR, 'it holds for longer')
  })

  it('are signed again after their end, when the gateway was off for too long', async () => {
    await publish(1)
    now += 2 * LIFETIME
    assert.equal(await ipns.record(await ipns.name(DOMAIN)), undefined)
    const [fresh] = await renewed()
    assert.equal(fresh?.value, `/ipfs/${rootOf(1)}`)
    assert.ok((fresh?.validUntil ?? 0) > now)
  })

  /** The addresses that the domain's record names now. */
  const named = async (name: string): Promise<readonly string[]> => {
    const { bytes } = (await ipns.record(name)) ?? assert.fail('there is no record')
    return (await readRecord(parseIpnsName(name) ?? assert.fail(), bytes, now)).providers
  }

  it('are signed again when this gateway has other addresses than they name', async () => {
    await publish(1, [ADDRESS, OTHER])
    addresses = [MOVED]
    const [fresh] = await renewed(1)
    assert.deepEqual([fresh?.value, fresh?.sequence], [`/ipfs/${rootOf(1)}`, 1n])
    assert.deepEqual(await named(await ipns.name(DOMAIN)), [MOVED, OTHER])
    assert.equal((await renewed(1))[0]?.sequence, 1n, 'once')
  })

  it('are not signed for addresses where they do not name this gateway, or are retired', async () => {
    await publish(1, [OTHER])
    const { old } = await ipns.rotateKey(DOMAIN, signal)
    addresses = [MOVED]
    await renewed(2)
    assert.deepEqual(await named(await ipns.name(DOMAIN)), [OTHER])
    await publish(2, [ADDRESS])
    await ipns.rotateKey(DOMAIN, signal)
    await renewed(3)
    assert.deepEqual(await named(await ipns.name(DOMAIN)), [MOVED])
    assert.deepEqual(await named(old.name), [OTHER])
  })

  it('do not go back to an older root for new addresses', async () => {
    await publish(1)
    const name = await ipns.name(DOMAIN)
    const key = privateKeyFromProtobuf(Buffer.from((await ipns.exportKey(DOMAIN, 'libp2p')).key, 'base64'))
    const theirs = { value: `/ipfs/${rootOf(7)}`, sequence: 5n, lifetimeMs: LIFETIME, ttlMs: 1000, now }
    network.set(name, await makeRecord(key, { ...theirs, providers: [ADDRESS, OTHER] }))
    addresses = [MOVED]
    const [fresh] = await renewed(1)
    assert.deepEqual([fresh?.value, fresh?.sequence], [`/ipfs/${rootOf(7)}`, 6n])
    assert.deepEqual(await named(name), [MOVED, OTHER])
  })

  it('are not given away at a start that has no record of them', async () => {
    await ipns.name(DOMAIN)
    assert.deepEqual(await renewed(), [])
  })

  it('lead to the root that is published now, whatever was known before', async () => {
    await publish(1)
    const name = await ipns.name(DOMAIN)
    assert.equal(String(await ipns.current(name, [], signal)), rootOf(1).toString())
    // somebody else has the key too, and published since
    const other = createIpnsBook({ records: memoryRecords(), log, now: () => now })
    const theirs = join(folder.path, `keys-${serial++}`)
    await mkdir(theirs)
    const { key } = await ipns.exportKey(DOMAIN, 'libp2p')
    const mine = book
    book = other
    const second = open(theirs)
    book = mine
    await second.importKey(DOMAIN, key)
    assert.equal(await second.name(DOMAIN), name)
    await second.take(name, network.get(name) ?? assert.fail('it was given away'))
    await second.publish(DOMAIN, rootOf(7), [ADDRESS], { ttlMs: 60_000, signal })
    assert.equal(String(await ipns.current(name, [], signal)), rootOf(7).toString())
  })

  it('have no root before they are published, and say so without failing', async () => {
    const name = await ipns.name(DOMAIN)
    assert.equal(await ipns.current(name, [], signal), undefined)
  })

  it('lead on to the new name when a key is changed', async () => {
    await publish(1)
    const { old, now: fresh } = await ipns.rotateKey(DOMAIN, signal)
    assert.deepEqual([old.retired, fresh.retired], [true, false])
    assert.notEqual(old.name, fresh.name)
    assert.equal(await ipns.name(DOMAIN), fresh.name)
    assert.deepEqual(
      given.slice(-2).map(({ name, value }) => [name, value]),
      [
        [fresh.name, `/ipfs/${rootOf(1)}`],
        [old.name, `/ipns/${fresh.name}`]
      ]
    )
    assert.equal(String(await ipns.current(old.name, [], signal)), rootOf(1).toString())
    await publish(2)
    assert.equal(String(await ipns.current(old.name, [], signal)), rootOf(2).toString())
  })

  it('take newer records from others, and refuse older ones and what is none', async () => {
    await publish(1)
    const name = await ipns.name(DOMAIN)
    const first = network.get(name) ?? assert.fail('it was given away')
    await publish(2)
    await assert.rejects(ipns.take(name, first), (error: unknown) => {
      assert.ok(error instanceof RegistryError && error.code === 'DENIED', String(error))
      return true
    })
    await ipns.take(name, network.get(name) ?? assert.fail('it was given away'))
    for (const [text, bytes] of [
      [name, Buffer.from('no record')],
      ['no-name', first]
    ] as const)
      await assert.rejects(ipns.take(text, bytes), (error: unknown) => {
        assert.ok(error instanceof RegistryError && error.code === 'REQUEST_INVALID', String(error))
        return true
      })
  })

  it('know nothing of names that nobody told them of', async () => {
    assert.equal(await ipns.record('no-name'), undefined)
    await assert.rejects(ipns.exportKey(DOMAIN, 'pem'), RegistryError)
    await assert.rejects(ipns.current('no-name', [], signal), /is not an IPNS name/)
  })

  it('are refused when they lead from name to name', async () => {
    const [a, b] = ['a.example', 'b.example']
    const names = new Map<string, string>()
    for (const domain of [a, b]) names.set(domain, await ipns.name(domain))
    for (const [from, to] of [
      [a, b],
      [b, a]
    ] as const) {
      const key = privateKeyFromProtobuf(Buffer.from((await ipns.exportKey(from, 'libp2p')).key, 'base64'))
      const value = `/ipns/${names.get(to)}`
      const record = { value, sequence: 0n, lifetimeMs: LIFETIME, ttlMs: 1000, providers: [], now }
      network.set(names.get(from) ?? '', await makeRecord(key, record))
    }
    await assert.rejects(ipns.current(names.get(a) ?? '', [], signal), /leads from name to name/)
  })
})
