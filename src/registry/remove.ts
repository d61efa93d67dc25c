import type { Digest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { readManifest } from '../oci/manifest.ts'
import type { Reference, RepositoryName } from '../oci/reference.ts'
import { recordRow, type Store } from '../store/index.ts'
import {
  type Change,
  joinChanges,
  removeBlob,
  removeManifest,
  removeTag,
  removeTagHistory,
  type TreeView,
  type TreeWriter
} from '../tree/index.ts'
import type { Links } from './links.ts'
import type { Places } from './places.ts'
import { tagTimeKey } from './tag-times.ts'

/** Deleting from local trees. Space is given back by the next collection. */
export interface Removal {
  /** @throws {RegistryError} MANIFEST_UNKNOWN */
  deleteManifest(name: RepositoryName, reference: Reference, signal: AbortSignal): Promise<void>
  /** @throws {RegistryError} BLOB_UNKNOWN */
  deleteBlob(name: RepositoryName, digest: Digest, signal: AbortSignal): Promise<void>
}

/** The domain of a name that can be written. @throws {RegistryError} DENIED */
export function writableDomain(name: RepositoryName): string {
  if (name.place.kind === 'domain') return name.place.domain
  throw new RegistryError(
    'DENIED',
    `${name.asked} names a fixed root, which cannot change: push to a domain's name instead`
  )
}

export function createRemoval(options: {
  store: Store
  trees: TreeWriter
  places: Places
  links: Links
}): Removal {
  const { store, trees, places, links } = options

  /** What a manifest in the store refers to, if its bytes are here to tell. */
  async function subjectOf(
    view: TreeView,
    name: string,
    digest: Digest,
    signal: AbortSignal
  ): Promise<Digest | undefined> {
    const blob = await store.blobs.stat(digest)
    if (blob === undefined) return undefined
    const type = await view.manifestType(name, digest, signal)
    return readManifest(await store.blobs.readSmall(blob, blob.size), type).subject?.digest
  }

  return {
    async deleteManifest(name, reference, signal) {
      const domain = writableDomain(name)
      const place = await places.local(domain, name.repository, signal)
      const unknown = () =>
        new RegistryError('MANIFEST_UNKNOWN', `${name.asked} has no such manifest here`, {
          detail: reference
        })
      const inTree = place?.name
      if (inTree === undefined) throw unknown()
      const withoutTimes = (change: Change, tags: readonly string[]): Change => ({
        ...change,
        rows: tags.map((tag) => recordRow(tagTimeKey(domain, inTree, tag), undefined))
      })
      await trees.change(
        domain,
        async (view, jobSignal) => {
          if (view === undefined) throw unknown()
          if (reference.kind === 'tag') {
            if ((await view.tag(inTree, reference.tag, jobSignal)) === undefined) throw unknown()
            return withoutTimes(removeTag(inTree, reference.tag), [reference.tag])
          }
          const { digest } = reference
          if (!(await view.hasManifest(inTree, digest, jobSignal))) throw unknown()
          const { tags, former } = await tagsOf(view, inTree, digest, jobSignal)
          // A tag that says that it once pointed at it would keep its content for ever.
          const change = joinChanges([
            ...former.map((tag) => removeTagHistory(inTree, tag, digest)),
            removeManifest(inTree, digest, tags, await subjectOf(view, inTree, digest, jobSignal))
          ])
          return withoutTimes(change, tags)
        },
        { signal, frees: true }
      )
    },

    async deleteBlob(name, digest, signal) {
      const domain = writableDomain(name)
      const place = await places.local(domain, name.repository, signal)
      const inTree =
        place?.name !== undefined && (await place.view.hasBlob(place.name, digest, signal))
          ? place.name
          : undefined
      const linked = await links.has(name, digest)
      if (inTree === undefined && !linked) {
        throw new RegistryError('BLOB_UNKNOWN', `${name.asked} has no blob ${digest} here`, {
          detail: { digest }
        })
      }
      if (linked) await links.remove(name, digest)
      if (inTree !== undefined)
        await trees.change(domain, removeBlob(inTree, digest), { signal, frees: true })
    }
  }
}

/** The tags that point at a manifest, and those that once did. */
async function tagsOf(
  view: TreeView,
  repository: string,
  digest: Digest,
  signal: AbortSignal
): Promise<{ tags: string[]; former: string[] }> {
  const tags: string[] = []
  const former: string[] = []
  for (const tag of await view.tags(repository, signal)) {
    if ((await view.tag(repository, tag, signal)) === digest) tags.push(tag)
    else if (await view.hadTag(repository, tag, digest, signal)) former.push(tag)
  }
  return { tags, former }
}
