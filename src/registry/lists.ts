import type { Digest } from '../oci/digest.ts'
import { isAbort, RegistryError } from '../oci/errors.ts'
import { MAX_MANIFEST, readManifest } from '../oci/manifest.ts'
import { OCI_INDEX } from '../oci/media-types.ts'
import { DEFAULT_DOMAIN, type Place as NamedPlace, type RepositoryName } from '../oci/reference.ts'
import type { TreeWriter } from '../tree/index.ts'
import { mergeSorted, namesBelow, namesIn } from './names.ts'
import type { Place, Places } from './places.ts'
import type { Pull } from './pull.ts'
import type { Through, ThroughRepository } from './through.ts'

/** A part of a list: those after `after`, at most `limit` of them. */
export interface Page {
  readonly after: string
  readonly limit: number
}

/** A page's items, and whether there are more behind them. */
export interface Listed<T> {
  readonly items: readonly T[]
  readonly more: boolean
}

/** A descriptor in a referrers list. */
export interface Referrer {
  readonly mediaType: string
  readonly digest: Digest
  readonly size: number
  readonly artifactType?: string
  readonly annotations?: Readonly<Record<string, string>>
}

/** What there is, in pages. Nothing is read beyond what a page needs. */
export interface Lists {
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
  /**
   * The manifests that refer to `subject`; none for a subject or repository that nobody knows. A page is
   * never larger than a manifest may be.
   */
  referrers(
    name: RepositoryName,
    subject: Digest,
    artifactType: string | undefined,
    page: Page,
    signal: AbortSignal
  ): Promise<Listed<Referrer>>
}

/** How many manifests are read at once for a referrers list. */
const READ_AT_ONCE = 8

/** What a page of referrers takes at most, in bytes of JSON, with room for what is around them. */
const MAX_PAGE_BYTES = MAX_MANIFEST - 1024

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
    { after, limit }: Page,
    signal: AbortSignal
  ): Promise<readonly string[]> {
    const [here, there] = await Promise.allSettled([
      tagsHere(name, after, signal),
      up.tags(after, limit + 1, signal)
    ])
    signal.throwIfAborted()
    if (here.status === 'rejected' && there.status === 'rejected') throw there.reason
    const all = [here, there].flatMap((each) => (each.status === 'fulfilled' ? each.value : []))
    return [...new Set(all)].filter((tag) => tag > after).sort()
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

  /** The referrers tag schema: an index under the tag `sha256-<hex>`, kept by clients of older registries. */
  async function tagSchema(
    place: Place,
    repository: string,
    subject: Digest,
    signal: AbortSignal
  ): Promise<readonly Digest[]> {
    try {
      const digest = await place.view.tag(repository, subject.replace(':', '-'), signal)
      if (digest === undefined) return []
      const index = await pull.content(place, repository, digest, signal)
      if (index.mediaType !== OCI_INDEX) return []
      return readManifest(index.bytes, index.mediaType).children.map((child) => child.digest)
    } catch (error) {
      return nothingUnlessGone(error) ?? []
    }
  }

  /** A referrer's descriptor; `undefined` for what is no manifest here, or refers to something else. */
  async function describe(
    place: Place,
    repository: string,
    digest: Digest,
    subject: Digest,
    signal: AbortSignal
  ): Promise<Referrer | undefined> {
    try {
      if (!(await place.view.hasManifest(repository, digest, signal))) return undefined
      const { bytes, mediaType } = await pull.content(place, repository, digest, signal)
      const manifest = readManifest(bytes, mediaType)
      if (manifest.subject?.digest !== subject) return undefined
      return {
        mediaType,
        digest,
        size: bytes.length,
        ...(manifest.artifactType === undefined ? {} : { artifactType: manifest.artifactType }),
        ...(manifest.annotations === undefined ? {} : { annotations: manifest.annotations })
      }
    } catch (error) {
      return nothingUnlessGone(error)
    }
  }

  return {
    async tags(name, page, signal) {
      const up = options.through?.of(name)
      const all = up ? await tagsThrough(up, name, page, signal) : await tagsHere(name, page.after, signal)
      return { items: all.slice(0, page.limit), more: page.limit < all.length }
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

    async referrers(name, subject, artifactType, { after, limit }, signal) {
      for await (const place of places.of(name, signal)) {
        const repository = place.name
        if (repository === undefined) continue
        const digests = new Set<Digest>(await tagSchema(place, repository, subject, signal))
        for await (const digest of place.view.referrers(repository, subject, signal)) digests.add(digest)
        const wanted = [...digests].filter((digest) => digest > after).sort()
        const items: Referrer[] = []
        let bytes = 0
        for (let at = 0; at < wanted.length; at += READ_AT_ONCE) {
          const some = wanted.slice(at, at + READ_AT_ONCE)
          const read = await Promise.all(
            some.map((digest) => describe(place, repository, digest, subject, signal))
          )
          for (const referrer of read) {
            if (referrer === undefined) continue
            if (artifactType !== undefined && referrer.artifactType !== artifactType) continue
            bytes += Buffer.byteLength(JSON.stringify(referrer)) + 1
            if (items.length === limit || (items.length > 0 && bytes > MAX_PAGE_BYTES))
              return { items, more: true }
            items.push(referrer)
          }
        }
        return { items, more: false }
      }
      return { items: [], more: false }
    }
  }
}

/** A list is worth more with one entry missing than not at all, unless the client has gone. */
function nothingUnlessGone(error: unknown): undefined {
  if (isAbort(error) || !(error instanceof RegistryError)) throw error
  return undefined
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
