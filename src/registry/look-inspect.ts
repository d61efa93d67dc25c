import type { Digest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { type ImageConfig, platformMatches } from '../oci/image-config.ts'
import { type Descriptor, parseJson } from '../oci/manifest.ts'
import type { Reference } from '../oci/reference.ts'
import type { ContentPlace, ImageRepository, ImageSource, Provider } from './image-source.ts'
import { type PlatformEntry, readImage } from './look-image.ts'
import type { Referrer } from './referrers.ts'

/** What is looked at. */
export interface InspectQuery {
  readonly repository: string
  readonly reference: Reference
  /** Only this platform of an index. */
  readonly platform?: string
}

/** Content that an image names, and where it is. */
export interface InspectedBlob extends ContentPlace {
  readonly digest: Digest
  readonly mediaType: string
  /** In bytes, as it is kept: compressed. */
  readonly size: number
  /** What made this layer, as the config says. */
  readonly step?: string
}

/** An image for one platform. */
export interface InspectedPlatform extends ContentPlace {
  /** `linux/arm64/v8`; nothing where it isn't known. */
  readonly platform: string
  /** Of its manifest. */
  readonly digest: Digest
  readonly config?: InspectedBlob
  /** What the config says; not there for an artifact. */
  readonly about?: ImageConfig
  readonly layers: readonly InspectedBlob[]
  /** What config and layers take, each blob once, in bytes. */
  readonly size: number
  /** Why something is missing. */
  readonly problem?: string
}

/** All that there is to say of an image. */
export interface Inspection {
  /** Where it was found. */
  readonly source: string
  /** The root CID of the tree in which it was found. */
  readonly root?: string
  readonly repository: string
  readonly tag?: string
  readonly digest: Digest
  /** Of the manifest, where it is one of IPFS. */
  readonly cid?: string
  readonly mediaType: string
  readonly type: 'image' | 'index' | 'artifact'
  readonly artifactType?: string
  /** The manifest it refers to. */
  readonly subject?: Digest
  readonly annotations: Readonly<Record<string, string>>
  readonly platforms: readonly InspectedPlatform[]
  /** What refers to its manifest: signatures, SBOMs; not there where the source couldn't say. */
  readonly referrers?: readonly Referrer[]
  readonly providers: readonly Provider[]
  /** The manifest, byte for byte, in base64. */
  readonly manifest: string
}

/** How many layers are looked up at once. */
const AT_ONCE = 16

/**
 * Looks at one image in full.
 *
 * @throws {RegistryError} MANIFEST_UNKNOWN when it isn't there, or not for the platform; and as the source does
 */
export async function inspectImage(
  source: ImageSource,
  query: InspectQuery,
  signal: AbortSignal
): Promise<Inspection> {
  const { reference } = query
  const repository = await source.repository(query.repository, signal)
  const content = await repository.manifest(reference, signal)
  const { manifest, type, platforms } = await readImage(repository, content, signal)
  const { platform } = query
  const chosen =
    platform === undefined ? platforms : platforms.filter((one) => platformMatches(platform, one.platform))
  if (platform !== undefined && chosen.length === 0) {
    const there = platforms.flatMap((one) => one.platform ?? [])
    throw new RegistryError(
      'MANIFEST_UNKNOWN',
      `${query.repository} is not there for ${platform}, but for ${there.join(', ') || 'no platform that is known'}`
    )
  }
  const shown: InspectedPlatform[] = []
  for (const entry of chosen) shown.push(await inspected(repository, entry, signal))
  // who looks at an image doesn't go without for that
  const referrers = await repository.referrers(content.digest, signal).catch(() => undefined)
  signal.throwIfAborted()
  const { cid } = await repository.whereabouts(content.digest, content.bytes.length, signal)
  return {
    source: repository.what,
    ...(repository.root !== undefined && { root: repository.root }),
    repository: query.repository,
    ...(reference.kind === 'tag' && { tag: reference.tag }),
    digest: content.digest,
    ...(cid !== undefined && { cid }),
    mediaType: content.mediaType,
    type,
    ...(type === 'artifact' &&
      manifest.artifactType !== undefined && { artifactType: manifest.artifactType }),
    ...(manifest.subject && { subject: manifest.subject.digest }),
    annotations: manifest.annotations ?? {},
    platforms: shown,
    ...(referrers !== undefined && { referrers }),
    providers: await repository.providers(signal),
    manifest: Buffer.from(content.bytes).toString('base64')
  }
}

async function inspected(
  repository: ImageRepository,
  { digest, platform = '', image, problem }: PlatformEntry,
  signal: AbortSignal
): Promise<InspectedPlatform> {
  const place = await repository.whereabouts(digest, image?.manifest.bytes.length ?? Infinity, signal)
  const head = { platform, digest, ...place }
  if (image === undefined) return { ...head, layers: [], size: 0, ...(problem !== undefined && { problem }) }
  const config = await located(repository, image.config, signal)
  const layers: InspectedBlob[] = []
  for (let at = 0; at < image.layers.length; at += AT_ONCE) {
    const some = image.layers.slice(at, at + AT_ONCE)
    const found = await Promise.all(some.map((layer) => located(repository, layer, signal)))
    for (const [i, layer] of found.entries()) {
      const step = image.about?.steps[at + i]
      layers.push(step ? { ...layer, step } : layer)
    }
  }
  const sizes = new Map([config, ...layers].map((blob) => [blob.digest, blob.size]))
  return {
    ...head,
    config,
    ...(image.about && { about: image.about }),
    layers,
    size: [...sizes.values()].reduce((sum, size) => sum + size, 0)
  }
}

async function located(
  repository: ImageRepository,
  { digest, mediaType, size }: Descriptor,
  signal: AbortSignal
): Promise<InspectedBlob> {
  return { digest, mediaType, size, ...(await repository.whereabouts(digest, size, signal)) }
}

/** The manifest of an inspection as JSON. */
export function manifestJson({ manifest }: Inspection): Record<string, unknown> {
  return parseJson(Buffer.from(manifest, 'base64'))
}
