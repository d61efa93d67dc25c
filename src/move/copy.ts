import type { Digest } from '../oci/digest.ts'
import { readManifest } from '../oci/manifest.ts'
import { checkConfig, childFor, type Platform } from './platform.ts'
import { deliveredOnce, type Shared } from './shared.ts'
import {
  type BlobId,
  type BlobProgress,
  type ImageSource,
  type ImageTarget,
  MAX_SMALL,
  type Moved,
  Refused,
  type Reporter,
  type StoredManifest
} from './types.ts'
import { verified, wholeBlob } from './verify.ts'

/** An image that is copied as it is: every digest stays. */
export interface Copy {
  readonly source: ImageSource
  readonly reference: string
  readonly target: ImageTarget
  readonly tag: string | undefined
  /** Of an index, only this one; all of it unless given. */
  readonly platform?: Platform
  /** Signatures and whatever else refers to it come along. */
  readonly referrers?: boolean
  /** What is under way for other images of the same call. */
  readonly shared: Shared
  readonly report: Reporter
  readonly moved: Moved
  readonly signal: AbortSignal
}

/** Endings of the tags under which cosign keeps what belongs to a manifest. */
const COSIGN = ['sig', 'att', 'sbom']

/** How deep indexes and referrers may nest. */
const MAX_DEPTH = 6

/** Copies an image: blobs in parallel, each checked and once, then manifests, the one that is named last. */
export async function copyImage(copy: Copy): Promise<Digest> {
  const { source, signal } = copy
  const top = await chosen(source, copy.reference, copy.platform, signal, (alone, platform) =>
    checkPlatform(copy, alone, platform)
  )
  await copyTree(copy, top, copy.tag, 0)
  if (copy.referrers !== true) return top.digest
  for (const tag of cosignTags(top.digest)) {
    const found = await source.manifest(tag, signal).catch(unknown)
    if (found !== undefined) await copyTree(copy, found, tag, 1)
  }
  return top.digest
}

/** What stands alone says in its config what it is for. */
async function checkPlatform(
  { source, reference, signal }: Copy,
  { bytes, mediaType }: StoredManifest,
  platform: Platform
): Promise<void> {
  const [config] = readManifest(bytes, mediaType).blobs
  if (config !== undefined && /config|container\.image/.test(config.mediaType) && config.size <= MAX_SMALL)
    checkConfig(await wholeBlob(source, config, signal), platform, `${source.name}:${reference}`)
}

/**
 * The manifest of a reference; of an index, the one for a platform if that is given.
 *
 * @param check what is asked about one that stands alone, where a platform is given
 */
export async function chosen(
  source: ImageSource,
  reference: string,
  platform: Platform | undefined,
  signal: AbortSignal,
  check?: (alone: StoredManifest, platform: Platform) => Promise<void>
): Promise<StoredManifest> {
  const top = await source.manifest(reference, signal)
  if (platform === undefined) return top
  const { children } = readManifest(top.bytes, top.mediaType)
  if (children.length === 0) {
    await check?.(top, platform)
    return top
  }
  return source.manifest(childFor(children, platform, `${source.name}:${reference}`).digest, signal)
}

async function copyTree(
  copy: Copy,
  manifest: StoredManifest,
  tag: string | undefined,
  depth: number
): Promise<void> {
  const { source, target, signal } = copy
  if (depth > MAX_DEPTH) throw new Refused(`${source.name} nests manifests deeper than ${MAX_DEPTH}`)
  const { blobs, children, subject } = readManifest(manifest.bytes, manifest.mediaType)
  const subjectLacks =
    subject !== undefined && depth === 0 && !(await target.hasManifest(subject.digest, signal))
  if (subjectLacks && copy.referrers === true) {
    const about = await source.manifest(subject.digest, signal).catch(unknown)
    if (about !== undefined) await copyTree({ ...copy, referrers: false }, about, undefined, depth + 1)
  }
  for (const child of children)
    await copyTree(copy, await source.manifest(child.digest, signal), undefined, depth + 1)
  await Promise.all(blobs.map((blob) => copyBlob(copy, blob)))
  await target.putManifest(manifest, tag, signal)
  if (copy.referrers !== true) return
  for (const each of await source.referrers(manifest.digest, signal))
    await copyTree(copy, await source.manifest(each.digest, signal), undefined, depth + 1)
}

/** Moves a blob unless it is there; of several that need it at once, one. */
async function copyBlob(copy: Copy, blob: BlobId): Promise<void> {
  const { source, target, report, moved, signal, shared } = copy
  await deliveredOnce(shared, blob.digest, target, async () => {
    let sent = false
    if (!(await target.hasBlob(blob, signal))) {
      let shown: BlobProgress | undefined
      const read = (at: number) => {
        sent = true
        shown ??= report.blob(blob.digest.slice(7, 19), blob.size)
        // from the middle on, only the target can tell whether the whole is right
        const content = source.read(blob, at, signal)
        return counted(at === 0 ? verified(blob, content, source.name) : content, shown)
      }
      await target.write(blob, read, signal)
      shown?.done(false)
    }
    if (sent) {
      moved.blobs++
      moved.bytes += blob.size
    } else {
      report.blob(blob.digest.slice(7, 19), blob.size).done(true)
      moved.skipped++
      moved.skippedBytes += blob.size
    }
  })
}

async function* counted(source: AsyncIterable<Uint8Array>, shown: BlobProgress) {
  for await (const chunk of source) {
    shown.add(chunk.length)
    yield chunk
  }
}

const cosignTags = (digest: Digest): string[] =>
  COSIGN.map((ending) => `${digest.replace(':', '-')}.${ending}`)

/** What isn't there is `undefined`; any other failure goes on. */
export function unknown(error: unknown): undefined {
  if (error instanceof Refused && error.unknown) return undefined
  throw error
}
