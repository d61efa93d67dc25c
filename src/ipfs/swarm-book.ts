import { LRUCache } from 'lru-cache'

/** How long a peer that has fetched a file whole is offered to others, in milliseconds. */
const REMEMBERED_MS = 10 * 60_000

/** Files that are remembered, peers for each, and files for which one peer may stand at a time. */
const MAX_FILES = 1024
const MAX_PEERS = 256
const MAX_OF_ONE = 64

/** Peers named in one answer, and how long a chain of peers may get: each adds the time of a leaf or two. */
const MAX_NAMED = 3
const MAX_DEPTH = 32

/** One peer that fetches a file, or has fetched it. */
export interface Lease {
  readonly peer: string
  /** It has the whole file now. */
  complete(): void
  /** It fetches no longer; unless it is complete, it is forgotten. */
  end(): void
}

/** Who fetches what, as one peer that many ask has heard. */
export interface SwarmBook {
  /**
   * Notes that `peer` begins to fetch `file`, and names those to fetch it from instead of us, best first:
   * nobody while nobody else is fetching it, for then our whole link is free for it.
   *
   * @param offers whether the peer can be named to others
   * @returns `undefined` when the peer stands for more files than one may.
   */
  enter(file: string, peer: string, offers?: boolean): { lease: Lease; others: string[] } | undefined
}

interface Entry {
  peer: string
  offers: boolean
  depth: number
  /** How many were sent to it and are still fetching. */
  children: number
  parent: Entry | undefined
  state: 'fetching' | 'complete' | 'gone'
  /** When it became complete (epoch ms). */
  since: number
}

/**
 * Makes the book. Everybody is sent to the one before who has the fewest others to feed, so that with equal
 * links the file passes from each to the next and leaves us once. Only those who came earlier are named, so
 * that nobody is sent to one that waits for it.
 *
 * @param isReachable whether a peer can be named now
 */
export function createSwarmBook(isReachable: (peer: string) => boolean): SwarmBook {
  const files = new LRUCache<string, Entry[]>({ max: MAX_FILES })
  const held = new Map<string, number>()

  function add(peer: string, count: number): void {
    const now = (held.get(peer) ?? 0) + count
    if (now > 0) held.set(peer, now)
    else held.delete(peer)
  }

  /** Those who may still be named, in the order of their coming. */
  function present(file: string): Entry[] {
    const old = Date.now() - REMEMBERED_MS
    return (files.get(file) ?? []).filter(
      ({ state, since }) => state === 'fetching' || (state === 'complete' && since > old)
    )
  }

  return {
    enter(file, peer, offers = true) {
      if ((held.get(peer) ?? 0) >= MAX_OF_ONE) return undefined
      const before = present(file)
        .filter((entry) => entry.peer !== peer)
        .slice(-MAX_PEERS + 1)
      const busy = before.some(({ state }) => state === 'fetching')
      const named = before
        .filter((entry) => busy && entry.offers && entry.depth < MAX_DEPTH && isReachable(entry.peer))
        .sort((a, b) => a.children - b.children || a.depth - b.depth)
        .slice(0, MAX_NAMED)
      const [parent] = named
      const entry: Entry = {
        peer,
        offers,
        depth: parent === undefined || parent.state === 'complete' ? 0 : parent.depth + 1,
        children: 0,
        parent,
        state: 'fetching',
        since: 0
      }
      if (parent !== undefined) parent.children++
      files.set(file, [...before, entry])
      add(peer, 1)
      const lease: Lease = {
        peer,
        complete() {
          if (entry.state !== 'fetching') return
          entry.state = 'complete'
          entry.since = Date.now()
        },
        end() {
          if (entry.state === 'fetching') entry.state = 'gone'
          if (entry.parent !== undefined) entry.parent.children--
          entry.parent = undefined
          add(peer, -1)
        }
      }
      return { lease, others: named.map((one) => one.peer) }
    }
  }
}
