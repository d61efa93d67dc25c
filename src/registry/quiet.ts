import { LRUCache } from 'lru-cache'
import { RegistryError } from '../oci/errors.ts'

/** How long nobody is asked again who just couldn't be, in milliseconds. */
const QUIET_MS = 10_000

/** Does some work unless it failed a moment ago because its sources can't be asked: then it fails with that at once. */
export type Quietly = <T>(key: string, work: () => Promise<T>) => Promise<T>

/** Makes it, for work whose failure isn't the end: what it is waited for would be waited for in vain each time. */
export function createQuietly(): Quietly {
  const failed = new LRUCache<string, RegistryError>({ max: 10_000, ttl: QUIET_MS })
  return async (key, work) => {
    const before = failed.get(key)
    if (before !== undefined) throw before
    try {
      return await work()
    } catch (error) {
      if (error instanceof RegistryError && error.code.startsWith('SOURCE_')) failed.set(key, error)
      throw error
    }
  }
}
