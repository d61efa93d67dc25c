/** A store that blobs are brought into, and a peer that has them. */
import { createServer } from 'node:http'
import type { CID } from 'multiformats/cid'
import { createIpfs, type Ipfs, type PeerId, type Timeouts } from '../../src/ipfs/index.ts'
import { createTransfers, type Transfer, type Transfers } from '../../src/ipfs/transfer.ts'
import { createLog } from '../../src/log.ts'
import type { Digest } from '../../src/oci/digest.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { type TestGateway, testGateway } from './ipfs-gateway.ts'
import { forever, memoryRecords, startNode, stopNodes, type TestNode } from './ipfs-nodes.ts'
import { tempFolder } from './temp.ts'

/** What {@link startTransferBed} starts. */
export interface TransferBed {
  /** The store's folder. */
  readonly folder: string
  readonly store: Store
  /** The peer, which speaks bitswap and serves `gateway` over libp2p streams. */
  readonly server: TestNode
  readonly gateway: TestGateway
  readonly transfers: Transfers
  /** The node that fetches. */
  readonly ipfs: Ipfs
  /** A transfer of a blob from the peer. */
  open(cid: CID, digest: Digest): Promise<Transfer>
  stop(): Promise<void>
}

/** Starts it. */
export async function startTransferBed(timeouts: Timeouts, lingerMs: number): Promise<TransferBed> {
  const log = createLog('silent')
  const temp = tempFolder()
  const store = await openStore({ folder: temp.path, reserve: 0 })
  const server = await startNode()
  const gateway = testGateway(server.store)
  const http = createServer((request, answer) => gateway.handler(request, answer))
  await server.ipfs.serveHttp(http)
  const ipfs: Ipfs = await createIpfs({
    blockstore: store.blocks,
    records: memoryRecords(),
    listen: [],
    announce: [],
    routing: 'none',
    allowDial: 'any',
    log,
    timeouts
  })
  const peers: readonly PeerId[] = await ipfs.connect(server.ipfs.addresses(), { signal: forever() })
  const transfers = createTransfers({ ipfs, store, log, lingerMs })
  return {
    folder: temp.path,
    store,
    server,
    gateway,
    transfers,
    ipfs,
    open: (cid, digest) => transfers.open({ cid, digest, peers: async () => peers }, forever()),
    async stop() {
      http.closeAllConnections()
      await transfers.stop()
      await ipfs.stop()
      await stopNodes()
      await store.close()
      await temp.remove()
    }
  }
}

/** All of a stream. */
export async function all(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of stream) pieces.push(piece)
  return Buffer.concat(pieces)
}
