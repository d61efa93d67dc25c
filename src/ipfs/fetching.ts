import type { Blockstore } from 'interface-blockstore'
import { LRUCache } from 'lru-cache'
import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import type { Blocks, Fetched } from './blocks.ts'
import { connectEarly } from './early.ts'
import type { Gateway } from './gateway.ts'
import type { HealthBook } from './health.ts'
import type { Heard } from './heard.ts'
import { type LeavesSource, readLeaves } from './leaves.ts'
import type { Limiter } from './limits.ts'
import { createOneBlock } from './one-block.ts'
import { createPaths } from './path.ts'
import type { Sources } from './sources.ts'
import { SWARM_MIN, type Swarm } from './swarm.ts'
import type { Ipfs, PeerId, Timeouts } from './types.ts'
import { isDagPb, readNode } from './unixfs.ts'
import { createWindow } from './window.ts'

const MiB = 1024 * 1024

/** What all files together may have read ahead, in bytes. */
const TOTAL_WINDOW = 32 * MiB

/** Root leaves that `stat` has fetched and `leaves` will ask for next. */
const ROOT_LEAVES = 8 * MiB

/** Files of up to this many bytes are link files of a tree, which are kept as blocks. */
const SMALL_FILE = 4096

/** Content out of the store and from peers, as {@link Ipfs} has it. */
export interface Fetching extends Pick<Ipfs, 'block' | 'path' | 'leaves' | 'stat'> {
  /** What files are made out of. */
  readonly files: LeavesSource
}

/** What {@link createFetching} is made from. */
export interface FetchingOptions {
  blockstore: Pick<Blockstore, 'has'>
  blocks: Blocks
  sources: Sources
  swarm: Swarm
  health: Pick<HealthBook, 'failed' | 'delivered'>
  heard: Pick<Heard, 'gateway'>
  /** Told of a source that sent something else than was asked for. */
  lied(source: string, what: string): void
  /** What may come from peers; `undefined` for no limit. */
  down: Limiter | undefined
  isConnected(peer: PeerId): boolean
  timeouts: Timeouts
  /** A signal that the node's end aborts, too. */
  until(signal: AbortSignal): AbortSignal
  log: Log
}

/** Puts together the ways in which content is fetched. */
export function createFetching(options: FetchingOptions): Fetching {
  const { blocks, sources, swarm, health, heard, timeouts, until, log } = options
  const shared = createWindow(TOTAL_WINDOW)
  const rootLeaves = new LRUCache<string, Fetched>({
    maxSize: ROOT_LEAVES,
    sizeCalculation: ({ bytes }) => Math.max(1, bytes.length)
  })
  const paths = createPaths({
    // a manifest or config that came whole will be asked for next, but isn't a block to keep by itself
    async keep(cid, bytes) {
      if (isDagPb(cid) || bytes.length <= SMALL_FILE) await blocks.keep(cid, bytes)
      else rootLeaves.set(cid.toString(), { bytes, local: false })
    },
    lied: ({ source }, what) => options.lied(source, what),
    limitMs: timeouts.blockMs / 4,
    busyMs: timeouts.blockMs,
    log
  })
  const files: LeavesSource = {
    blocks,
    has: async (cid: CID) => options.blockstore.has(cid),
    recent: (cid: CID) => rootLeaves.get(cid.toString()),
    shared,
    down: options.down,
    timeouts,
    failed({ name, source }: Gateway, lie: string | undefined) {
      health.failed(name)
      if (lie !== undefined) options.lied(source, lie)
    },
    delivered({ name, source }: Gateway, bytes: number, ms: number) {
      health.delivered(name, bytes, ms)
      health.delivered(source, bytes, ms)
    },
    log
  }
  const fetched = createOneBlock({
    blocks,
    paths,
    gateways: (peers) => sources.ready(peers),
    refusals: (peers) => sources.refusals(peers),
    recent: (cid) => rootLeaves.get(cid.toString()),
    isConnected: options.isConnected
  })

  return {
    files,

    path: (root, names, { peers, signal }) =>
      paths.fetch(root, names, { gateways: sources.ready(peers).map(heard.gateway), signal: until(signal) }),

    async block(cid, { peers, signal, keep = true }) {
      const known = rootLeaves.get(cid.toString())
      if (known !== undefined) return known.bytes
      const { bytes, local } = await fetched(cid, peers, until(signal))
      if (!local && keep) await blocks.keep(cid, bytes)
      return bytes
    },

    async *leaves(file, { peers, elsewhere, signal, from = 0, gateways = [], size = 0 }) {
      const end = until(signal)
      const [first, ...others] = sources.gateways(peers, gateways)
      const early = size - from < SWARM_MIN || first === undefined ? undefined : connectEarly(first)
      // before anything is asked for: of all who begin at the same time, each would take its first part from the
      // publisher, whose link is narrow then for long
      const joining = early && swarm.join(file, peers, end)
      let leave: (whole: boolean) => void = () => undefined
      try {
        const swarming = await joining
        if (swarming !== undefined) leave = swarming.leave
        yield* readLeaves(files, {
          file,
          from,
          peers,
          elsewhere,
          gateways: first === undefined ? [] : [early?.gateway ?? first, ...others],
          more: swarming && Promise.resolve(sources.gateways(swarming.peers, [])),
          signal: end
        })
        leave(true)
      } finally {
        early?.close()
        leave(false)
      }
    },

    async stat(file, { peers, signal }) {
      isDagPb(file)
      const root = rootLeaves.get(file.toString()) ?? (await fetched(file, peers, until(signal)))
      const node = readNode(file, root.bytes)
      if (!root.local) {
        if (node.links.length > 0) await blocks.keep(file, root.bytes)
        else rootLeaves.set(file.toString(), root)
      }
      return { size: node.size }
    }
  }
}
