import { RegistryError } from '../oci/errors.ts'
import type { RepositoryName } from '../oci/reference.ts'
import type { Upstreams } from '../upstream/index.ts'
import type { Pull } from './pull.ts'

/** What is asked for; `hereOnly` where it is not to be looked for under another name. */
export type PullTarget = RepositoryName & { readonly hereOnly?: true }

/**
 * Looks for what the default domain hasn't got where the operator says: docker asks a mirror for `library/alpine`
 * and not for `docker.io/library/alpine`.
 */
export function orElsewhere(pull: Pull, upstreams: Pick<Upstreams, 'elsewhere'>): Pull {
  async function look<T>(name: PullTarget, work: (name: RepositoryName) => Promise<T>): Promise<T> {
    const elsewhere = name.hereOnly === true ? undefined : upstreams.elsewhere(name)
    if (elsewhere === undefined) return work(name)
    try {
      return await work(name)
    } catch (error) {
      const missing = ['MANIFEST_UNKNOWN', 'BLOB_UNKNOWN', 'NAME_UNKNOWN']
      if (!(error instanceof RegistryError) || !missing.includes(error.code)) throw error
      return work(elsewhere)
    }
  }
  return {
    ...pull,
    manifest: (name, reference, signal) => look(name, (one) => pull.manifest(one, reference, signal)),
    blob: (name, digest, signal, how) => look(name, (one) => pull.blob(one, digest, signal, how))
  }
}
