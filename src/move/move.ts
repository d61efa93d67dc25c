import { createArchiveSink, pushArchive } from './archive.ts'
import { openArchiveSource } from './archive-source.ts'
import { type Compression, compressionKey } from './compress.ts'
import { copyImage } from './copy.ts'
import { checkGoals, type Delivered, nothingMoved, type ToDestination } from './deliver.ts'
import type { Engine } from './engine.ts'
import { type EngineExport, openExport } from './engine-export.ts'
import { pushFromEngine } from './from-engine.ts'
import type { LayerMemory } from './memory.ts'
import { pipe } from './pipe.ts'
import type { EnginePlace, FilePlace, Place } from './places.ts'
import { ownPlatform, type Platform } from './platform.ts'
import { createShared } from './shared.ts'
import { type Stored, storedIn } from './stored.ts'
import { pullIntoEngine } from './to-engine.ts'
import { planTar, type TarRequest, writeTar } from './to-tar.ts'
import {
  type ImageSource,
  type ImageStore,
  type ImageTarget,
  type Moved,
  MoveError,
  type Reporter
} from './types.ts'

/** Opens what places name. */
export interface Stores {
  engine(kind: 'docker' | 'podman'): Engine
  /** One repository of a gateway or registry, a layout, or what a CAR holds of one repository. */
  store(place: StorePlace, signal: AbortSignal): Promise<ImageStore | ImageSource>
  /** The images of a CAR, as the gateway would name them. */
  namesIn(place: FilePlace<'car'>, signal: AbortSignal): Promise<readonly Place[]>
}

/** Where a move goes. */
export type Target =
  | {
      readonly kind: 'stores'
      readonly to: ToDestination
      /** Where blobs of an archive go before it is known whose they are; where what has no name goes, unless given. */
      readonly first?: () => ImageTarget
    }
  | {
      readonly kind: 'engine'
      readonly engine: Engine
      /** What the engine is to call it, if not what the source does. */
      readonly name: string | undefined
    }
  | { readonly kind: 'archive'; readonly path: string; readonly name: string | undefined }

/** How images are moved. */
export interface Manner {
  readonly stores: Stores
  readonly memory: LayerMemory
  /** Of layers that have none: those of engines, and of archives unless it is `undefined`. */
  readonly compression: Compression | undefined
  readonly standardCompression: Compression
  readonly platform: Platform | undefined
  readonly referrers: boolean
  /** Where an engine of this machine reaches the gateway: `127.0.0.1:5000`; `undefined` where it doesn't. */
  readonly near: string | undefined
  /** What engines were asked for already: all of their images that are to go to stores. */
  readonly exports?: ReadonlyMap<Engine['kind'], EngineExport>
  readonly report: Reporter
  readonly signal: AbortSignal
}

/** What came of it. */
export interface MoveReport {
  readonly images: readonly Delivered[]
  readonly moved: Moved
}

/** Moves images from anywhere to anywhere. */
export async function moveImages(
  places: readonly Place[],
  target: Target,
  manner: Manner
): Promise<MoveReport> {
  const { signal } = manner
  const images: Delivered[] = []
  const moved = nothingMoved()
  const add = (part: { delivered: readonly Delivered[]; moved: Moved }) => {
    images.push(...part.delivered)
    for (const key of ['blobs', 'skipped', 'bytes', 'skippedBytes'] as const) moved[key] += part.moved[key]
  }
  const whole = await withCars(places, manner)
  if (target.kind === 'stores') {
    for (const kind of ['docker', 'podman'] as const) {
      const mine = whole.flatMap((place) => (place.kind === kind ? [place.image] : []))
      if (mine.length > 0) add(await fromEngine(kind, mine, target, manner))
    }
    for (const place of whole) if (place.kind === 'archive') add(await fromArchive(place, target, manner))
    add(await fromStores(whole, target, manner))
    return { images, moved }
  }
  const tars: TarPlace[] = []
  const stored: Stored[] = []
  for (const place of whole) {
    // no engine loads a layout as it is
    const layout = place.kind === 'archive' ? await openArchiveSource(place.path, signal) : undefined
    if (place.kind === 'archive' && layout !== undefined)
      stored.push(...(await storedIn(place, layout, signal)))
    else if (isTar(place)) tars.push(place)
    else stored.push(...(await storedAt(place, manner)))
  }
  if (tars.length > 0 && (stored.length > 0 || tars.length > 1))
    throw new MoveError('one image at a time goes from an engine or archive into another one')
  for (const place of tars) add(await pipe(place, target, manner))
  if (stored.length > 0) add(await intoTar(stored, target, manner))
  return { images, moved }
}

/** What gives an image as a tar. */
export type TarPlace = EnginePlace | FilePlace<'archive'>
/** What keeps images by their digests. */
export type StorePlace = Exclude<Place, TarPlace>
type StoresTarget = Extract<Target, { kind: 'stores' }>
/** What takes images as a tar. */
export type TarTarget = Exclude<Target, StoresTarget>

const isTar = (place: Place): place is TarPlace => ['docker', 'podman', 'archive'].includes(place.kind)

async function withCars(places: readonly Place[], { stores, signal }: Manner): Promise<Place[]> {
  const found: Place[] = []
  for (const place of places) {
    if (place.kind === 'car' && place.image === undefined)
      found.push(...(await stores.namesIn(place, signal)))
    else found.push(place)
  }
  return found
}

async function fromEngine(
  kind: 'docker' | 'podman',
  names: readonly string[],
  target: StoresTarget,
  manner: Manner
) {
  const { memory, report, signal, platform } = manner
  const compression = manner.compression ?? manner.standardCompression
  const key = compressionKey(compression)
  const from =
    manner.exports?.get(kind) ??
    openExport({ engine: manner.stores.engine(kind), names, platform, memory, key, signal })
  const to = names.map((name) => ({ name, to: target.to(name) }))
  try {
    await checkGoals(
      to.map(({ name, to: destination }, i) => ({
        name,
        destination,
        digest: async () => (await from.images())[i]?.id
      }))
    )
    return await pushFromEngine({ from, to, compression, memory, report, signal })
  } finally {
    from.close()
  }
}

async function fromArchive(place: FilePlace<'archive'>, target: StoresTarget, manner: Manner) {
  const { memory, report, signal, compression, platform } = manner
  return pushArchive({
    path: place.path,
    image: place.image,
    first: target.first,
    platform,
    to: target.to,
    compression,
    memory,
    report,
    signal
  })
}

const storedAt = async (place: StorePlace, { stores, signal }: Manner) =>
  storedIn(place, await stores.store(place, signal), signal)

async function fromStores(places: readonly Place[], target: StoresTarget, manner: Manner) {
  const { platform, referrers, report, signal } = manner
  const moved = nothingMoved()
  const shared = createShared()
  const stored: Stored[] = []
  for (const place of places) if (!isTar(place)) stored.push(...(await storedAt(place, manner)))
  const goals = stored.map((image) => ({ ...image, destination: target.to(image.name) }))
  await checkGoals(
    goals.map(({ source, reference, name, destination }) => ({
      name: `${name} of ${source.name}`,
      destination,
      digest: async () => (await source.manifest(reference, signal)).digest
    }))
  )
  const delivered = await allOf(
    goals.map(async ({ source, reference, name, destination }): Promise<Delivered> => {
      const { store, tag, shown } = destination
      const digest = await copyImage({
        source,
        reference,
        target: store,
        tag,
        ...(platform && { platform }),
        referrers,
        shared,
        report,
        moved,
        signal
      })
      return { image: name, to: shown, digest }
    })
  )
  return { delivered, moved }
}

async function intoTar(stored: readonly Stored[], target: TarTarget, manner: Manner) {
  const { platform, near, report, signal } = manner
  if (target.name !== undefined && stored.length > 1)
    throw new MoveError(`${stored.length} images cannot all be called ${target.name}`)
  const requests = stored.map(
    ({ source, reference, name, nameless, own }): TarRequest => ({
      source,
      reference,
      near: near === undefined || own === undefined ? undefined : `${near}/${own}`,
      name: target.name ?? (nameless ? undefined : name)
    })
  )
  if (target.kind === 'engine')
    return pullIntoEngine({
      engine: target.engine,
      images: requests,
      ...(platform && { platform }),
      report,
      signal
    })
  const plan = await planTar(requests, platform ?? ownPlatform(), platform === undefined, signal)
  const moved = nothingMoved()
  for (const { blob } of plan.blobs) {
    moved.blobs++
    moved.bytes += blob.size
  }
  await createArchiveSink(target.path, writeTar(plan, { report, signal }), signal)
  const delivered = plan.tops.map(({ manifest, name }) => ({
    image: name ?? manifest.digest,
    to: `archive:${target.path}`,
    digest: manifest.digest
  }))
  return { delivered, moved }
}

/** Waits for all, also when one fails, so that nothing goes on behind the caller's back. */
async function allOf<T>(work: readonly Promise<T>[]): Promise<T[]> {
  const ended = await Promise.allSettled(work)
  const failed = ended.find((each) => each.status === 'rejected')
  if (failed !== undefined) throw failed.reason
  return ended.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
}
