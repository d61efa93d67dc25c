import { LRUCache } from 'lru-cache'
import type { Log } from '../log.ts'
import { type RegistryError, reason } from '../oci/errors.ts'
import { asRefusal, createShared, type Upstream, UpstreamError } from '../upstream/index.ts'

/** A list of an upstream. */
export interface Seen<T> {
  readonly items: readonly T[]
  /** Why it may have changed by now. */
  readonly stale?: string
}

/** Asks upstreams for lists of one kind, and remembers the answers as long as tags are fresh. */
export interface ThroughLists<T> {
  /** @throws {RegistryError} `missing` (it hasn't got that, or doesn't let us know), SOURCE_FAILED, SOURCE_TIMEOUT, TOOMANYREQUESTS */
  of(
    upstream: Upstream,
    what: string,
    signal: AbortSignal,
    ask: (signal: AbortSignal) => Promise<readonly T[]>
  ): Promise<Seen<T>>
  stop(reason: Error): void
}

/** How many items are remembered; one is some 100 to 400 bytes. */
const MAX_REMEMBERED = 50_000

/** How long nobody is asked again who just failed, and who hasn't got it, in milliseconds. */
const QUIET_MS = 10_000
const UNKNOWN_MS = 30_000

/**
 * Makes it.
 *
 * @param options.track is told of what goes on when nobody waits any more
 * @param options.missing the code for what an upstream hasn't got
 */
export function createThroughLists<T>(options: {
  log: Log
  missing: 'MANIFEST_UNKNOWN' | 'NAME_UNKNOWN'
  track: <R>(work: Promise<R>) => Promise<R>
}): ThroughLists<T> {
  const { log, missing, track } = options
  const seen = new LRUCache<string, { items: readonly T[]; at: number }>({
    maxSize: MAX_REMEMBERED,
    sizeCalculation: ({ items }) => items.length + 1
  })
  const quiet = new LRUCache<string, string>({ max: 1000, ttl: QUIET_MS })
  const unknown = new LRUCache<string, RegistryError>({ max: 1000, ttl: UNKNOWN_MS })
  const asking = createShared<readonly T[]>()

  return {
    async of({ domain, policy }, what, signal, ask) {
      const key = `${domain}/${what}`
      const known = seen.get(key)
      const age = known === undefined ? Number.POSITIVE_INFINITY : performance.now() - known.at
      if (known !== undefined && age < policy.ttlMs) return { items: known.items }
      const why = quiet.get(key)
      if (known !== undefined && why !== undefined) return { items: known.items, stale: why }
      const refusal = unknown.get(key)
      if (refusal !== undefined) throw refusal
      try {
        const items = await asking(key, signal, (shared) => track(ask(shared)))
        seen.set(key, { items, at: performance.now() })
        return { items }
      } catch (error) {
        signal.throwIfAborted()
        const refused = error instanceof UpstreamError && ['denied', 'unknown'].includes(error.fault)
        const told = asRefusal(error, missing)
        if (refused) unknown.set(key, told as RegistryError)
        if (known === undefined || refused) throw told
        const stale = reason(error)
        quiet.set(key, stale)
        log.warn({ domain, what, cause: stale }, 'an upstream cannot be asked for a list')
        return { items: known.items, stale }
      }
    },
    stop: (ended) => asking.stop(ended)
  }
}
