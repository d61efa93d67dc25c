import type { Digest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import type { RepositoryName } from '../oci/reference.ts'
import type { IndexWrite, Store } from '../store/index.ts'
import type { Pull } from './pull.ts'
import type { Through } from './through.ts'

/** What a push to a repository needs whose domain is pulled through. */
export interface PushThrough {
  /**
   * Brings a blob here that the upstream has: a client that asked was told so, and didn't send it. `false` where the
   * upstream hasn't got it.
   *
   * @throws {RegistryError} SOURCE_FAILED, SOURCE_TIMEOUT, TOOMANYREQUESTS
   */
  bring(digest: Digest, signal: AbortSignal): Promise<boolean>
  /** Rows that say that tags, and what their manifest names, were pushed here: it isn't the upstream's any more. */
  rows(tags: readonly string[], digests: readonly Digest[]): Promise<readonly IndexWrite[]>
}

/** Makes it; `undefined` for repositories that have no upstream. */
export function createPushThrough(options: {
  store: Pick<Store, 'blobs'>
  through: Through
  pull: Pick<Pull, 'blob'>
}): (name: RepositoryName) => PushThrough | undefined {
  const { store, through, pull } = options
  return (name) => {
    const { place, repository } = name
    if (place.kind !== 'domain' || through.of(name) === undefined) return undefined
    return {
      async bring(digest, signal) {
        try {
          const blob = await pull.blob(name, digest, signal)
          await blob.bring(signal)
          return true
        } catch (error) {
          const missing = ['BLOB_UNKNOWN', 'NAME_UNKNOWN']
          if (error instanceof RegistryError && missing.includes(error.code)) return false
          throw error
        }
      },
      async rows(tags, digests) {
        return [...through.pushed(place.domain, repository, tags), ...(await store.blobs.pushedNow(digests))]
      }
    }
  }
}
