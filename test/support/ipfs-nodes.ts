import { randomBytes } from 'node:crypto'
import type { Libp2p } from '@libp2p/interface'
import { MemoryBlockstore } from 'blockstore-core'
import { MemoryDatastore } from 'datastore-core'
import { importBytes } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced, trickle } from 'ipfs-unixfs-importer/layout'
import type { CID } from 'multiformats/cid'
import { loadIdentity } from '../../src/ipfs/identity.ts'
import { createIpfs, type Ipfs, type IpfsOptions } from '../../src/ipfs/index.ts'
import { composeLibp2p } from '../../src/ipfs/libp2p.ts'
import { createPolicy } from '../../src/ipfs/policy.ts'
import { createLog } from '../../src/log.ts'

/** Waits long enough that only a hang reaches it, for tests that expect no deadline. */
export const PATIENT = { dialMs: 8000, blockMs: 8000, idleMs: 8000 }

/** Waits that end soon, for tests that expect a deadline. */
export const HASTY = { dialMs: 400, blockMs: 400, idleMs: 400 }

/** A blockstore that counts what is read out of it, by CID, and can be told to lie or to be silent. */
export class WatchedBlockstore extends MemoryBlockstore {
  readonly reads: string[] = []
  readonly puts: string[] = []
  /** Called before each block is served; may wait, or give other bytes. */
  serving: (cid: CID) => Promise<Uint8Array | undefined> = async () => undefined

  override put(...given: Parameters<MemoryBlockstore['put']>): ReturnType<MemoryBlockstore['put']> {
    this.puts.push(given[0].toString())
    return super.put(...given)
  }

  /** A stored block, uncounted. */
  peek(cid: CID): Uint8Array {
    return Buffer.concat([...(super.get(cid) as Generator<Uint8Array>)])
  }

  // the interface allows an async generator where the memory store has a plain one
  override get(...given: Parameters<MemoryBlockstore['get']>): never {
    const stored = () => super.get(...given)
    const [cid] = given
    const read = async function* (this: WatchedBlockstore): AsyncGenerator<Uint8Array> {
      const pieces = [...(stored() as Generator<Uint8Array>)]
      this.reads.push(cid.toString())
      const other = await this.serving(cid)
      if (other === undefined) yield* pieces
      else yield other
    }
    return read.call(this) as never
  }
}

/** Records in memory. */
export function memoryRecords(kept = new Map<string, Uint8Array>()): IpfsOptions['records'] {
  return {
    get: async (key) => kept.get(key),
    put: async (key, value) => void kept.set(key, value)
  }
}

/** A node on loopback, and the store that it serves. */
export interface TestNode {
  ipfs: Ipfs
  store: WatchedBlockstore
}

const running: { stop(): unknown }[] = []

/** Starts a node that {@link stopNodes} will stop. */
export async function startNode(given: Partial<Omit<IpfsOptions, 'blockstore'>> = {}): Promise<TestNode> {
  const store = new WatchedBlockstore()
  const ipfs = await createIpfs({
    blockstore: store,
    datastore: new MemoryDatastore(),
    records: memoryRecords(),
    listen: ['/ip4/127.0.0.1/tcp/0'],
    announce: [],
    routing: 'none',
    allowDial: 'any',
    log: createLog('silent'),
    timeouts: PATIENT,
    ...given
  })
  running.push(ipfs)
  return { ipfs, store }
}

/** Starts a libp2p node on loopback as ours compose it, with nothing above it; {@link stopNodes} will stop it. */
export async function startLibp2p(): Promise<Libp2p> {
  const node = await composeLibp2p({
    privateKey: await loadIdentity(memoryRecords()),
    datastore: new MemoryDatastore(),
    listen: ['/ip4/127.0.0.1/tcp/0'],
    announce: [],
    routing: 'none',
    dialMs: PATIENT.dialMs,
    policy: createPolicy('any')
  })
  await node.start()
  running.push(node)
  return node
}

/** Stops every node of {@link startNode} and {@link startLibp2p}. */
export async function stopNodes(): Promise<void> {
  await Promise.all(running.splice(0).map((node) => node.stop()))
}

/** The forms in which a file can lie in IPFS. */
export const PROFILES = {
  'unixfs-v1-2025': { cidVersion: 1, rawLeaves: true, chunkSize: 1024 * 1024, width: 1024, layout: balanced },
  'unixfs-v0-2015': { cidVersion: 0, rawLeaves: false, chunkSize: 256 * 1024, width: 174, layout: balanced },
  'narrow dag-pb': { cidVersion: 0, rawLeaves: false, chunkSize: 8 * 1024, width: 3, layout: balanced },
  'narrow raw': { cidVersion: 1, rawLeaves: true, chunkSize: 8 * 1024, width: 3, layout: balanced },
  trickle: { cidVersion: 1, rawLeaves: true, chunkSize: 8 * 1024, width: 4, layout: trickle },
  'trickle dag-pb': { cidVersion: 0, rawLeaves: false, chunkSize: 8 * 1024, width: 4, layout: trickle }
} as const

/** Adds bytes as a file and says what its root is. */
export async function addFile(
  store: Pick<MemoryBlockstore, 'put'>,
  bytes: Uint8Array,
  profile: keyof typeof PROFILES = 'unixfs-v1-2025'
): Promise<CID> {
  const { cidVersion, rawLeaves, chunkSize, width, layout } = PROFILES[profile]
  const { cid } = await importBytes(bytes, store, {
    cidVersion,
    rawLeaves,
    reduceSingleLeafToSelf: true,
    chunker: fixedSize({ chunkSize }),
    layout:
      layout === trickle ? trickle({ maxChildrenPerNode: width }) : balanced({ maxChildrenPerNode: width })
  })
  return cid
}

/** Bytes that no other file has. */
export function content(size: number): Uint8Array {
  return randomBytes(size)
}

/** Reads a file to its end. */
export async function readAll(
  leaves: AsyncIterable<{ data: Uint8Array; release?: () => void }>
): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const { data, release } of leaves) {
    pieces.push(Buffer.from(data))
    release?.()
  }
  return Buffer.concat(pieces)
}

/** A signal that ends only with the test. */
export function forever(): AbortSignal {
  return new AbortController().signal
}
