import { LRUCache } from 'lru-cache'
import type { Origin } from '../ipfs/transfer.ts'
import type { Log } from '../log.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import type { RepositoryName } from '../oci/reference.ts'
import type { Place } from './places.ts'

/** What a domain's published tree names and nobody gives, where its registry is asked for it instead. */
export interface Gaps {
  /** Tells the operator, once for a repository of a tree: its publisher should know. `why` is what it failed with. */
  found(
    place: Place,
    name: RepositoryName,
    what: { readonly digest?: string; readonly tag?: string },
    why?: unknown
  ): void
  /** An origin that calls `found` before it gives anything. That it hasn't got it either is a failure: see {@link neither}. */
  filling(origin: Origin, found: () => void): Origin
}

/** What is thrown where the registry hasn't got it either: a tree says that it exists, so clients may come back for it. */
export function neither(error: unknown): unknown {
  if (!(error instanceof RegistryError) || !error.code.endsWith('_UNKNOWN')) return error
  const message = `${error.message}, nor does anybody give it to whom the published tree leads`
  return new RegistryError('SOURCE_FAILED', message, { cause: error })
}

/** Whether an error says that a tree's content can't be had, and not that there is something wrong with the question. */
export function isGap(error: unknown): boolean {
  return (
    error instanceof RegistryError && (error.code.startsWith('SOURCE_') || error.code === 'MANIFEST_UNKNOWN')
  )
}

/** Makes it. */
export function createGaps(log: Log): Gaps {
  const told = new LRUCache<string, true>({ max: 1000 })
  return {
    found({ view }, { place, repository }, what, why) {
      const key = `${view.root} ${repository}`
      if (told.has(key)) return
      told.set(key, true)
      log.warn(
        {
          domain: place.kind === 'domain' ? place.domain : undefined,
          repository,
          root: view.root.toString(),
          ...what,
          ...(why !== undefined && { cause: reason(why) })
        },
        'a published tree names what nobody gives, so the registry of its domain is asked'
      )
    },
    filling: (origin, found) => ({
      ...origin,
      size: (signal) => origin.size(signal).catch((error: unknown) => Promise.reject(neither(error))),
      async *read(from, signal) {
        found()
        try {
          yield* origin.read(from, signal)
        } catch (error) {
          throw neither(error)
        }
      }
    })
  }
}
