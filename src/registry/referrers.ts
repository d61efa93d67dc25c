import type { Digest } from '../oci/digest.ts'
import { isAbort, RegistryError } from '../oci/errors.ts'
import { type Descriptor, MAX_MANIFEST, readManifest } from '../oci/manifest.ts'
import { OCI_INDEX } from '../oci/media-types.ts'
import type { RepositoryName } from '../oci/reference.ts'
import type { Listed, Page } from './lists.ts'
import type { Place, Places } from './places.ts'
import type { Pull } from './pull.ts'
import type { Through } from './through.ts'
import type { Seen } from './through-lists.ts'

/** A descriptor in a referrers list. */
export interface Referrer {
  readonly mediaType: string
  readonly digest: Digest
  readonly size: number
  readonly artifactType?: string
  readonly annotations?: Readonly<Record<string, string>>
}

/** What refers to manifests: signatures, attestations, … */
export interface Referrers {
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

/** A tree that has the repository, by that name. */
type NamedPlace = Place & { readonly name: string }

/** How many manifests are read at once for a referrers list. */
const READ_AT_ONCE = 8

/** What a page of referrers takes at most, in bytes of JSON, with room for what is around them. */
const MAX_PAGE_BYTES = MAX_MANIFEST - 1024

/** Makes it. */
export function createReferrers(options: {
  places: Places
  pull: Pick<Pull, 'content'>
  /** Other registries; none unless given. */
  through?: Through
}): Referrers {
  const { places, pull } = options

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

  /** The first tree that has the repository, and the first that has the subject, if that is another one. */
  async function placesOf(
    name: RepositoryName,
    subject: Digest,
    signal: AbortSignal
  ): Promise<readonly NamedPlace[]> {
    const found: NamedPlace[] = []
    try {
      for await (const place of places.of(name, signal)) {
        if (place.name === undefined) continue
        const has = await place.view.hasManifest(place.name, subject, signal)
        if (has || found.length === 0) found.push({ ...place, name: place.name })
        if (has) break
      }
    } catch (error) {
      if (found.length === 0) throw error
      nothingUnlessGone(error)
    }
    return found
  }

  /** What trees here have, and what the upstream says; only the former while it can't be asked. */
  async function candidates(
    name: RepositoryName,
    subject: Digest,
    signal: AbortSignal
  ): Promise<{ here: Map<Digest, NamedPlace>; there: Seen<Descriptor> }> {
    const up = options.through?.of(name)
    const [found, asked] = await Promise.allSettled([
      placesOf(name, subject, signal),
      up?.referrers(subject, signal) ?? { items: [] }
    ])
    signal.throwIfAborted()
    if (found.status === 'rejected' && up === undefined) throw found.reason
    const here = new Map<Digest, NamedPlace>()
    for (const place of found.status === 'fulfilled' ? found.value : []) {
      for (const digest of await tagSchema(place, place.name, subject, signal)) here.set(digest, place)
      for await (const digest of place.view.referrers(place.name, subject, signal)) here.set(digest, place)
    }
    if (asked.status === 'fulfilled') return { here, there: asked.value }
    // An empty list would look as if there were nothing.
    const failed = asked.reason instanceof RegistryError && asked.reason.code !== 'MANIFEST_UNKNOWN'
    if (here.size === 0 || !failed) throw asked.reason
    return { here, there: { items: [], stale: asked.reason.message } }
  }

  return {
    async referrers(name, subject, artifactType, { after, limit }, signal) {
      const { here, there } = await candidates(name, subject, signal)
      const said = new Map(there.items.map((item) => [item.digest, referrerOf(item)]))
      const stale = there.stale === undefined ? {} : { stale: there.stale }
      const wanted = [...new Set([...here.keys(), ...said.keys()])].filter((digest) => digest > after).sort()
      const items: Referrer[] = []
      let bytes = 0
      for (let at = 0; at < wanted.length; at += READ_AT_ONCE) {
        const some = wanted.slice(at, at + READ_AT_ONCE)
        const read = await Promise.all(
          some.map(async (digest) => {
            const place = here.get(digest)
            return said.get(digest) ?? (place && describe(place, place.name, digest, subject, signal))
          })
        )
        for (const referrer of read) {
          if (referrer === undefined) continue
          if (artifactType !== undefined && referrer.artifactType !== artifactType) continue
          bytes += Buffer.byteLength(JSON.stringify(referrer)) + 1
          if (items.length === limit || (items.length > 0 && bytes > MAX_PAGE_BYTES))
            return { items, more: true, ...stale }
          items.push(referrer)
        }
      }
      return { items, more: false, ...stale }
    }
  }
}

/** What a list says of a descriptor that another list has. */
function referrerOf({ mediaType, digest, size, artifactType, annotations }: Descriptor): Referrer {
  return {
    mediaType,
    digest,
    size,
    ...(artifactType == null ? {} : { artifactType }),
    ...(annotations == null ? {} : { annotations })
  }
}

/** A list is worth more with one entry missing than not at all, unless the client has gone. */
function nothingUnlessGone(error: unknown): undefined {
  if (isAbort(error) || !(error instanceof RegistryError)) throw error
  return undefined
}
