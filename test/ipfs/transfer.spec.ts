import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { MemoryDatastore } from 'datastore-core'
import type { CID } from 'multiformats/cid'
import { createIpfs, type Ipfs, type PeerId } from '../../src/ipfs/index.ts'
import { createTransfers, type Transfers } from '../../src/ipfs/transfer.ts'
import { createLog } from '../../src/log.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { type TestGateway, testGateway } from '../support/ipfs-gateway.ts'
import {
  addFile,
  content,
  forever,
  HASTY,
  memoryRecords,
  PROFILES,
  startNode,
  stopNodes,
  type TestNode
} from '../support/ipfs-nodes.ts'
import { tempFolder } from '../support/temp.ts'

const MiB = 1024 * 1024
const LINGER = 150

describe('ipfs: a blob on its way into the store', () => {
  let temp: ReturnType<typeof tempFolder>
  let store: Store
  let server: TestNode
  let http: Server
  let gateway: TestGateway
  let ipfs: Ipfs
  let transfers: Transfers
  let peers: readonly PeerId[]

  beforeEach(async () => {
    temp = tempFolder()
    store = await openStore({ folder: temp.path, reserve: 0 })
    server = await startNode()
    gateway = testGateway(server.store)
    http = createServer((request, answer) => gateway.handler(request, answer))
    await server.ipfs.serveHttp(http)
    ipfs = await createIpfs({
      blockstore: store.blocks,
      datastore: new MemoryDatastore(),
      records: memoryRecords(),
      listen: [],
      announce: [],
      routing: 'none',
      allowDial: 'any',
      log: createLog('silent'),
      timeouts: HASTY
    })
    peers = await ipfs.connect(server.ipfs.addresses(), { signal: forever() })
    transfers = createTransfers({ ipfs, store, log: createLog('silent'), lingerMs: LINGER })
  })
  afterEach(async () => {
    http.closeAllConnections()
    await transfers.stop()
    await ipfs.stop()
    await stopNodes()
    await store.close()
    await temp.remove()
  })

  const open = (cid: CID, digest: Digest) =>
    transfers.open({ cid, digest, peers: async () => peers }, forever())
  async function all(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
    const pieces: Uint8Array[] = []
    for await (const piece of stream) pieces.push(piece)
    return Buffer.concat(pieces)
  }
  /** Ends the peer altogether: no other way is left. */
  const cutOff = () => server.ipfs.stop()
  async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
    for (const end = Date.now() + 5000; !(await condition()); await sleep(10))
      assert.ok(Date.now() < end, 'in vain')
  }

  it('is one transfer for all who want it, whenever they come', async () => {
    const bytes = content(6 * MiB + 5)
    const cid = await addFile(server.store, bytes)
    const hold = Promise.withResolvers<void>()
    gateway.sending = async (index) => {
      if (index === 4) await hold.promise
      return undefined
    }
    const first = all((await open(cid, digestOf(bytes))).read())
    await until(() => gateway.sent >= 4)
    const second = all((await open(cid, digestOf(bytes))).read())
    const part = all((await open(cid, digestOf(bytes))).read({ start: MiB - 1, end: 5 * MiB }))
    hold.resolve()
    assert.deepEqual(await first, bytes)
    assert.deepEqual(await second, bytes)
    assert.deepEqual(await part, bytes.subarray(MiB - 1, 5 * MiB + 1))
    assert.equal(gateway.requests.length, 1)
    assert.equal(gateway.sent, 8)
    const { done } = await open(cid, digestOf(bytes))
    await done(forever())
    assert.equal((await store.blobs.stat(digestOf(bytes)))?.cid.toString(), cid.toString())
  })

  it('bytes are passed on as they are verified, but for the last piece', async () => {
    const bytes = content(3 * MiB)
    const cid = await addFile(server.store, bytes)
    const hold = Promise.withResolvers<void>()
    gateway.sending = async (index) => {
      if (index === 3) await Promise.race([hold.promise, sleep(300)])
      return undefined
    }
    let size = 0
    let before = 0
    for await (const piece of (await open(cid, digestOf(bytes))).read()) {
      size += (piece as Uint8Array).length
      if (gateway.sent < 4) before = size
      if (size === 2 * MiB) hold.resolve()
    }
    assert.equal(before, 2 * MiB)
    assert.equal(size, 3 * MiB)
  })

  for (const size of [1000, MiB, 3 * MiB, 3 * MiB + 9]) {
    it(`other content than the digest says (${size} bytes) is never given whole, and nothing of it is kept`, async () => {
      const bytes = content(size)
      const cid = await addFile(server.store, bytes)
      const digest = digestOf(Buffer.from('what the tree promises'))
      const transfer = await open(cid, digest)
      let got = 0
      await assert.rejects(
        async () => {
          for await (const piece of transfer.read()) got += (piece as Uint8Array).length
        },
        { code: 'SOURCE_FAILED', message: /other content/ }
      )
      assert.ok(got < size)
      assert.equal(await store.blobs.stat(digest), undefined)
      assert.equal(await store.blobs.stat(digestOf(bytes)), undefined)
      assert.deepEqual(await store.incoming.list(), [])
    })
  }

  it('what was verified before it ended is not fetched again', async () => {
    const bytes = content(6 * MiB + 5)
    const cid = await addFile(server.store, bytes)
    const hold = Promise.withResolvers<void>()
    gateway.sending = async (index) => {
      if (index === 5) await hold.promise
      return undefined
    }
    const reader = (await open(cid, digestOf(bytes))).read()[Symbol.asyncIterator]()
    await reader.next()
    await until(async () => (await store.incoming.list())[0]?.size === 4 * MiB)
    await reader.return?.()
    await sleep(LINGER * 3)
    hold.reject(new Error('that answer is over'))
    gateway.sending = async () => undefined
    gateway.sent = 0
    assert.deepEqual(await all((await open(cid, digestOf(bytes))).read()), bytes)
    assert.deepEqual(
      gateway.requests.map((url) => /entity-bytes=.*/.exec(url)?.[0]),
      [undefined, `entity-bytes=${4 * MiB}:*`]
    )
    // the root, two leaves and the rest
    assert.equal(gateway.sent, 4)
  })

  it('ends a while after its last client has gone, and keeps what it has', async () => {
    const bytes = content(8 * MiB)
    const cid = await addFile(server.store, bytes)
    gateway.sending = async (index) => {
      if (index > 3) await sleep(100)
      return undefined
    }
    const stream = (await open(cid, digestOf(bytes))).read()
    for await (const _ of stream) break
    await sleep(LINGER + 250)
    const { sent } = gateway
    await sleep(300)
    assert.ok(gateway.sent <= sent + 1, `${gateway.sent} blocks after ${sent}`)
    assert.ok(sent < 9)
    const [kept] = await store.incoming.list()
    assert.ok((kept?.size ?? 0) >= 2 * MiB)
  })

  it('goes on for a client that comes back in time', async () => {
    const bytes = content(5 * MiB)
    const cid = await addFile(server.store, bytes)
    gateway.sending = async () => {
      await sleep(40)
      return undefined
    }
    for await (const _ of (await open(cid, digestOf(bytes))).read()) break
    await sleep(LINGER / 3)
    const rest = await all((await open(cid, digestOf(bytes))).read({ start: 65_536, end: bytes.length - 1 }))
    assert.deepEqual(rest, bytes.subarray(65_536))
    assert.equal(gateway.requests.length, 1)
  })

  for (const profile of ['unixfs-v0-2015', 'narrow dag-pb', 'narrow raw'] as const) {
    it(`${profile}: other chunkings are kept, and served onward block for block`, async () => {
      const bytes = content(PROFILES[profile].chunkSize * 7 + 5)
      const cid = await addFile(server.store, bytes, profile)
      const transfer = await open(cid, digestOf(bytes))
      assert.deepEqual(await all(transfer.read()), bytes)
      await transfer.done(forever())
      await cutOff()
      for (const name of new Set(server.store.puts)) {
        const block = (await import('multiformats/cid')).CID.parse(name)
        assert.deepEqual(
          Buffer.from((await store.blocks.find(block)) ?? []),
          Buffer.from(server.store.peek(block)),
          name
        )
      }
    })
  }

  it('two blobs that fail and one that works do not get in each other’s way', async () => {
    const good = content(2 * MiB + 1)
    const cid = await addFile(server.store, good)
    const bad = await addFile(server.store, content(2 * MiB))
    const wrong = digestOf(Buffer.from('x'))
    const results = await Promise.allSettled([
      open(bad, wrong).then((transfer) => all(transfer.read())),
      open(cid, digestOf(good)).then((transfer) => all(transfer.read())),
      open(cid, digestOf(good)).then((transfer) => all(transfer.read()))
    ])
    assert.deepEqual(
      results.map(({ status }) => status),
      ['rejected', 'fulfilled', 'fulfilled']
    )
    assert.equal(existsSync(store.incoming.path(`pull-${bad}`)), false)
  })
})
