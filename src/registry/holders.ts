import { setTimeout as sleep } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import type { CID } from 'multiformats/cid'
import type { Ipfs, PeerId } from '../ipfs/index.ts'
import type { Log } from '../log.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { untilAborted } from '../oci/waiting.ts'
import type { Records, StoreBlocks } from '../store/index.ts'
import type { LoadBlock, Way } from '../tree/index.ts'
import { createMet } from './met.ts'
import { timed } from './timings.ts'

/** Connected peers that are said to have something; `cid` is what is wanted, where it isn't the tree's root. */
export type PeersOf = (signal: AbortSignal, cid?: CID) => Promise<readonly PeerId[]>

/** What is known of who has a tree. */
export interface Whereabouts {
  /** The domain that publishes it: those who had its trees before may have this one. */
  readonly domain?: string
  readonly root?: CID
  /** Multiaddrs that are named for it. */
  readonly providers: readonly string[]
}

/** Who has trees, and the blocks that they have. */
export interface Holders {
  /**
   * Peers for a tree, the best first: those that are named for it and answer; neighbours on the local network;
   * if none of the named answers, those who had the domain's trees before; and when nobody of all these is
   * there, or they turned out not to have it, whom the network names.
   *
   * The peers it gives throw SOURCE_FAILED or SOURCE_TIMEOUT when some are named, and nobody can be reached.
   */
  of(where: (signal: AbortSignal) => Promise<Whereabouts | undefined>): PeersOf
  /** Blocks out of the store, else from `peers`, with all that the walk will need after them. */
  loader(peers: PeersOf, where: (signal: AbortSignal) => Promise<Whereabouts | undefined>): LoadBlock
}

/** How many bytes of small blocks are kept in memory: link files are read at every request. */
const HOT_BLOCKS = 8 * 1024 * 1024

/** How long a path that no peer had isn't asked for again, in milliseconds. */
const FRUITLESS_MS = 5000

/** How long peers that are named have to answer before others who are known are asked instead, in milliseconds. */
const PATIENCE_MS = 1000

/** How long what a search found is used again, and a search that found nobody isn't repeated, in milliseconds. */
const FOUND_MS = 60_000
const NOBODY_MS = 5000

/** How long it is remembered that those who are named don't have a tree, in milliseconds. */
const POOR_MS = 60_000

export function createHolders(options: {
  blocks: Pick<StoreBlocks, 'find'>
  ipfs: Pick<Ipfs, 'addressesOf' | 'block' | 'connect' | 'find' | 'health' | 'neighbours' | 'path'>
  records: Records
  /** For one search of the network, in milliseconds. */
  searchMs: number
  log: Log
}): Holders {
  const { blocks, ipfs, log } = options
  const met = createMet(options.records)
  const hot = new LRUCache<string, Uint8Array>({
    maxSize: HOT_BLOCKS,
    sizeCalculation: (bytes) => bytes.length + 64
  })
  const fruitless = new LRUCache<string, true>({ max: 1000, ttl: FRUITLESS_MS })
  const searches = new LRUCache<string, Promise<readonly PeerId[]>>({ max: 1000, ttl: FOUND_MS })
  const poor = new LRUCache<string, true>({ max: 1000, ttl: POOR_MS })

  /** Whom the network names for a CID; searches for the same one are one. */
  function search(cid: CID, signal: AbortSignal): Promise<readonly PeerId[]> {
    const key = cid.toString()
    let found = searches.get(key)
    if (found === undefined) {
      found = ipfs.find(cid, { signal: AbortSignal.timeout(options.searchMs) }).catch((error: unknown) => {
        log.debug({ cid: key, cause: reason(error) }, 'the network names nobody')
        return []
      })
      searches.set(key, found)
      const mine = found
      void mine.then((peers) => {
        if (peers.length === 0 && searches.peek(key) === mine) searches.set(key, mine, { ttl: NOBODY_MS })
      })
    }
    const searching = found
    return timed(signal, 'search', () => untilAborted(searching, signal))
  }

  /** Those who had the domain's trees before, as far as they can be reached. */
  async function acquaintances(domain: string, signal: AbortSignal): Promise<readonly PeerId[]> {
    const addresses = (await met.of(domain)).flatMap((one) => one.addresses)
    if (addresses.length === 0) return []
    return ipfs.connect(addresses, { signal }).catch((error: unknown) => {
      signal.throwIfAborted()
      log.debug({ domain, cause: reason(error) }, 'none of the peers met before can be reached')
      return []
    })
  }

  /** Those who are named and those who are near, without a search. */
  async function known(where: Whereabouts, signal: AbortSignal): Promise<readonly PeerId[]> {
    const { domain, providers } = where
    const near = ipfs.neighbours()
    const others = async () => (domain === undefined ? [] : acquaintances(domain, signal))
    if (providers.length === 0) return [...near, ...(await others())]
    const named = ipfs.connect(providers, { signal })
    const quick = await Promise.race([named, sleep(PATIENCE_MS, undefined, { signal, ref: false })]).catch(
      () => undefined
    ) // told below
    if (quick !== undefined && quick.length > 0) return [...quick, ...near]
    const instead = [...near, ...(await others())]
    if (instead.length > 0) {
      named.catch((error: unknown) => {
        log.debug({ domain, cause: reason(error) }, 'none of the named peers can be reached')
      })
      return instead
    }
    return named
  }

  async function peersFor(where: Whereabouts, cid: CID | undefined, signal: AbortSignal) {
    const key = String(where.root ?? where.domain)
    let failure: unknown
    const some = await timed(signal, 'dial', () => known(where, signal)).catch((error: unknown) => {
      signal.throwIfAborted()
      failure = error
      return []
    })
    if (some.length > 0 && !poor.has(key)) return distinct(some)
    const forRoot = where.root === undefined ? [] : await search(where.root, signal)
    // whoever has a root is likely to have what is below it; but there may be others for a blob
    const forCid = forRoot.length > 0 || cid === undefined ? [] : await search(cid, signal)
    const all = distinct([...forRoot, ...forCid, ...some])
    if (all.length === 0 && failure !== undefined) throw failure
    return all
  }

  /** Notes who has just sent blocks of a domain's tree. */
  async function remember(domain: string, peers: readonly PeerId[], since: number): Promise<void> {
    const fresh = peers.filter((peer) => !met.lately(domain, peer.toString()))
    if (fresh.length === 0) return
    const helped = new Set(ipfs.health().flatMap((one) => (one.lastSeen >= since ? [one.source] : [])))
    for (const peer of fresh) {
      if (helped.has(peer.toString())) await met.note(domain, peer.toString(), await ipfs.addressesOf(peer))
    }
  }

  /** A block from peers, with all that the walk will need after it if a peer can send that at once. */
  async function fetched(
    cid: CID,
    way: Way | undefined,
    peers: readonly PeerId[],
    signal: AbortSignal
  ): Promise<Uint8Array> {
    const names = way?.names.join('/') ?? ''
    if (way !== undefined && fruitless.get(names) !== true) {
      const came = await ipfs.path(way.from, way.names, { peers, signal })
      const bytes = came > 0 ? await blocks.find(cid) : undefined
      if (bytes !== undefined) return bytes
    }
    // the rest of a path that nobody can send will not be had from the directory below either
    if (way !== undefined) fruitless.set(way.names.slice(1).join('/'), true)
    return ipfs.block(cid, { peers, signal })
  }

  return {
    of: (where) => async (signal, cid) => {
      const found = await where(signal)
      return found === undefined ? [] : peersFor(found, cid, signal)
    },

    loader: (peers, where) => async (cid, signal, way) => {
      // much cheaper to make, and to keep, than the CID's own text
      const key = Buffer.from(cid.bytes.buffer, cid.bytes.byteOffset, cid.bytes.length).toString('latin1')
      const hit = hot.get(key)
      if (hit !== undefined) return hit
      const here = await blocks.find(cid)
      const bytes = here ?? (await load())
      if (bytes.length <= 4096) hot.set(key, bytes)
      return bytes

      async function load(): Promise<Uint8Array> {
        const since = Date.now()
        const asked = await peers(signal, cid)
        let from = asked
        const first = () => fetched(cid, way, asked, signal)
        const got = await timed(signal, 'tree', first).catch(async (error: unknown) => {
          from = await others(asked, error)
          return timed(signal, 'tree', () => fetched(cid, undefined, from, signal))
        })
        const { domain } = (await where(signal)) ?? {}
        if (domain !== undefined) {
          await remember(domain, from, since).catch((error: unknown) =>
            log.warn({ domain, cause: reason(error) }, 'could not note who had its tree')
          )
        }
        return got
      }

      /** Those whom the network names, when those who were asked don't have it; else the failure stands. */
      async function others(asked: readonly PeerId[], error: unknown): Promise<readonly PeerId[]> {
        const failed = error instanceof RegistryError && error.code.startsWith('SOURCE_')
        const found = failed && !signal.aborted ? await where(signal) : undefined
        const mark = String(found?.root ?? found?.domain)
        if (found === undefined || poor.has(mark)) throw error
        poor.set(mark, true)
        const now = await peersFor(found, cid, signal)
        const before = new Set(asked.map(String))
        if (now.every((peer) => before.has(peer.toString()))) throw error
        return now
      }
    }
  }
}

function distinct(peers: readonly PeerId[]): readonly PeerId[] {
  return [...new Map(peers.map((peer) => [peer.toString(), peer])).values()]
}
