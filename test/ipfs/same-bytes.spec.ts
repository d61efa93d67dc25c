/** Trees of several chunkings that hold the same bytes: one file serves the leaves of all. */
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import { join } from 'node:path'
import { MemoryDatastore } from 'datastore-core'
import { CID } from 'multiformats/cid'
import { createIpfs, type Ipfs, type PeerId } from '../../src/ipfs/index.ts'
import { createTransfers, type Transfers } from '../../src/ipfs/transfer.ts'
import { createLog } from '../../src/log.ts'
import { digestOf } from '../../src/oci/digest.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { testGateway } from '../support/ipfs-gateway.ts'
import {
  addFile,
  content,
  forever,
  memoryRecords,
  startNode,
  stopNodes,
  type TestNode
} from '../support/ipfs-nodes.ts'
import { tempFolder } from '../support/temp.ts'

const MiB = 1024 * 1024

describe('ipfs: the same bytes in other chunkings', function () {
  this.timeout(60_000)
  let temp: ReturnType<typeof tempFolder>
  let store: Store
  let server: TestNode
  let http: Server
  let ipfs: Ipfs
  let transfers: Transfers
  let peers: readonly PeerId[]

  before(async () => {
    temp = tempFolder()
    store = await openStore({ folder: temp.path, reserve: 0 })
    server = await startNode()
    const gateway = testGateway(server.store)
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
      timeouts: { dialMs: 10_000, blockMs: 10_000, idleMs: 10_000 }
    })
    peers = await ipfs.connect(server.ipfs.addresses(), { signal: forever() })
    transfers = createTransfers({ ipfs, store, log: createLog('silent'), lingerMs: 100 })
  })
  after(async () => {
    http.closeAllConnections()
    await transfers.stop()
    await ipfs.stop()
    await stopNodes()
    await store.close()
    await temp.remove()
  })

  async function pull(cid: CID, digest: ReturnType<typeof digestOf>): Promise<Buffer> {
    const transfer = await transfers.open({ cid, digest, peers: async () => peers }, forever())
    const pieces: Uint8Array[] = []
    for await (const piece of transfer.read()) pieces.push(piece as Uint8Array)
    await transfer.done(forever())
    return Buffer.concat(pieces)
  }

  async function files(): Promise<string[]> {
    const parts = await readdir(join(temp.path, 'blobs'))
    return (await Promise.all(parts.map((part) => readdir(join(temp.path, 'blobs', part))))).flat()
  }

  /** Blocks that the store lacks, of those that were put into the server since there were `from`. */
  async function missing(from: number): Promise<string[]> {
    const lacking: string[] = []
    for (const name of new Set(server.store.puts.slice(from))) {
      const cid = CID.parse(name)
      const found = await store.blocks.find(cid)
      if (found === undefined || !Buffer.from(server.store.peek(cid)).equals(found)) lacking.push(name)
    }
    return lacking
  }

  it('come in one, and are served in that one and in ours, out of one file', async () => {
    const bytes = content(3 * MiB + 5)
    const digest = digestOf(bytes)
    const from = server.store.puts.length
    const foreign = await addFile(server.store, bytes, 'unixfs-v0-2015')
    const ours = await addFile(server.store, bytes)
    assert.notEqual(foreign.toString(), ours.toString())
    assert.ok((await pull(foreign, digest)).equals(bytes))
    assert.deepEqual(await missing(from), [])
    // The tree of the other chunking is read out of what is here, and a push of the same bytes adds nothing.
    const writer = store.incoming.create('pushed')
    await writer.append(bytes)
    assert.equal((await store.blobs.commit(writer, digest)).cid.toString(), ours.toString())
    assert.deepEqual(await missing(from), [])
    assert.deepEqual(await files(), [digest.slice(7)])
    assert.deepEqual(await store.incoming.list(), [])
  })

  it('that are asked for at the same time come once, and end as one file', async () => {
    const bytes = content(2 * MiB + 9)
    const digest = digestOf(bytes)
    const before = await files()
    const cids = [await addFile(server.store, bytes), await addFile(server.store, bytes, 'unixfs-v0-2015')]
    for (const each of await Promise.all(cids.map((cid) => pull(cid, digest)))) assert.ok(each.equals(bytes))
    assert.deepEqual(
      (await files()).filter((name) => !before.includes(name)),
      [digest.slice(7)]
    )
    assert.deepEqual(await store.incoming.list(), [])
  })
})
