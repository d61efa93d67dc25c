import { RegistryError } from '../oci/errors.ts'
import type { RepositoryName } from '../oci/reference.ts'
import type { Ahead } from '../tree/index.ts'
import type { Place, Places } from './places.ts'

/** How a search through the trees of a name goes. */
export interface Search {
  /** Whether one of the trees has the repository. */
  seen: boolean
  /** Why another one could not be asked, for the message. */
  unasked: string
  /** Whether there is an upstream to be asked after the trees. */
  readonly upstream: boolean
}

/**
 * The trees that have the repository. Once one was found, another that cannot be asked (name servers
 * that are down, say) ends the search instead of failing it: what was deleted here, or never was, is
 * then 404 and not a failure, and `unasked` says why it was not looked for elsewhere. So it is where there is an
 * upstream to ask after them.
 *
 * @throws {RegistryError} as {@link Places.of}, where nothing else is left
 */
export async function* having(
  places: Pick<Places, 'of'>,
  name: RepositoryName,
  search: Search,
  signal: AbortSignal,
  wants: Ahead
): AsyncGenerator<Place & { name: string }> {
  const all = places.of(name, signal, wants)
  for (;;) {
    let next: IteratorResult<Place, unknown>
    try {
      next = await all.next()
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error
      if (search.upstream && error.code === 'NAME_UNKNOWN') return
      if (!error.code.startsWith('SOURCE_') || !(search.seen || search.upstream)) throw error
      search.unasked = `; what else its domain publishes cannot be asked for: ${error.message}`
      return
    }
    if (next.done === true) return
    const { name: known } = next.value
    if (known === undefined) continue
    search.seen = true
    yield { ...next.value, name: known }
  }
}
