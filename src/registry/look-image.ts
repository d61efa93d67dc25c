import type { Digest } from '../oci/digest.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { type ImageConfig, isImageConfig, platformText, readImageConfig } from '../oci/image-config.ts'
import { type Descriptor, type Manifest, readManifest } from '../oci/manifest.ts'
import { IMAGE_TYPES, INDEX_TYPES } from '../oci/media-types.ts'
import type { ImageRepository } from './image-source.ts'
import type { ManifestContent } from './pull.ts'

/** An image for one platform, read. */
export interface PlatformImage {
  readonly manifest: ManifestContent
  readonly config: Descriptor
  readonly layers: readonly Descriptor[]
  /** Not there for an artifact, whose config says nothing of an image. */
  readonly about?: ImageConfig
}

/** What an index says of one of its images. */
export interface PlatformEntry {
  /** `linux/arm64/v8`; not there where it isn't known. */
  readonly platform?: string
  readonly digest: Digest
  readonly image?: PlatformImage
  /** Why the rest isn't known. */
  readonly problem?: string
}

/** What a manifest is, with all that it names, as far as it can be had. */
export interface ReadImage {
  readonly content: ManifestContent
  readonly manifest: Manifest
  readonly type: 'image' | 'index' | 'artifact'
  readonly platforms: readonly PlatformEntry[]
}

/** Images of an index that are looked at: more are somebody's mistake, or attack. */
const MAX_PLATFORMS = 64

/** The annotation of things that an index holds beside images: BuildKit's attestations. */
const BESIDE = 'vnd.docker.reference.type'

/**
 * Reads an image and its config, and of an index each image and its config.
 *
 * What is wrong with one image of an index is told there; so is what can't be had of it, for a gateway may have one
 * platform and not the other.
 *
 * @throws {RegistryError} MANIFEST_INVALID, and as the repository does
 */
export async function readImage(
  repository: ImageRepository,
  content: ManifestContent,
  signal: AbortSignal
): Promise<ReadImage> {
  const manifest = readManifest(content.bytes, content.mediaType)
  if (!INDEX_TYPES.includes(content.mediaType)) {
    if (!IMAGE_TYPES.includes(content.mediaType))
      return { content, manifest, type: 'artifact', platforms: [] }
    const image = await platformImage(repository, content, manifest, signal)
    const { platform } = image.about ?? {}
    const entry = { ...(platform !== undefined && { platform }), digest: content.digest, image }
    return { content, manifest, type: image.about ? 'image' : 'artifact', platforms: [entry] }
  }
  const children = manifest.children.filter((child) => child.annotations?.[BESIDE] === undefined)
  const platforms = await Promise.all(
    children.slice(0, MAX_PLATFORMS).map((child) => entryOf(repository, child, signal))
  )
  return { content, manifest, type: 'index', platforms }
}

async function entryOf(
  repository: ImageRepository,
  child: Descriptor,
  signal: AbortSignal
): Promise<PlatformEntry> {
  const said = child.platform ? platformText(child.platform) : undefined
  const known = { digest: child.digest, ...(said !== undefined && { platform: said }) }
  try {
    const content = await repository.manifest({ kind: 'digest', digest: child.digest }, signal)
    if (!IMAGE_TYPES.includes(content.mediaType)) return known
    const image = await platformImage(
      repository,
      content,
      readManifest(content.bytes, content.mediaType),
      signal
    )
    const platform = said ?? image.about?.platform
    return { ...known, ...(platform !== undefined && { platform }), image }
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof RegistryError)) throw error
    // what is pulled through has the platforms that somebody asked for
    if (error.code === 'MANIFEST_UNKNOWN') return known
    return { ...known, problem: reason(error) }
  }
}

async function platformImage(
  repository: ImageRepository,
  manifest: ManifestContent,
  read: Manifest,
  signal: AbortSignal
): Promise<PlatformImage> {
  const [config, ...layers] = read.blobs
  if (config === undefined)
    throw new RegistryError('MANIFEST_INVALID', `the manifest ${manifest.digest} names no config`)
  if (!isImageConfig(config.mediaType)) return { manifest, config, layers }
  const about = readImageConfig(await repository.config(config, signal))
  return { manifest, config, layers, about }
}

/** The image of a platform; `undefined` when there is none. The first one where no platform is wanted. */
export function entryFor(
  platforms: readonly PlatformEntry[],
  matches: ((platform: string | undefined) => boolean) | undefined
): PlatformEntry | undefined {
  if (matches !== undefined) return platforms.find(({ platform }) => matches(platform))
  return platforms.find(({ image }) => image !== undefined) ?? platforms[0]
}
