import { RegistryError, reason } from '../oci/errors.ts'
import { DEFAULT_DOMAIN, type Place as NamedPlace, type RepositoryName } from '../oci/reference.ts'
import type { TreeWriter } from '../tree/index.ts'
import { mergeSorted, namesBelow, namesIn } from './names.ts'
import type { Places } from './places.ts'
import type { Pull } from './pull.ts'
import { createReferrers, type Referrers } from './referrers.ts'
import type { Through, ThroughRepository } from './through.ts'
import type { Seen } from './through-lists.ts'

/** A part of a list: those after `after`, at most `limit` of them. */
export interface Page {
  readonly after: string
  readonly limit: number
}

/** A page's items, and whether there are more behind them. */
export interface Listed<T> {
  readonly items: readonly T[]
  readonly more: boolean
  /** Why there may be others by now, where they come from a registry that can't be asked. */
  readonly stale?: string
}

/** What there is, in pages. Nothing is read beyond what a page needs. */
export interface Lists extends Referrers {
  /** Tags in byte order. @throws {RegistryError} NAME_UNKNOWN */
  tags(name: RepositoryName, page: Page, signal: AbortSignal): Promise<Listed<string>>
  /** Names of all repositories in local trees, as clients ask for them, in byte order. */
  catalogue(page: Page, signal: AbortSignal): Promise<Listed<string>>
  /**
   * Names of the repositories in one place, as they are asked for below it, in byte order: those of a
   * domain's local tree or, without one, of the tree that it publishes; those of a root.
   *
   * @throws {RegistryError} NAME_UNKNOWN, SOURCE_FAILED, SOURCE_TIMEOUT
   */
  repositories(place: NamedPlace, page: Page, signal: AbortSignal): Promise<Listed<string>>
}

export function createLists(options: {
  trees: TreeWriter
  places: Places
  pull: Pull
  /** Other registries; none unless given. */
  through?: Through
}): Lists {
  const { trees, places, pull } = options

  /** Tags after `after` as trees here have them. */
  async function tagsHere(
    name: RepositoryName,
    after: string,
    signal: AbortSignal
  ): Promise<readonly string[]> {
    const place = await pull.repository(name, signal)
    const all = await place.view.tags(place.name, signal)
    return all.slice(after === '' ? 0 : firstAfter(all, after))
  }

  /** Those of an upstream, with those that were pushed here; only the latter while it can't be asked. */
  async function tagsThrough(
    up: ThroughRepository,
    name: RepositoryName,
    after: string,
    signal: AbortSignal
  ): Promise<Seen<string>> {
    const [here, there] = await Promise.allSettled([tagsHere(name, after, signal), up.tags(signal)])
    signal.throwIfAborted()
    if (here.status === 'rejected' && there.status === 'rejected') throw there.reason
    const own = here.status === 'fulfilled' ? here.value : []
    const { items, stale }: Seen<string> =
      there.status === 'fulfilled' ? there.value : { items: [], ...unasked(there.reason) }
    const all = [...new Set([...own, ...items])].filter((tag) => tag > after).sort()
    return { items: all, ...(stale !== undefined && { stale }) }
  }

  /** The names of every local tree but the default domain's; all of a domain lie between `domain/` and `domain0`. */
  async function* namesOfDomains(after: string, signal: AbortSignal): AsyncGenerator<string> {
    const prefixes: string[] = []
    for await (const domain of trees.domains()) if (domain !== DEFAULT_DOMAIN) prefixes.push(`${domain}/`)
    for (const prefix of prefixes.sort()) {
      const within = after.startsWith(prefix)
      if (!within && prefix < after) continue
      const domain = prefix.slice(0, -1)
      const view = await trees.view(domain)
      if (view === undefined) continue
      const inside = namesIn(view, domain, within ? after.slice(prefix.length) : '', signal)
      for await (const name of inside) yield prefix + name
    }
  }

  return {
    async tags(name, page, signal) {
      const up = options.through?.of(name)
      const { items: all, stale }: Seen<string> = up
        ? await tagsThrough(up, name, page.after, signal)
        : { items: await tagsHere(name, page.after, signal) }
      const items = all.slice(0, page.limit)
      return { items, more: page.limit < all.length, ...(stale !== undefined && { stale }) }
    },

    async catalogue({ after, limit }, signal) {
      const own = await trees.view(DEFAULT_DOMAIN)
      const bare = own === undefined ? nothing() : namesIn(own, DEFAULT_DOMAIN, after, signal)
      return take(mergeSorted(bare, namesOfDomains(after, signal)), limit)
    },

    async repositories(place, { after, limit }, signal) {
      // No repository is called so: only the tree is wanted, wherever it is.
      const name = { asked: describePlace(place), place, repository: '_' }
      for await (const { view } of places.of(name, signal)) {
        const names =
          place.kind === 'domain'
            ? namesIn(view, place.domain, after, signal)
            : namesBelow(view, '', after, signal)
        return take(names, limit)
      }
      throw new RegistryError('NAME_UNKNOWN', `no registry tree of ${name.asked} is known here`)
    },

    ...createReferrers(options)
  }
}

/** Why tags of an upstream are missing; nothing where it hasn't got the repository. */
function unasked(error: unknown): { stale?: string } {
  const unknown = error instanceof RegistryError && error.code === 'NAME_UNKNOWN'
  return unknown ? {} : { stale: reason(error) }
}

async function* nothing(): AsyncGenerator<string> {}

/** A page of names, and whether there are more: one is read beyond it to know. */
async function take(names: AsyncIterable<string>, limit: number): Promise<Listed<string>> {
  const items: string[] = []
  for await (const name of names) {
    if (items.length === limit) return { items, more: true }
    items.push(name)
  }
  return { items, more: false }
}

function describePlace(place: NamedPlace): string {
  if (place.kind === 'domain') return place.domain
  return place.kind === 'ipfs' ? `ipfs/${place.cid}` : `ipns/${place.name}`
}

/** Where the first of `sorted` is that comes after `value`. */
function firstAfter(sorted: readonly string[], value: string): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((sorted[middle] as string) <= value) low = middle + 1
    else high = middle
  }
  return low
}
