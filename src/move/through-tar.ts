import { createHash } from 'node:crypto'
import { type Digest, digestOf } from '../oci/digest.ts'
import type { Descriptor } from '../oci/manifest.ts'
import { compressionOf } from './compress.ts'
import { type Platform, platformText } from './platform.ts'
import { gather, type TarEntry, tarEntries } from './tar-entries.ts'
import { annotationsFor, configsOfList, diffIdsOf, namesOf } from './tar-images.ts'
import { counted, type TarWriter, writtenTar } from './tar-writer.ts'
import { MoveError, type Reporter } from './types.ts'

/** An image that went by. */
export interface ThroughImage {
  /** What it was called, and what it is called now. */
  readonly was: string | undefined
  readonly name: string | undefined
  /** The digest of its config: an engine's name for it. */
  readonly id: Digest
}

/** A tar on its way from one engine or archive into another. */
export interface ThroughTar {
  readonly tar: AsyncIterable<Uint8Array>
  /** How messages call it. */
  readonly name: string
  /** Only the image with this name or tag there. */
  readonly image: string | undefined
  /** What it is called from now on, if not as before. */
  readonly as: string | undefined
  readonly platform: Platform | undefined
  readonly report: Reporter
}

/** The files that say which images there are; they are passed on at the end. */
const LISTS = ['manifest.json', 'index.json', 'repositories']

/** The largest file that is looked into, in bytes. */
const MAX_DOCUMENT = 4 * 1024 * 1024

/** What is known of a file that went by. */
interface Passed {
  readonly digest: Digest
  /** Whether it is as it was made: what is compressed has a digest of its own. */
  readonly plain: boolean
  /** What may be a config. */
  readonly json?: Buffer
}

/**
 * Passes the tar of `docker save` on while it is read, with other names if that is wanted. What it says that it holds
 * must be in it, and be right; else the stream ends with an error before its end.
 *
 * @param found told of its images when all went by
 * @throws {MoveError} for a tar that is cut short, damaged, or of something else
 */
export function throughTar(
  given: ThroughTar,
  found: (images: readonly ThroughImage[]) => void
): AsyncGenerator<Uint8Array> {
  return writtenTar(async (writer) => {
    const lists = new Map<string, Buffer>()
    const files = new Map<string, Passed>()
    const links: [path: string, target: string][] = []
    for await (const entry of tarEntries(given.tar, given.name)) {
      if (entry.target !== undefined) {
        links.push([entry.path, entry.target])
        writer.link(entry.path, entry.target)
      } else if (LISTS.includes(entry.path) && entry.size <= MAX_DOCUMENT)
        lists.set(entry.path, await gather(entry.content))
      else files.set(entry.path, await passOn(entry, writer, given.report))
    }
    for (const [path, target] of links) {
      const file = files.get(target)
      if (file !== undefined) files.set(path, file)
    }
    const images = checked(given, lists.get('manifest.json'), files)
    for (const [path, bytes] of renamed(given, lists)) await writer.put(path, bytes.length, bytes)
    found(images)
  })
}

async function passOn(
  { path, size, content }: TarEntry,
  { put }: TarWriter,
  report: Reporter
): Promise<Passed> {
  if (size <= MAX_DOCUMENT && !path.endsWith('.tar')) {
    const bytes = await gather(content)
    await put(path, bytes.length, bytes)
    const plain = compressionOf(bytes.subarray(0, 4)) === 'none'
    return { digest: digestOf(bytes), plain, ...(bytes[0] === 0x7b && { json: bytes }) }
  }
  const hash = createHash('sha256')
  const head: Uint8Array[] = []
  async function* hashed() {
    for await (const chunk of content) {
      if (head.length === 0) head.push(chunk.slice(0, 4))
      hash.update(chunk)
      yield chunk
    }
  }
  const shown = report.blob(/[0-9a-f]{64}/.exec(path)?.[0].slice(0, 12) ?? path.slice(-20), size)
  await put(path, size, counted(hashed(), shown))
  shown.done(false)
  return { digest: `sha256:${hash.digest('hex')}`, plain: compressionOf(Buffer.concat(head)) === 'none' }
}

/** The images that are wanted, all of whose parts are there and right. */
function checked(
  { name, image, as, platform }: ThroughTar,
  list: Buffer | undefined,
  files: ReadonlyMap<string, Passed>
): ThroughImage[] {
  if (list === undefined)
    throw new MoveError(
      `${name} holds no list of images (manifest.json): it is cut short, of something else, or an OCI archive, which has to be a file`
    )
  for (const [path, { digest }] of files) {
    const hex = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(path)?.[1]
    if (hex !== undefined && digest !== `sha256:${hex}`)
      throw new MoveError(`${name} is damaged: what it calls sha256:${hex} is ${digest}`)
  }
  const entries = configsOfList(list, name).filter(({ names }) => isWanted(names, image))
  if (entries.length === 0) throw new MoveError(`${name} has no '${image ?? 'image'}'`)
  if (as !== undefined && entries.length > 1)
    throw new MoveError(
      `${name} has ${entries.length} images, which cannot all be called ${as}: say which one behind its path`
    )
  return entries.map(({ config, names, layers }) => {
    const bytes = files.get(config)?.json
    const shown = names[0] ?? config
    if (bytes === undefined) throw new MoveError(`${name} lacks ${config}, the config of ${shown}`)
    const diffIds = diffIdsOf(bytes, name)
    if (layers.length !== diffIds.length)
      throw new MoveError(
        `${name} is not sound: ${shown} has ${layers.length} layers, but its config names ${diffIds.length}`
      )
    for (const [i, path] of layers.entries()) {
      const file = files.get(path)
      if (file === undefined)
        throw new MoveError(`${name} is incomplete: the layer ${diffIds[i]} of ${shown} is not in it`)
      if (file.plain && file.digest !== diffIds[i])
        throw new MoveError(`${name} is damaged: the layer ${diffIds[i]} of ${shown} is ${file.digest}`)
    }
    const { os, architecture } = JSON.parse(bytes.toString()) as Partial<Platform>
    if (platform !== undefined && (os !== platform.os || architecture !== platform.architecture))
      throw new MoveError(`'${shown}' is for ${os}/${architecture}, not ${platformText(platform)}`)
    return { was: names[0], name: as ?? names[0], id: digestOf(bytes) }
  })
}

function isWanted(names: readonly string[], image: string | undefined): boolean {
  return image === undefined || names.some((each) => each === image || each.endsWith(`:${image}`))
}

/** The lists, with the images that are wanted and their names. */
function renamed({ image, as }: ThroughTar, lists: ReadonlyMap<string, Buffer>): [string, Buffer][] {
  if (image === undefined && as === undefined) return [...lists]
  const json = (path: string): unknown => JSON.parse(lists.get(path)?.toString() ?? 'null')
  const rows = (json('manifest.json') as { RepoTags?: string[] | null }[])
    .filter(({ RepoTags }) => isWanted(RepoTags ?? [], image))
    .map((row) => ({ ...row, RepoTags: as === undefined ? row.RepoTags : [as] }))
  const changed: [string, unknown][] = [['manifest.json', rows]]
  const index = json('index.json') as { manifests?: Descriptor[] } | null
  if (index !== null && Array.isArray(index.manifests)) {
    const manifests = index.manifests
      .filter((each) => image === undefined || isWanted(namesOf(each), image.split(':').at(-1)))
      .map((each) => (as === undefined ? each : { ...each, annotations: annotationsFor(as) }))
    changed.push(['index.json', { ...index, manifests }])
  }
  // `repositories` says the same once more, for engines of long ago
  return changed.map(([path, value]) => [path, Buffer.from(JSON.stringify(value))])
}
