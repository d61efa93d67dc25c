import { type Digest, digestOf, isDigest, splitDigest } from '../oci/digest.ts'
import { type Descriptor, readManifest } from '../oci/manifest.ts'
import { INDEX_TYPES, OCI_MANIFEST } from '../oci/media-types.ts'
import type { Passed, PassedLayer } from './passed.ts'
import { checkConfig, childFor, type Platform } from './platform.ts'
import { MoveError, type StoredManifest } from './types.ts'

const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json'

/** An image that came out of a tar: what it is called there, and its manifests, children first. */
export interface TarImage {
  readonly names: readonly string[]
  /** The last one is the image's own. */
  readonly manifests: readonly StoredManifest[]
  /** Blobs that aren't at the target yet: configs, which no layer is. */
  readonly configs: readonly { digest: Digest; bytes: Buffer }[]
  readonly layers: readonly PassedLayer[]
  /** Why it can't be kept, where it can't. */
  readonly refusal?: string
}

/**
 * The images of a tar: as its OCI index has them, where nothing of them was changed, so that their digests stay; else
 * made of its configs and what its layers have become. What is no image can't be made again: it is one with a refusal.
 *
 * @throws {MoveError} for a tar that isn't of images, or lacks parts of them
 */
export function imagesOf(passed: Passed, name: string): TarImage[] {
  const { kept, changed } = unchangedImages(passed, passed.documents.get('index.json'))
  if (kept.length > 0 && changed.length === 0) return withNames(kept, passed, name)
  const list = passed.documents.get('manifest.json')
  const entries = list === undefined ? configsOfIndex(passed, changed, name) : configsOfList(list, name)
  const whole = new Set(kept.flatMap(({ configs }) => configs.map(({ digest }) => pathOf(digest))))
  const made = entries
    .filter(({ config }) => !whole.has(config))
    .map(({ config, names }) => {
      const bytes = passed.documents.get(config)
      if (bytes === undefined)
        throw new MoveError(`${name} lacks ${config}, the config of ${names[0] ?? 'an image'}`)
      return imageOf(bytes, names, [...passed.layers.values()], name)
    })
  const listed = new Set(entries.map(({ config }) => config))
  return [
    ...withNames(kept, passed, name),
    ...made,
    ...changed.flatMap((each) => unlisted(each, passed, listed))
  ]
}

/** An image for a platform: of an index that one alone. @throws {MoveError} where it is for others */
export function forPlatform(image: TarImage, platform: Platform, name: string): TarImage {
  const own = image.manifests.at(-1)
  if (own === undefined) return image
  const { children } = readManifest(own.bytes, own.mediaType)
  const digest = children.length === 0 ? own.digest : childFor(children, platform, name).digest
  const manifests = image.manifests.filter((each) => each.digest === digest)
  const blobs = new Set(
    manifests.flatMap((each) => readManifest(each.bytes, each.mediaType).blobs.map((blob) => blob.digest))
  )
  const configs = image.configs.filter((each) => blobs.has(each.digest))
  // an index says itself what its images are for
  if (children.length === 0) for (const { bytes } of configs) checkConfig(bytes, platform, name)
  return { ...image, manifests, configs, layers: image.layers.filter(({ blob }) => blobs.has(blob.digest)) }
}

/** An entry of an index that Docker's list leaves out, as it is no image that an engine runs. */
function unlisted(entry: Descriptor, passed: Passed, listed: ReadonlySet<string>): TarImage[] {
  const bytes = documentOf(passed, entry.digest)
  const [config] = bytes === undefined ? [] : readManifest(bytes, entry.mediaType).blobs
  if (config === undefined || listed.has(pathOf(config.digest))) return []
  const names = namesOf(entry)
  const refusal = `${names[0] ?? entry.digest} is no image that an engine runs, so it stays as it is: push it with --compression none`
  return [{ names, manifests: [], configs: [], layers: [], refusal }]
}

/**
 * Makes the manifest of an image out of its config and its layers as they are kept.
 *
 * @throws {MoveError} for a config that is none, or layers that aren't there
 */
export function imageOf(
  config: Buffer,
  names: readonly string[],
  layers: readonly PassedLayer[],
  name: string
): TarImage {
  const diffIds = diffIdsOf(config, name)
  const mine = diffIds.map((diffId) => {
    const layer = layers.find((each) => each.diffId === diffId)
    if (layer === undefined)
      throw new MoveError(
        `${name} is incomplete: the layer ${diffId} of ${names[0] ?? 'an image'} is not in it`
      )
    return layer
  })
  const digest = digestOf(config)
  const bytes = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: { mediaType: OCI_CONFIG, digest, size: config.length },
      layers: mine.map(({ mediaType, blob }) => ({ mediaType, digest: blob.digest, size: blob.size }))
    })
  )
  const manifest = { digest: digestOf(bytes), mediaType: OCI_MANIFEST, bytes }
  return { names, manifests: [manifest], configs: [{ digest, bytes: config }], layers: mine }
}

/** The digests of an image's layers without compression, as its config has them. @throws {MoveError} */
export function diffIdsOf(config: Buffer, name: string): readonly Digest[] {
  let ids: unknown
  try {
    ids = (JSON.parse(config.toString()) as { rootfs?: { diff_ids?: unknown } }).rootfs?.diff_ids
  } catch {}
  if (!Array.isArray(ids) || !ids.every((id) => typeof id === 'string' && isDigest(id)))
    throw new MoveError(`${name} has an image without a list of layers: its config is no image's`)
  return ids
}

/** An index names tags only, where the list beside it has the whole names. */
function withNames(images: readonly TarImage[], passed: Passed, name: string): TarImage[] {
  const list = passed.documents.get('manifest.json')
  if (list === undefined) return [...images]
  const entries = configsOfList(list, name).filter(({ names }) => names.length > 0)
  return images.map((image) => {
    const ids = image.configs.map(({ digest }) => pathOf(digest))
    const named = entries.filter(({ config }) => ids.includes(config)).flatMap(({ names }) => names)
    // an image that has several names stands in the index once for each
    const mine = named.filter(
      (each) =>
        image.names.length === 0 || image.names.some((tag) => each === tag || each.endsWith(`:${tag}`))
    )
    return mine.length === 0 ? image : { ...image, names: mine }
  })
}

/** An image as `manifest.json` has it: paths, bottom layer first. */
interface Entry {
  readonly config: string
  readonly names: readonly string[]
  readonly layers: readonly string[]
}

/** The images of a `manifest.json`. @throws {MoveError} for what is none */
export function configsOfList(list: Buffer, name: string): Entry[] {
  try {
    const rows = JSON.parse(list.toString()) as {
      Config: string
      RepoTags?: string[] | null
      Layers?: string[] | null
    }[]
    return rows.map(({ Config, RepoTags, Layers }) => ({
      config: Config,
      names: RepoTags ?? [],
      layers: Layers ?? []
    }))
  } catch (cause) {
    throw new MoveError(`${name} has a manifest.json that is none`, { cause })
  }
}

/** For a layout without manifest.json whose layers were compressed on the way. */
function configsOfIndex(
  passed: Passed,
  changed: readonly Descriptor[],
  name: string
): Omit<Entry, 'layers'>[] {
  if (!passed.documents.has('index.json'))
    throw new MoveError(
      `${name} holds no image: it has neither manifest.json nor index.json; it is cut short, or of something else`
    )
  return changed.map((child) => {
    const bytes = documentOf(passed, child.digest)
    const manifest = bytes && readManifest(bytes, child.mediaType)
    const config = manifest?.blobs[0]
    if (config === undefined || INDEX_TYPES.includes(manifest?.mediaType ?? ''))
      throw new MoveError(
        `${name} has images of several platforms whose layers are not compressed: push it with --compression none`
      )
    return { config: pathOf(config.digest), names: namesOf(child) }
  })
}

const pathOf = (digest: Digest): string => {
  const { algorithm, hex } = splitDigest(digest)
  return `blobs/${algorithm}/${hex}`
}

const documentOf = (passed: Passed, digest: Digest): Buffer | undefined =>
  passed.documents.get(pathOf(digest))

/** The names that an entry of a layout's index carries, whole names before tags. */
export function namesOf({ annotations }: Descriptor): string[] {
  const found = [
    annotations?.['io.containerd.image.name'],
    annotations?.['org.opencontainers.image.ref.name']
  ]
  return found.filter((each) => each !== undefined && each !== '').slice(0, 1) as string[]
}

/** How an index's entry says what an image is called. */
export const annotationsFor = (name: string): Record<string, string> => ({
  'io.containerd.image.name': name,
  'org.opencontainers.image.ref.name': name.slice(name.lastIndexOf(':') + 1)
})

/** The images of an OCI index all of whose parts are there just as they were, and its other entries. */
function unchangedImages(
  passed: Passed,
  index: Buffer | undefined
): { kept: TarImage[]; changed: Descriptor[] } {
  const byDigest = new Map([...passed.layers].map(([path, layer]) => [path, layer]))
  const kept: TarImage[] = []
  const changed: Descriptor[] = []
  for (const child of index === undefined ? [] : readManifest(index).children) {
    const manifests: StoredManifest[] = []
    const configs: { digest: Digest; bytes: Buffer }[] = []
    const layers: PassedLayer[] = []
    const walk = ({ digest, mediaType }: Descriptor, depth: number): boolean => {
      const bytes = documentOf(passed, digest)
      if (bytes === undefined || depth > 4) return false
      const manifest = readManifest(bytes, mediaType)
      for (const blob of manifest.blobs) {
        const layer = byDigest.get(pathOf(blob.digest))
        const document = documentOf(passed, blob.digest)
        if (layer?.unchanged === true && layer.blob.digest === blob.digest) layers.push(layer)
        else if (document !== undefined) configs.push({ digest: blob.digest, bytes: document })
        else return false
      }
      if (!manifest.children.every((each) => walk(each, depth + 1))) return false
      manifests.push({ digest, mediaType: manifest.mediaType, bytes })
      return true
    }
    if (walk(child, 0)) kept.push({ names: namesOf(child), manifests, configs, layers })
    else changed.push(child)
  }
  return { kept, changed }
}
