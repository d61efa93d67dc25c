import type { Digest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import { counting, type Delivered, nothingMoved } from './deliver.ts'
import type { Engine } from './engine.ts'
import { shortId } from './engine-pull.ts'
import type { Platform } from './platform.ts'
import { planTar, type Runnable, type TarPlan, type TarRequest, writeTar } from './to-tar.ts'
import { type Moved, MoveError, type Reporter } from './types.ts'

/** How long an engine may take to forget a name, in milliseconds. */
const FORGET_MS = 10_000

/** Images that go into an engine. */
export interface EnginePull {
  readonly engine: Engine
  readonly images: readonly TarRequest[]
  /** The engine's own unless given. */
  readonly platform?: Platform
  readonly report: Reporter
  readonly signal: AbortSignal
}

/**
 * Pulls images into an engine, which takes all of them or none. Layers that it can build on already aren't read, and
 * an image that it has gets its name only. An engine that has nothing of them, and reaches the gateway, pulls them by
 * itself, by their digests: that is what it does fastest. The engine compares each layer with its diff id, and it is asked at the
 * end whether it has the images by their ids.
 */
export async function pullIntoEngine(given: EnginePull): Promise<{ delivered: Delivered[]; moved: Moved }> {
  const { engine, report, signal } = given
  const platform = given.platform ?? (await engine.platform(signal))
  const plan = await planTar(given.images, platform, false, signal)
  const moved = nothingMoved()
  const there = new Set<Digest>()
  for (const { id } of plan.images) if (await engine.has(id, signal)) there.add(id)
  const lacking = plan.images.filter(({ id }) => !there.has(id))
  for (const { id, name } of plan.images)
    if (there.has(id) && name !== undefined) await engine.tag(id, name, signal)

  if (lacking.length > 0) {
    const without = layersThere(lacking, await engine.stacks(signal))
    const packed = lacking.find(({ layers }) =>
      layers.some(({ blob }) => blob.mediaType.endsWith('zstd') && !without.has(blob.digest))
    )
    if (packed !== undefined && !(await engine.unpacksZstd(signal)))
      throw new MoveError(
        `${engine.name} is older than Docker 23 and unpacks no zstd, as ${packed.name ?? packed.digest} has it: upgrade it, pull with --into podman, or push the image with gzip`
      )
    if (without.size > 0 || !(await pulledByItself(lacking))) await load(only(plan, lacking), without)
  }
  const whole = new Set(plan.images.filter(({ id }) => there.has(id)).flatMap(({ layers }) => layers))
  for (const { blob } of new Map([...whole].map((layer) => [layer.blob.digest, layer])).values()) skip(blob)

  for (const { id, name } of plan.images)
    if (!(await engine.has(id, signal)))
      throw new MoveError(`${engine.name} says that it took ${name ?? id}, but does not have it; see its log`)
  const delivered = plan.images.map(({ id, name, digest }) => ({
    image: name ?? digest,
    to: `${engine.kind}:${name ?? id}`,
    digest
  }))
  return { delivered, moved }

  async function load(part: TarPlan, without: ReadonlySet<Digest>): Promise<void> {
    try {
      await engine.load(writeTar(part, { without, report: counting(report, moved), signal }), signal)
    } catch (error) {
      signal.throwIfAborted()
      // what it had may have been removed meanwhile
      if (without.size === 0 || !/no such file|does not exist|not found/i.test((error as Error).message))
        throw error
      report.note(`${engine.name} wants all layers after all`)
      await load(part, new Set())
    }
  }

  /** Whether the engine could do it by itself. Images get their names once all of them are there. */
  async function pulledByItself(images: readonly Runnable[]): Promise<boolean> {
    const nearby = images.every(({ near, name }) => near !== undefined && name !== undefined)
    if (!nearby || !(await engine.pullsNearby(signal))) return false
    const told = new Set<string>()
    const pulled: string[] = []
    try {
      for (const { near = '', digest, layers } of images) {
        const sizes = new Map(layers.map(({ blob }) => [shortId(blob.digest), blob.size]))
        pulled.push(`${near}@${digest}`)
        await engine.pull({ repository: near, digest, sizes, told }, counting(report, moved), signal)
      }
      for (const { id, name = '' } of images) await engine.tag(id, name, signal)
      return true
    } catch (error) {
      signal.throwIfAborted()
      // it may be on another machine for all that we know
      report.note(`${reason(error)}; it is sent the images instead`)
      return false
    } finally {
      // the names by which it pulled them
      const soon = AbortSignal.timeout(FORGET_MS)
      await Promise.all(pulled.map((name) => engine.forget(name, soon).catch(() => undefined)))
    }
  }

  function skip(blob: { digest: Digest; size: number }): void {
    counting(report, moved).blob(blob.digest.slice(7, 19), blob.size).done(true)
  }
}

/** Layers that need not be sent: all below them is on the engine, in this order, and they are. */
function layersThere(images: readonly Runnable[], stacks: readonly (readonly string[])[]): Set<Digest> {
  const known = new Set<string>()
  for (const stack of stacks) for (let i = 1; i <= stack.length; i++) known.add(stack.slice(0, i).join(' '))
  const without = new Set<Digest>()
  const needed = new Set<Digest>()
  for (const { layers } of images) {
    for (const [i, { blob }] of layers.entries()) {
      const chain = layers.slice(0, i + 1).map(({ diffId }) => diffId)
      if (known.has(chain.join(' '))) without.add(blob.digest)
      else needed.add(blob.digest)
    }
  }
  // one image may have it on top of what another has not
  for (const digest of needed) without.delete(digest)
  return without
}

/** The part of a plan that some of its images need. */
function only(plan: TarPlan, images: readonly Runnable[]): TarPlan {
  const blobs = new Set(images.flatMap(({ id, layers }) => [id, ...layers.map(({ blob }) => blob.digest)]))
  const manifests = new Set(images.map(({ digest }) => digest))
  return {
    images,
    small: plan.small,
    tops: plan.tops.filter(({ manifest }) => manifests.has(manifest.digest)),
    manifests: plan.manifests.filter(({ digest }) => manifests.has(digest)),
    blobs: plan.blobs.filter(({ blob }) => blobs.has(blob.digest))
  }
}
