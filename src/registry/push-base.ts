import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import type { Places } from './places.ts'

/** Says where a domain's tree begins: with what it publishes, so that a push adds to that instead of replacing it. */
export function createBases(options: {
  places: Pick<Places, 'published'>
  base: 'published' | 'empty'
  log: Log
}): (domain: string) => (signal: AbortSignal) => Promise<CID | undefined> {
  const { places, base, log } = options
  return (domain) => async (signal) => {
    if (base === 'empty') return undefined
    try {
      const found = await places.published(domain, signal)
      if (found === undefined) return undefined
      log.info({ domain, root: found.root.toString() }, 'the tree begins with the published root')
      return found.root
    } catch (error) {
      log.warn(
        { domain, cause: reason(error) },
        'could not find out whether the domain is published already, so its tree begins empty: compare before you publish its root'
      )
      return undefined
    }
  }
}
