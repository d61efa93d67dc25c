import { LRUCache } from 'lru-cache'

/** How a source of content has behaved since the start. */
export interface Health {
  /** The peer's id, or the address of a gateway that named none. */
  readonly source: string
  /** Failures since it last delivered. */
  readonly failures: number
  /** Blocks of it that weren't what their CIDs said. */
  readonly lies: number
  /** Bytes a second over the last transfer of a megabyte or more; 0 if there was none. */
  readonly speed: number
  /** When it last delivered anything (epoch ms); 0 if never. */
  readonly lastSeen: number
}

/** Keeps {@link Health} of the sources used lately. */
export interface HealthBook {
  delivered(source: string, bytes: number, ms: number): void
  failed(source: string): void
  lied(source: string): void
  /** It has done harm: nobody is to deal with it while it rests. */
  bar(source: string): void
  /** Milliseconds for which nobody is to deal with it. */
  barredFor(source: string): number
  /** Whether it had better be left alone for now, while there are others. */
  resting(source: string): boolean
  /**
   * The sources in the order in which they should be asked: those that are resting last, the others by what
   * they brought a second when they were asked last, or by what `guess` says of one that never was.
   */
  order<T>(sources: readonly T[], of: { name(source: T): string; guess(source: T): number }): T[]
  list(): Health[]
}

/** How long a source that failed isn't asked, in milliseconds: twice as long after each failure in a row. */
const REST_MS = 60_000
const MOST_REST_MS = 16 * REST_MS

const MB = 1e6

interface Entry {
  failures: number
  lies: number
  speed: number
  lastSeen: number
  restsUntil: number
  barredUntil: number
}

/** An empty book, for the 1024 sources used last. */
export function createHealthBook(): HealthBook {
  const entries = new LRUCache<string, Entry>({ max: 1024 })

  function entry(source: string): Entry {
    let found = entries.get(source)
    if (found === undefined) {
      found = { failures: 0, lies: 0, speed: 0, lastSeen: 0, restsUntil: 0, barredUntil: 0 }
      entries.set(source, found)
    }
    return found
  }

  function failed(source: string): void {
    const it = entry(source)
    it.failures++
    it.restsUntil = Date.now() + Math.min(MOST_REST_MS, REST_MS * 2 ** (it.failures - 1))
  }

  return {
    failed,
    delivered(source, bytes, ms) {
      const it = entry(source)
      it.failures = 0
      it.lastSeen = Date.now()
      if (bytes >= MB) it.speed = Math.round((bytes / Math.max(1, ms)) * 1000)
    },
    lied(source) {
      entry(source).lies++
      failed(source)
    },
    bar(source) {
      failed(source)
      entry(source).barredUntil = entry(source).restsUntil
    },
    barredFor: (source) => Math.max(0, (entries.peek(source)?.barredUntil ?? 0) - Date.now()),
    resting: (source) => (entries.get(source)?.restsUntil ?? 0) > Date.now(),
    order(sources, { name, guess }) {
      const now = Date.now()
      const ranked = sources.map((source) => {
        const known = entries.peek(name(source))
        return {
          source,
          rests: Math.max(0, (known?.restsUntil ?? 0) - now),
          speed: known?.speed || guess(source)
        }
      })
      return ranked.sort((a, b) => a.rests - b.rests || b.speed - a.speed).map(({ source }) => source)
    },
    list: () =>
      [...entries].map(([source, { failures, lies, speed, lastSeen }]) => ({
        source,
        failures,
        lies,
        speed,
        lastSeen
      }))
  }
}
