import { setTimeout as delay } from 'node:timers/promises'
import type { CID } from 'multiformats/cid'
import type { Link } from './unixfs.ts'

const RAW = 0x55

/** Which leaves of a file are in the own store: looked up ahead of the walk, so that nobody is asked for them. */
export interface Presence {
  /** Begins to look for the children of a node, whose content begins at `offset`. */
  add(offset: number, links: readonly Link[]): void
  /** Whether the leaf at `offset` is here. */
  look(cid: CID, offset: number): Promise<boolean>
  /** Where the first leaf behind `offset` begins that is known to be here; infinite if none is. */
  hereAfter(offset: number): number
  /** Where the first leaf behind `offset` begins that hasn't been looked for yet; infinite if all have. */
  unknownAfter(offset: number): number
}

/** Lookups at the same time, which the first leaf of them waits for. Each costs the store about 40 µs: some
 * sixty times less than its leaf. Fewer at the beginning, where somebody waits for the first leaf. */
const BATCH = 64
const FIRST_BATCH = 16

/** Between two batches, in milliseconds: the first leaf of a large file came while all the others were looked for. */
const PAUSE = 10

/**
 * @param options.has whether a block is here
 * @param options.found told of each leaf that is here
 */
export function createPresence(options: {
  has: (cid: CID) => Promise<boolean>
  signal: AbortSignal
  found: () => void
}): Presence {
  const { has, signal, found } = options
  const known = new Map<string, Promise<boolean>>()
  const here: number[] = []
  /** Leaves whose batch isn't through. */
  let waiting: (Link & { offset: number })[] = []
  let looking = false
  /** The lookups that are under way, for those who wait for one of them. */
  let batch: Promise<unknown> = Promise.resolve()

  function start(cid: CID, offset: number): Promise<boolean> {
    const key = `${offset} ${cid.toString()}`
    const before = known.get(key)
    if (before !== undefined) return before
    const looked = has(cid).then((is) => {
      // of other nodes it isn't said that what is below them is here as well
      if (is && cid.code === RAW) {
        const later = here.findLastIndex((one) => one < offset)
        here.splice(later + 1, 0, offset)
        found()
      }
      return is
    })
    looked.catch(() => undefined) // told to whoever needs this leaf
    known.set(key, looked)
    return looked
  }

  async function work(): Promise<void> {
    looking = true
    for (let size = FIRST_BATCH; waiting.length > 0 && !signal.aborted; size = BATCH) {
      const now = waiting.slice(0, size)
      batch = Promise.allSettled(now.map(({ cid, offset }) => start(cid, offset)))
      await batch
      waiting = waiting.slice(size)
      await delay(PAUSE)
    }
    looking = false
  }

  return {
    add(offset, links) {
      let at = offset
      for (const link of links) {
        if (link.cid.code === RAW) waiting.push({ ...link, offset: at })
        at += link.size
      }
      if (!looking) void work()
    },

    async look(cid, offset) {
      const looked = start(cid, offset)
      // its neighbours say how much is to be asked for together with it
      await batch
      return looked
    },

    hereAfter: (offset) => here.find((one) => one > offset) ?? Number.POSITIVE_INFINITY,
    unknownAfter: (offset) => waiting.find((one) => one.offset > offset)?.offset ?? Number.POSITIVE_INFINITY
  }
}
