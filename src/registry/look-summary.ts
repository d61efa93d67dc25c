import type { Digest } from '../oci/digest.ts'
import { isAbort, RegistryError, reason } from '../oci/errors.ts'
import { platformMatches } from '../oci/image-config.ts'
import type { ImageRepository } from './image-source.ts'
import { entryFor, type PlatformEntry, readImage } from './look-image.ts'

/** A tag, and what it points at. Fields behind `digest` are there when details were asked for, and could be read. */
export interface ImageSummary {
  /** As the source calls it. */
  readonly repository: string
  /** Not there where not even the tags could be read. */
  readonly tag?: string
  readonly digest?: Digest
  readonly mediaType?: string
  readonly type?: 'image' | 'index' | 'artifact'
  readonly artifactType?: string
  readonly platforms?: readonly PlatformSummary[]
  /** What the blobs take that it names, each once, compressed as they are: bytes. */
  readonly size?: number
  /** How many layers it has, each once. */
  readonly layers?: number
  /** When it was made, as its config says. */
  readonly created?: string
  /** Of the config: of the first platform, or the one that is asked for. */
  readonly labels?: Readonly<Record<string, string>>
  /** Why something is missing. */
  readonly problem?: string
}

/** One platform of an image. */
export interface PlatformSummary {
  /** `linux/arm64/v8`; nothing where it isn't known. */
  readonly platform: string
  /** Of its manifest. */
  readonly digest: Digest
  readonly size?: number
  readonly layers?: number
  readonly created?: string
  readonly problem?: string
}

/** Which images are wanted; all of these must hold. Times are epoch ms, sizes bytes. */
export interface ImageFilter {
  /** `key` or `key=value`. */
  readonly labels?: readonly string[]
  /** `os/architecture`, perhaps with a variant: then size, layers, time and labels are those of this platform. */
  readonly platform?: string
  readonly olderThan?: number
  readonly newerThan?: number
  readonly largerThan?: number
  readonly smallerThan?: number
}

/**
 * What one tag points at. What can't be read is told in `problem`.
 *
 * @throws the signal's reason
 */
export async function summaryOf(
  repository: ImageRepository,
  of: { repository: string; tag: string },
  options: { details: boolean; filter: ImageFilter },
  signal: AbortSignal
): Promise<ImageSummary> {
  try {
    if (!options.details) return { ...of, digest: await repository.digest(of.tag, signal) }
    const content = await repository.manifest({ kind: 'tag', tag: of.tag }, signal)
    const head = { ...of, digest: content.digest, mediaType: content.mediaType }
    try {
      const { manifest, type, platforms } = await readImage(repository, content, signal)
      const { platform } = options.filter
      const chosen =
        platform === undefined
          ? platforms
          : platforms.filter((entry) => platformMatches(platform, entry.platform))
      const main = entryFor(chosen, undefined)
      const { labels, created } = main?.image?.about ?? {}
      const stamp = created ?? manifest.annotations?.['org.opencontainers.image.created']
      const problem = chosen.find((entry) => entry.problem !== undefined)?.problem
      return {
        ...head,
        type,
        ...(type === 'artifact' && manifest.artifactType !== undefined
          ? { artifactType: manifest.artifactType }
          : {}),
        platforms: platforms.flatMap((entry) => (type === 'artifact' ? [] : [platformSummary(entry)])),
        ...totals(chosen),
        ...(stamp !== undefined && { created: stamp }),
        labels: labels ?? {},
        // one that only has other platforms isn't what is wanted, and not a problem
        ...(problem !== undefined && { problem })
      }
    } catch (error) {
      return { ...head, problem: problemOf(error, signal) }
    }
  } catch (error) {
    return { ...of, problem: problemOf(error, signal) }
  }
}

/** What went wrong with one thing of many. @throws what ends the rest as well */
export function problemOf(error: unknown, signal: AbortSignal): string {
  signal.throwIfAborted()
  if (!(error instanceof RegistryError) && !isAbort(error)) throw error
  return reason(error)
}

/** Whether an image is wanted. One of which it can't be told is shown, with its problem. */
export function isWanted(image: ImageSummary, filter: ImageFilter): boolean {
  const { platforms, size, created, labels, problem } = image
  const { olderThan, newerThan, largerThan, smallerThan, platform } = filter
  if (problem !== undefined && platforms === undefined) return true
  if (platform !== undefined && platforms?.some((one) => platformMatches(platform, one.platform)) !== true)
    return false
  for (const label of filter.labels ?? []) {
    const at = label.indexOf('=')
    const [key, value] = at === -1 ? [label] : [label.slice(0, at), label.slice(at + 1)]
    if (labels === undefined || !Object.hasOwn(labels, key)) return false
    if (value !== undefined && labels[key] !== value) return false
  }
  const at = created === undefined ? Number.NaN : Date.parse(created)
  if (olderThan !== undefined && !(at < olderThan)) return false
  if (newerThan !== undefined && !(at > newerThan)) return false
  if (largerThan !== undefined && !(size !== undefined && size > largerThan)) return false
  return smallerThan === undefined || (size !== undefined && size < smallerThan)
}

function platformSummary(entry: PlatformEntry): PlatformSummary {
  const { digest, image, platform = '', problem } = entry
  const created = image?.about?.created
  return {
    platform,
    digest,
    ...(image && totals([entry])),
    ...(created !== undefined && { created }),
    ...(problem !== undefined && { problem })
  }
}

/** The blobs of some platforms, each once. */
function totals(entries: readonly PlatformEntry[]): { size: number; layers: number } {
  const layers = new Map<string, number>()
  const configs = new Map<string, number>()
  for (const { image } of entries) {
    if (image === undefined) continue
    configs.set(image.config.digest, image.config.size)
    for (const layer of image.layers) layers.set(layer.digest, layer.size)
  }
  let size = 0
  for (const bytes of [...layers.values(), ...configs.values()]) size += bytes
  return { size, layers: layers.size }
}
