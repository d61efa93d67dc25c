import type { Log } from '../log.ts'
import { type Digest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import { type Descriptor, type Manifest, readManifest } from '../oci/manifest.ts'
import type { Reference, RepositoryName } from '../oci/reference.ts'
import type { Store } from '../store/index.ts'
import type { Pull } from './pull.ts'
import { parseImage } from './remove-images.ts'

/** What is to be brought here. */
export interface PrefetchRequest {
  /** `docker.io/alpine:3`, `example.com/app@sha256:…`; the tag `latest` if there is none. */
  readonly images: readonly string[]
  /** Platforms of an index, `linux/arm64` or `linux/arm/v7`; all of them for `all`, that of this machine if there are none. */
  readonly platforms: readonly string[]
}

/** What became of one image. */
export interface Prefetched {
  readonly image: string
  readonly digest?: string
  /** Of all that belongs to it, and of what wasn't here before. */
  readonly bytes: number
  readonly fetched: number
  /** Why its tag may be out of date. */
  readonly stale?: string
  /** Why it isn't here. */
  readonly error?: string
}

/** Brings images here before somebody asks for them. */
export type Prefetch = (
  request: PrefetchRequest,
  signal: AbortSignal,
  progress: (image: string, done: number, total: number) => void
) => Promise<readonly Prefetched[]>

/** Blobs of an image that are fetched at once. */
const AT_ONCE = 3

/** How deep indexes may nest, and manifests that one image may have. */
const MAX_DEPTH = 3
const MAX_MANIFESTS = 200

/** Makes it. An image that fails doesn't keep the others. */
export function createPrefetch(options: {
  store: Pick<Store, 'blobs'>
  pull: Pick<Pull, 'manifest' | 'blob'>
  canonical: (name: RepositoryName) => RepositoryName
  log: Log
}): Prefetch {
  const { store, pull, canonical, log } = options

  /** The blobs of an image, those of the platforms that are wanted. */
  async function blobsOf(
    name: RepositoryName,
    reference: Reference,
    wanted: (child: Descriptor) => boolean,
    signal: AbortSignal
  ) {
    const blobs = new Map<Digest, number>()
    const top = await pull.manifest(name, reference, signal)
    const manifests: { manifest: Manifest; depth: number }[] = [
      { manifest: readManifest(top.bytes, top.mediaType), depth: 0 }
    ]
    let count = 0
    for (let one = manifests.pop(); one !== undefined; one = manifests.pop()) {
      for (const { digest, size } of one.manifest.blobs) blobs.set(digest, size)
      if (one.depth === MAX_DEPTH) continue
      for (const child of one.manifest.children.filter(wanted)) {
        if (++count > MAX_MANIFESTS) return { top, blobs }
        const found = await pull.manifest(name, { kind: 'digest', digest: child.digest }, signal)
        manifests.push({ manifest: readManifest(found.bytes, found.mediaType), depth: one.depth + 1 })
      }
    }
    return { top, blobs }
  }

  async function one(
    image: string,
    wanted: (child: Descriptor) => boolean,
    signal: AbortSignal,
    progress: (done: number, total: number) => void
  ): Promise<Prefetched> {
    const target = parseImage(image)
    const name = canonical(target.name)
    const { top, blobs } = await blobsOf(
      name,
      target.reference ?? { kind: 'tag', tag: 'latest' },
      wanted,
      signal
    )
    const total = [...blobs.values()].reduce((sum, size) => sum + size, 0)
    let done = 0
    let fetched = 0
    const next = blobs.entries()
    const work = async () => {
      for (const [digest, size] of next) {
        signal.throwIfAborted()
        const here = (await store.blobs.stat(digest)) !== undefined
        const blob = await pull.blob(name, digest, signal)
        if (here) done += size
        else {
          for await (const piece of await blob.open()) {
            done += (piece as Uint8Array).length
            progress(done, total)
          }
          fetched += size
        }
        progress(done, total)
      }
    }
    const ended = await Promise.allSettled(Array.from({ length: AT_ONCE }, work))
    const failed = ended.find((each) => each.status === 'rejected')
    if (failed !== undefined) throw failed.reason
    const stale = top.stale === undefined ? {} : { stale: top.stale }
    return { image, digest: top.digest, bytes: total, fetched, ...stale }
  }

  return async ({ images, platforms }, signal, progress) => {
    const wanted = choose(platforms)
    const all: Prefetched[] = []
    for (const image of images) {
      try {
        all.push(await one(image, wanted, signal, (done, total) => progress(image, done, total)))
      } catch (error) {
        signal.throwIfAborted()
        log.warn({ image, cause: reason(error) }, 'could not bring an image here')
        all.push({ image, bytes: 0, fetched: 0, error: reason(error) })
      }
    }
    return all
  }
}

/** Whether a child of an index is for one of the platforms; one that doesn't say which it is for is for all. */
function choose(platforms: readonly string[]): (child: Descriptor) => boolean {
  const architecture = process.arch === 'x64' ? 'amd64' : process.arch === 'ia32' ? '386' : process.arch
  const wanted = platforms.length > 0 ? platforms : [`linux/${architecture}`]
  return ({ platform }) => {
    if (wanted.includes('all') || platform == null) return true
    const { os, architecture: cpu, variant } = platform
    return wanted.includes(`${os}/${cpu}`) || (variant != null && wanted.includes(`${os}/${cpu}/${variant}`))
  }
}
