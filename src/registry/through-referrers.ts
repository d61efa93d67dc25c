import { LRUCache } from 'lru-cache'
import type { Log } from '../log.ts'
import type { Digest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import type { Descriptor } from '../oci/manifest.ts'
import { asRefusal, createShared, type Upstream, UpstreamError } from '../upstream/index.ts'

/** What refers to a manifest, as an upstream says. */
export interface SeenReferrers {
  readonly items: readonly Descriptor[]
  /** Why there may be others by now. */
  readonly stale?: string
}

/** Asks upstreams for referrers, and remembers the answers as long as tags are fresh. */
export interface ThroughReferrers {
  /** @throws {RegistryError} MANIFEST_UNKNOWN (it doesn't let us know), SOURCE_FAILED, SOURCE_TIMEOUT, TOOMANYREQUESTS */
  of(upstream: Upstream, repository: string, subject: Digest, signal: AbortSignal): Promise<SeenReferrers>
  stop(reason: Error): void
}

/** How many descriptors are remembered; one is some 400 bytes. */
const MAX_REMEMBERED = 20_000

/** How long nobody is asked again who just failed, in milliseconds. */
const QUIET_MS = 10_000

/** Makes it. `track` is told of what goes on when nobody waits any more. */
export function createThroughReferrers(options: {
  log: Log
  track: <T>(work: Promise<T>) => Promise<T>
}): ThroughReferrers {
  const { log, track } = options
  const seen = new LRUCache<string, { items: readonly Descriptor[]; at: number }>({
    maxSize: MAX_REMEMBERED,
    sizeCalculation: ({ items }) => items.length + 1
  })
  const quiet = new LRUCache<string, string>({ max: 1000, ttl: QUIET_MS })
  const asking = createShared<readonly Descriptor[]>()

  return {
    async of(upstream, repository, subject, signal) {
      const { domain, policy } = upstream
      const key = `${domain}/${repository} ${subject}`
      const known = seen.get(key)
      const age = known === undefined ? Number.POSITIVE_INFINITY : performance.now() - known.at
      if (known !== undefined && age < policy.ttlMs) return { items: known.items }
      const why = quiet.get(key)
      if (known !== undefined && why !== undefined) return { items: known.items, stale: why }
      try {
        const items = await asking(key, signal, (shared) =>
          track(upstream.referrers(repository, subject, shared))
        )
        seen.set(key, { items, at: performance.now() })
        return { items }
      } catch (error) {
        signal.throwIfAborted()
        const refused = error instanceof UpstreamError && error.fault === 'denied'
        if (known === undefined || refused) throw asRefusal(error, 'MANIFEST_UNKNOWN')
        const stale = reason(error)
        quiet.set(key, stale)
        log.warn({ domain, repository, subject, cause: stale }, 'an upstream cannot be asked for referrers')
        return { items: known.items, stale }
      }
    },
    stop: (ended) => asking.stop(ended)
  }
}
