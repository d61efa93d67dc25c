import { type Digest, digestOf, splitDigest } from '../oci/digest.ts'
import { type Descriptor, readManifest } from '../oci/manifest.ts'
import { INDEX_TYPES, OCI_INDEX } from '../oci/media-types.ts'
import { chosen } from './copy.ts'
import { childFor, type Platform } from './platform.ts'
import { annotationsFor, diffIdsOf } from './tar-images.ts'
import { counted, writtenTar } from './tar-writer.ts'
import {
  type BlobId,
  type ImageSource,
  MAX_SMALL,
  MoveError,
  type Reporter,
  type StoredManifest
} from './types.ts'
import { verified, wholeBlob } from './verify.ts'

/** An image that is to become part of a tar. */
export interface TarRequest {
  readonly source: ImageSource
  readonly reference: string
  /** Its full name, `example.com/app:1`; none where it is named by digest. */
  readonly name: string | undefined
  /** Its repository at a registry that an engine on this machine reaches: `127.0.0.1:5000/example.com/app`. */
  readonly near?: string | undefined
}

/** An image of one platform as an engine knows it. */
export interface Runnable {
  readonly name: string | undefined
  readonly near?: string | undefined
  /** The digest of its config: an engine's name for it. */
  readonly id: Digest
  readonly config: Buffer
  readonly layers: readonly {
    readonly blob: BlobId & { readonly mediaType: string }
    readonly diffId: Digest
  }[]
  /** Its manifest's digest. */
  readonly digest: Digest
}

/** What a tar will hold. */
export interface TarPlan {
  readonly images: readonly Runnable[]
  /** What the index names, with each image's name. */
  readonly tops: readonly { readonly manifest: StoredManifest; readonly name: string | undefined }[]
  readonly manifests: readonly StoredManifest[]
  readonly blobs: readonly { readonly blob: BlobId; readonly source: ImageSource }[]
  /** Configs, which were read already. */
  readonly small: ReadonlyMap<Digest, Buffer>
}

/**
 * Finds out what images are made of. With `all`, an index stays whole, and of its platforms `platform` is the one
 * that engines are told of.
 *
 * @throws {MoveError} for what isn't there, and for what no engine can run
 */
export async function planTar(
  requests: readonly TarRequest[],
  platform: Platform,
  all: boolean,
  signal: AbortSignal
): Promise<TarPlan> {
  const images: Runnable[] = []
  const tops: { manifest: StoredManifest; name: string | undefined }[] = []
  const manifests = new Map<Digest, StoredManifest>()
  const blobs = new Map<Digest, { blob: BlobId; source: ImageSource }>()
  const small = new Map<Digest, Buffer>()

  async function add(source: ImageSource, manifest: StoredManifest): Promise<void> {
    manifests.set(manifest.digest, manifest)
    const { blobs: own, children } = readManifest(manifest.bytes, manifest.mediaType)
    for (const blob of own) blobs.set(blob.digest, { blob, source })
    for (const child of children) await add(source, await source.manifest(child.digest, signal))
  }

  for (const { source, reference, name, near } of requests) {
    const top = await chosen(source, reference, all ? undefined : platform, signal)
    const runnable = await runnableOf(source, top, platform, name, signal).catch((error: unknown) => {
      if (!all) throw error
      return undefined
    })
    if (runnable !== undefined) {
      images.push(near === undefined ? runnable : { ...runnable, near })
      small.set(runnable.id, runnable.config)
    }
    tops.push({ manifest: top, name })
    await add(source, top)
  }
  return { images, tops, manifests: [...manifests.values()], blobs: [...blobs.values()], small }
}

async function runnableOf(
  source: ImageSource,
  top: StoredManifest,
  platform: Platform,
  name: string | undefined,
  signal: AbortSignal
): Promise<Runnable> {
  const shown = name ?? `${source.name}@${top.digest}`
  const read = readManifest(top.bytes, top.mediaType)
  const manifest = INDEX_TYPES.includes(read.mediaType)
    ? await source.manifest(childFor(read.children, platform, shown).digest, signal)
    : top
  const [config, ...layers] = readManifest(manifest.bytes, manifest.mediaType).blobs
  if (config === undefined || !/config|container\.image/.test(config.mediaType) || config.size > MAX_SMALL)
    throw new MoveError(
      `${shown} is not an image that an engine runs (${config?.mediaType ?? top.mediaType}); copy it to an OCI layout instead`
    )
  const bytes = await wholeBlob(source, config, signal)
  const diffIds = diffIdsOf(bytes, shown)
  if (diffIds.length !== layers.length)
    throw new MoveError(
      `${shown} has ${layers.length} layers, but its config names ${diffIds.length}: it is not sound`
    )
  const { os, architecture } = JSON.parse(bytes.toString()) as { os?: string; architecture?: string }
  if (
    os !== undefined &&
    architecture !== undefined &&
    (os !== platform.os || architecture !== platform.architecture)
  )
    throw new MoveError(
      `${shown} is for ${os}/${architecture}, not ${platform.os}/${platform.architecture}; --platform ${os}/${architecture} takes it all the same`
    )
  return {
    name,
    id: config.digest,
    config: bytes,
    digest: manifest.digest,
    layers: layers.map((blob, i) => ({ blob, diffId: diffIds[i] as Digest }))
  }
}

/**
 * Writes a tar that is both what `docker save` writes and an OCI layout. Every blob is checked as it passes; a wrong
 * one ends the stream before its last piece.
 *
 * @param without blobs that whoever reads it has already
 */
export function writeTar(
  plan: TarPlan,
  options: { without?: ReadonlySet<Digest>; report: Reporter; signal: AbortSignal }
): AsyncGenerator<Uint8Array> {
  const { without, report, signal } = options
  return writtenTar(async ({ put, json }) => {
    await json('oci-layout', { imageLayoutVersion: '1.0.0' })
    await json('index.json', { schemaVersion: 2, mediaType: OCI_INDEX, manifests: plan.tops.map(entryOf) })
    await json(
      'manifest.json',
      plan.images.map(({ id, name, layers }) => ({
        Config: blobPath(id),
        RepoTags: name === undefined ? null : [name],
        Layers: layers.map(({ blob }) => blobPath(blob.digest))
      }))
    )
    for (const { digest, bytes } of plan.manifests) await put(blobPath(digest), bytes.length, bytes)
    for (const { blob, source } of plan.blobs) {
      const bytes = plan.small.get(blob.digest)
      if (bytes !== undefined) {
        await put(blobPath(blob.digest), bytes.length, bytes)
        continue
      }
      const shown = report.blob(blob.digest.slice(7, 19), blob.size)
      if (without?.has(blob.digest) === true) {
        shown.done(true)
        continue
      }
      const content = verified(blob, source.read(blob, 0, signal), source.name)
      await put(blobPath(blob.digest), blob.size, counted(content, shown))
      shown.done(false)
    }
  })
}

function entryOf({ manifest, name }: TarPlan['tops'][number]): Descriptor {
  return {
    mediaType: manifest.mediaType,
    digest: manifest.digest,
    size: manifest.bytes.length,
    ...(name !== undefined && { annotations: annotationsFor(name) })
  }
}

function blobPath(digest: Digest): string {
  const { algorithm, hex } = splitDigest(digest)
  return `blobs/${algorithm}/${hex}`
}

/** The digest of what a plan's tar would be called by, for reports. */
export const digestOfTop = (plan: TarPlan, i: number): Digest =>
  plan.tops[i]?.manifest.digest ?? digestOf(Buffer.alloc(0))
