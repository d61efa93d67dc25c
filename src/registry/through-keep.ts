import type { Digest } from '../oci/digest.ts'
import { readManifest } from '../oci/manifest.ts'
import type { IndexWrite, Store, Uses } from '../store/index.ts'
import { type Content, putBlob, putManifest, type TreeWriter } from '../tree/index.ts'
import { keepManifest } from './keep-manifest.ts'
import type { Places } from './places.ts'
import type { ManifestContent } from './pull.ts'
import type { TagTimes } from './tag-times.ts'

/** What came from an upstream becomes part of the domain's local tree. Nobody is told of its roots: nobody pushed. */
export interface ThroughKeeper {
  /**
   * A manifest, under tags. What it names becomes part of the repository, whether it is here or not: a blob that isn't
   * is fetched when somebody asks for it.
   *
   * @param also rows that become durable in the same step, and whether peers may not have it
   */
  manifest(
    domain: string,
    repository: string,
    what: ManifestContent,
    tags: readonly string[],
    also: { rows: readonly IndexWrite[]; isPrivate: boolean },
    signal: AbortSignal
  ): Promise<void>
  /** A blob that is in the store now. */
  blob(domain: string, repository: string, digest: Digest, signal: AbortSignal): Promise<void>
}

export function createThroughKeeper(options: {
  store: Store
  trees: TreeWriter
  treeUses: Uses
  places: Pick<Places, 'local'>
  tagTimes: Pick<TagTimes, 'rows'>
}): ThroughKeeper {
  const { store, trees, treeUses, places, tagTimes } = options

  /** The tree's name for a repository. */
  async function nameOf(domain: string, repository: string, signal: AbortSignal): Promise<string> {
    return (await places.local(domain, repository, signal))?.name ?? `${domain}/${repository}`
  }

  async function here(digest: Digest): Promise<Content | undefined> {
    const blob = await store.blobs.stat(digest)
    return blob && { digest, link: { cid: blob.cid, size: blob.dagSize } }
  }

  return {
    async manifest(domain, repository, { bytes, digest, mediaType }, tags, { rows, isPrivate }, signal) {
      const manifest = readManifest(bytes, mediaType)
      const named = [...new Set(manifest.blobs.map((blob) => blob.digest))]
      await store.uses.during(async () => {
        await treeUses.expect([digest, ...named, ...manifest.children.map((child) => child.digest)])
        const name = await nameOf(domain, repository, signal)
        const blobs = (await Promise.all(named.map(here))).filter((blob) => blob !== undefined)
        const kept = await keepManifest(store, bytes, digest, { isPrivate })
        const change = putManifest({
          name,
          manifest: kept.content,
          tags,
          blobs,
          named,
          subject: manifest.subject?.digest,
          mediaType: manifest.selfDescribing ? undefined : mediaType,
          listed: { mediaType, digest, size: bytes.length }
        })
        const moves = tags.map((tag) => ({ repository: name, tag, digest }))
        const all = [...kept.rows, ...(await tagTimes.rows(domain, moves)), ...rows]
        await trees.change(domain, { ...change, rows: all }, { signal, quiet: true })
      })
    },

    async blob(domain, repository, digest, signal) {
      await store.uses.during(async () => {
        await treeUses.expect([digest])
        const content = await here(digest)
        if (content === undefined) return
        const name = await nameOf(domain, repository, signal)
        await trees.change(domain, putBlob(name, content), { signal, quiet: true })
      })
    }
  }
}
