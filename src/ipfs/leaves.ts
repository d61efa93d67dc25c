import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import type { Blocks, Fetched } from './blocks.ts'
import { createFeed } from './feed.ts'
import { walkFile } from './file.ts'
import type { Gateway } from './gateway.ts'
import type { Limiter } from './limits.ts'
import { createPresence } from './presence.ts'
import type { Leaf, PeerId, Timeouts } from './types.ts'
import type { Window } from './window.ts'

const MiB = 1024 * 1024

/** What one file may have read ahead, in bytes: enough for 100 MB/s at 100 ms of round trip. */
const FILE_WINDOW = 16 * MiB

/** What a file's leaves are made out of. */
export interface LeavesSource {
  blocks: Blocks
  /** Whether the own store has a block. */
  has: (cid: CID) => Promise<boolean>
  /** A block that was fetched a moment ago and isn't kept. */
  recent: (cid: CID) => Fetched | undefined
  /** What all files may have read ahead together. */
  shared: Window
  /** What may come from peers; `undefined` for no limit. */
  down: Limiter | undefined
  timeouts: Timeouts
  failed(gateway: Gateway, lie: string | undefined): void
  delivered(gateway: Gateway, bytes: number, ms: number): void
  log: Log
}

/** Which leaves of which file, and whom to ask for them. */
export interface LeavesRequest {
  file: CID
  from: number
  peers: readonly PeerId[]
  gateways: readonly Gateway[]
  /** Others that turn up later, and go before them. */
  more?: Promise<readonly Gateway[]> | undefined
  /** As `FetchOptions` has it. */
  elsewhere?: boolean | undefined
  signal: AbortSignal
}

/** As `Ipfs.leaves`. */
export async function* readLeaves(source: LeavesSource, request: LeavesRequest): AsyncGenerator<Leaf> {
  const { blocks, recent, shared, timeouts, log } = source
  const { file, from, peers, elsewhere = false, signal: until } = request
  const done = new AbortController()
  const signal = AbortSignal.any([until, done.signal])
  const presence = createPresence({ has: source.has, signal, found: () => feed.look() })
  const feed = createFeed({
    file,
    gateways: request.gateways,
    more: request.more,
    presence,
    down: source.down,
    dialMs: timeouts.dialMs,
    silenceMs: timeouts.blockMs,
    signal,
    failed: source.failed,
    delivered: source.delivered,
    log
  })

  /** A block of the own store; only a look into the index says that there is none. */
  async function local(
    cid: CID,
    at: { offset: number; depth: number },
    end: AbortSignal
  ): Promise<Uint8Array | undefined> {
    if (at.depth > 0 && !(await presence.look(cid, at.offset))) return undefined
    return blocks.local(cid, end)
  }

  async function fetch(cid: CID, end: AbortSignal, at: { offset: number; depth: number }): Promise<Fetched> {
    const known = recent(cid)
    if (known !== undefined) return known
    const looked = local(cid, at, end)
    // a store that can't be read is reported by `looked` itself
    const needed = looked.then(
      (bytes) => bytes === undefined,
      () => false
    )
    const [here, fed] = await Promise.all([looked, feed.take(cid, { ...at, needed, signal: end })])
    if (here !== undefined) return { bytes: here, local: true }
    if (fed === undefined) return blocks.fetch(cid, { peers, elsewhere, signal: end })
    return { bytes: fed, local: false, release: () => feed.giveBack(fed) }
  }

  const keep = (cid: CID, bytes: Uint8Array) => blocks.keep(cid, bytes)
  const expanded = presence.add
  try {
    yield* walkFile(file, { from, window: FILE_WINDOW, shared, signal: until, fetch, keep, expanded })
  } finally {
    done.abort(new Error('the file is no longer read'))
  }
}
