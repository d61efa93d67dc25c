import { type Digest, digestOf } from '../oci/digest.ts'
import type { Compression } from './compress.ts'
import { type Delivered, type Destination, deliver, nothingMoved } from './deliver.ts'
import type { EngineImage } from './engine.ts'
import type { EngineExport } from './engine-export.ts'
import { type KnownLayer, type LayerMemory, thereAt } from './memory.ts'
import { asPassed, type PassedLayer } from './passed.ts'
import { imageOf } from './tar-images.ts'
import { passTar } from './tar-pass.ts'
import type { Moved, Reporter } from './types.ts'

/** Images of an engine, and where each goes. */
export interface EnginePush {
  /** The images, in the order of `to`. */
  readonly from: EngineExport
  readonly to: readonly { readonly name: string; readonly to: Destination }[]
  readonly compression: Compression
  readonly memory: LayerMemory
  readonly report: Reporter
  readonly signal: AbortSignal
}

/** An image and what is known of it before anything is read. */
interface Plan {
  readonly name: string
  readonly to: Destination
  readonly image: EngineImage
  config: Buffer | undefined
}

/**
 * Pushes images out of an engine. Their layers come as one tar, each once; what was compressed before, and is at the
 * target, is neither compressed nor sent again, and the tar is cut off once nothing more of it is needed. An image
 * that is there as a whole isn't asked for.
 */
export async function pushFromEngine(given: EnginePush): Promise<{ delivered: Delivered[]; moved: Moved }> {
  const { from, memory, report, signal } = given
  const { engine } = from
  const moved = nothingMoved()
  const images = await from.images()
  const plans = given.to.map(
    (each, i): Plan => ({ ...each, image: images[i] as EngineImage, config: undefined })
  )
  const first = plans[0]?.to.store
  if (first === undefined) return { delivered: [], moved }

  // with the first repository all others have it, by mounting
  const there = await thereAt(first, await from.known(), signal)
  const configs = await Promise.all(plans.map(({ image, to }) => to.store.smallBlob(image.id, signal)))
  for (const [i, config] of configs.entries()) (plans[i] as Plan).config = config

  const layers = new Map<Digest, PassedLayer>()
  for (const known of there) {
    layers.set(known.diffId, asPassed(known, given.compression))
    report.blob(known.diffId.slice(7, 19), known.size).done(true)
    moved.skipped++
    moved.skippedBytes += known.size
  }
  await read(there)
  await read([])

  const delivered: Delivered[] = []
  for (const { name, to, config } of plans) {
    const image = imageOf(config ?? Buffer.alloc(0), [name], [...layers.values()], `${engine.name}'s ${name}`)
    const digest = await deliver(image, to, first, signal)
    delivered.push({ image: name, to: to.shown, digest })
  }
  return { delivered, moved }

  /** Reads what is still missing. With `known`, layers like these are passed over; a mistake shows in another round. */
  async function read(known: readonly KnownLayer[]): Promise<void> {
    const lacking = plans.filter(
      ({ image, config }) => config === undefined || image.diffIds.some((diffId) => !layers.has(diffId))
    )
    if (lacking.length === 0 || first === undefined) return
    const ids = new Set<string>(lacking.map(({ image }) => image.id))
    const needed = new Set(lacking.flatMap(({ image }) => image.diffIds))
    const isEnough = (documents: Iterable<Buffer>, arrived: ReadonlySet<Digest>): boolean => {
      if ([...needed].some((diffId) => !layers.has(diffId) && !arrived.has(diffId))) return false
      const found = new Set([...documents].map((bytes) => digestOf(bytes)))
      return lacking.every(({ config, image }) => config !== undefined || found.has(image.id))
    }
    const result = await passTar({
      tar: from.tar(lacking.map(({ name }) => name)),
      name: engine.name,
      target: first,
      compression: given.compression,
      memory,
      there: known,
      enough: (documents, arrived) => isEnough(documents.values(), arrived),
      report,
      signal
    })
    for (const layer of result.layers.values()) {
      if (layers.has(layer.diffId)) continue
      layers.set(layer.diffId, layer)
      moved.blobs = moved.blobs + 1
      moved.bytes += layer.blob.size
    }
    for (const bytes of result.documents.values()) {
      const digest = digestOf(bytes)
      if (ids.has(digest)) for (const plan of lacking) if (plan.image.id === digest) plan.config = bytes
    }
  }
}
