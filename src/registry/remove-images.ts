import { isDigest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { displayName, isTag, parseRepository, type Reference, type RepositoryName } from '../oci/reference.ts'
import { recordRow, type Store } from '../store/index.ts'
import { removeRepository, type TreeWriter } from '../tree/index.ts'
import type { Places } from './places.ts'
import { type Removal, writableDomain } from './remove.ts'

/** What is to be removed. */
export interface RemoveRequest {
  /** `example.com/app:1`, `example.com/app@sha256:…`, or with `all` also `example.com/app`. */
  readonly images: readonly string[]
  /** Whether a name without tag and digest means the whole repository. */
  readonly all: boolean
  readonly dryRun: boolean
}

/** What was removed, or would be, as it was named. */
export interface Removed {
  readonly dryRun: boolean
  readonly removed: readonly string[]
}

/** Removes images by their names. */
export interface ImageRemoval {
  /**
   * Removes all of `images`, or none of them if one isn't there. Space is freed by the next collection.
   *
   * @throws {RegistryError} NAME_INVALID, TAG_INVALID, NAME_UNKNOWN, MANIFEST_UNKNOWN, DENIED
   */
  remove(request: RemoveRequest, signal: AbortSignal): Promise<Removed>
}

interface Target {
  readonly name: RepositoryName
  /** Nothing for the whole repository. */
  readonly reference: Reference | undefined
}

/** Reads `NAME[:TAG|@DIGEST]`; an address of a gateway in front, `127.0.0.1:5000/`, is passed over. */
export function parseImage(text: string): Target {
  const bare = text.replace(/^[^/]*:\d+\//, '')
  const at = bare.indexOf('@')
  const colon = bare.indexOf(':', bare.lastIndexOf('/') + 1)
  const end = at >= 0 ? at : colon >= 0 ? colon : bare.length
  const name = parseRepository(bare.slice(0, colon >= 0 && colon < end ? colon : end))
  const reference = bare.slice(end + 1)
  if (end === bare.length) return { name, reference: undefined }
  if (at >= 0 && isDigest(reference)) return { name, reference: { kind: 'digest', digest: reference } }
  if (at < 0 && isTag(reference)) return { name, reference: { kind: 'tag', tag: reference } }
  throw new RegistryError(
    'TAG_INVALID',
    `'${reference.slice(0, 100)}' in '${text.slice(0, 200)}' is no tag or digest`
  )
}

export function createImageRemoval(options: {
  store: Store
  trees: TreeWriter
  places: Places
  removal: Removal
  /** The one name of a repository that has several; each has one unless given. */
  canonical?: (name: RepositoryName) => RepositoryName
}): ImageRemoval {
  const { store, trees, places, removal } = options

  /** Throws if there is nothing of that name. */
  async function check({ name, reference }: Target, signal: AbortSignal): Promise<string> {
    const domain = writableDomain(name)
    const place = await places.local(domain, name.repository, signal)
    if (place?.name === undefined)
      throw new RegistryError('NAME_UNKNOWN', `there is no repository ${name.asked} in the local trees`)
    const there =
      reference === undefined ||
      (reference.kind === 'tag'
        ? (await place.view.tag(place.name, reference.tag, signal)) !== undefined
        : await place.view.hasManifest(place.name, reference.digest, signal))
    if (there) return place.name
    const what = reference.kind === 'tag' ? `tag '${reference.tag}'` : `manifest ${reference.digest}`
    throw new RegistryError('MANIFEST_UNKNOWN', `${name.asked} has no ${what} here`)
  }

  async function removeAll(name: RepositoryName, inTree: string, signal: AbortSignal): Promise<void> {
    const domain = writableDomain(name)
    await trees.change(
      domain,
      async () => {
        const rows = []
        for (const prefix of [`tag/${domain}/${inTree}\0`, `link/${domain}/${name.repository}\0`])
          for await (const [key] of store.records.list(prefix)) rows.push(recordRow(key, undefined))
        return { ...removeRepository(inTree), rows }
      },
      { signal, frees: true }
    )
  }

  return {
    async remove({ images, all, dryRun }, signal) {
      const targets: (Target & { inTree: string; text: string })[] = []
      for (const image of images) {
        const parsed = parseImage(image)
        const target = { ...parsed, name: options.canonical?.(parsed.name) ?? parsed.name }
        const domain = writableDomain(target.name)
        const text = displayName(domain, target.name.repository)
        if (target.reference === undefined && !all) {
          throw new RegistryError(
            'REQUEST_INVALID',
            `${image} names a whole repository: name a tag (${text}:TAG) or a digest, or say --all`
          )
        }
        targets.push({ ...target, inTree: await check(target, signal), text: image })
      }
      if (!dryRun) {
        for (const { name, reference, inTree } of targets) {
          if (reference === undefined) await removeAll(name, inTree, signal)
          else await removal.deleteManifest(name, reference, signal)
        }
      }
      return { dryRun, removed: targets.map(({ text }) => text) }
    }
  }
}
