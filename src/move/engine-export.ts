import { checkPlatform, type Engine, type EngineImage } from './engine.ts'
import { type KnownLayer, type LayerMemory, remembered } from './memory.ts'
import type { Platform } from './platform.ts'

/** A tar that is asked for before anybody reads it. */
interface Early {
  readonly names: readonly string[]
  readonly tar: AsyncIterable<Uint8Array>
  /** Whether somebody reads it. */
  taken: boolean
  close(): void
}

/** What leaves an engine. */
export interface ExportOptions {
  readonly engine: Engine
  readonly names: readonly string[]
  /** What the images have to be for. */
  readonly platform?: Platform | undefined
  readonly memory: LayerMemory
  /** How layers will be compressed, as the memory calls it. */
  readonly key: string
  readonly signal: AbortSignal
}

/** Images on their way out of an engine. */
export interface EngineExport {
  readonly engine: Engine
  /** The images, in the order of their names. @throws {MoveError} for one that isn't there, or is for another platform */
  images(): Promise<readonly EngineImage[]>
  /** Their layers that were compressed before. */
  known(): Promise<readonly KnownLayer[]>
  /** The tar of some of them. */
  tar(names: readonly string[]): AsyncIterable<Uint8Array>
  /** No more is wanted, of the engine neither. */
  close(): void
}

/**
 * Looks at images of an engine. It writes all of what it is asked for to its disk before the first byte comes, so images
 * with a layer of which nothing is known are asked for at once: whoever pushes them has other things to do meanwhile.
 */
export function openExport({ engine, names, platform, memory, key, signal }: ExportOptions): EngineExport {
  let early: Early | undefined
  let closed = false

  async function look() {
    const images = await Promise.all(names.map((name) => engine.image(name, signal)))
    for (const [i, image] of images.entries()) checkPlatform(image, names[i] ?? '', platform)
    return images
  }
  async function remember(found: readonly EngineImage[]) {
    const known = await remembered(
      memory,
      found.flatMap(({ diffIds }) => diffIds),
      key
    )
    const has = new Set(known.map(({ diffId }) => diffId))
    const needed = names.filter((_, i) => found[i]?.diffIds.some((diffId) => !has.has(diffId)))
    if (needed.length > 0 && !closed) early = begin(needed)
    return known
  }

  /** Asks for the first piece of some images' tar now. */
  function begin(some: readonly string[]): Early {
    const unwanted = new AbortController()
    const content = engine.save(some, AbortSignal.any([signal, unwanted.signal]))[Symbol.asyncIterator]()
    const first = content.next()
    first.catch(() => undefined) // whoever reads hears of it
    async function* tar() {
      const { done, value } = await first
      if (done === true) return
      yield value
      yield* { [Symbol.asyncIterator]: () => content }
    }
    return {
      names: some,
      taken: false,
      tar: tar(),
      close() {
        unwanted.abort()
        void content.return?.().catch(() => undefined) // nobody reads it any more
      }
    }
  }

  const images = look()
  const known = images.then(remember)
  known.catch(() => undefined) // whoever asks hears of it

  return {
    engine,
    images: () => images,
    known: () => known,
    tar(wanted) {
      if (early?.names.join('\n') === wanted.join('\n') && !early.taken) {
        early.taken = true
        return early.tar
      }
      early?.close()
      return engine.save(wanted, signal)
    },
    close() {
      closed = true
      early?.close()
      engine.close()
    }
  }
}
