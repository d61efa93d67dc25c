import { createReadStream } from 'node:fs'
import { open, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { addAbortSignal } from 'node:stream'
import { reason } from '../oci/errors.ts'
import { isTag } from '../oci/reference.ts'
import { type Compression, compressionKey, compressionOf } from './compress.ts'
import {
  checkGoals,
  type Delivered,
  type Destination,
  deliver,
  nothingMoved,
  ownManifest,
  type ToDestination
} from './deliver.ts'
import { openOutput, outputAt, toStdout } from './files.ts'
import { type KnownLayer, type LayerMemory, remembered, thereAt } from './memory.ts'
import type { Passed } from './passed.ts'
import type { Platform } from './platform.ts'
import { isDenied } from './refusal.ts'
import { forPlatform, imagesOf } from './tar-images.ts'
import { passTar } from './tar-pass.ts'
import { tableOfTar } from './tar-table.ts'
import { type ImageTarget, type Moved, MoveError, Refused, type Reporter } from './types.ts'

/**
 * Opens an archive of `docker save`, `podman save` or an OCI layout; `-` is stdin.
 *
 * @throws {MoveError} when there is no such file
 */
export async function openArchive(path: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
  if (path === '-') {
    if (process.stdin.isTTY)
      throw new MoveError(
        "'-' reads an archive from stdin, but that is a terminal: docker save app:1 | seaway push -"
      )
    return addAbortSignal(signal, process.stdin) as AsyncIterable<Uint8Array>
  }
  const info = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw new MoveError(
      error.code === 'ENOENT' ? `there is no file ${path}` : `${path} cannot be read: ${reason(error)}`
    )
  })
  if (info.isDirectory())
    throw new MoveError(`${path} is a folder: if it is an OCI layout, write oci:${path}`)
  const file = await open(path, 'r')
  const head = Buffer.alloc(4)
  await file.read(head, 0, 4, 0)
  await file.close()
  const packed = compressionOf(head)
  const source = createReadStream(path, { highWaterMark: 1 << 20, signal })
  if (packed === 'none') return source as AsyncIterable<Uint8Array>
  throw new MoveError(
    `${path} is compressed as a whole; unpack it first: ${packed === 'gzip' ? 'gunzip' : 'unzstd'} -c ${path} | seaway push -`
  )
}

/** How messages call an archive. */
export const nameOfArchive = (path: string): string => (path === '-' ? 'stdin' : path)

/** What images that have only a tag are called by their archive. */
export const archiveName = (path: string): string =>
  basename(path)
    .toLowerCase()
    .replace(/\.tar$|\.oci$/, '')

/** Those that have a tag only are called like their file: `app:1` in `app.tar`. */
function destinationOf(called: string | undefined, path: string, to: ToDestination): Destination {
  if (called === undefined) return to(called, { from: nameOfArchive(path) })
  if (!isTag(called)) return to(called)
  if (path === '-') return to(undefined, { from: nameOfArchive(path), tag: called })
  return to(`${archiveName(path)}:${called}`)
}

/** Images of an archive, and where each goes. */
export interface ArchivePush {
  /** `-` is stdin. */
  readonly path: string
  /** Only what has this name or tag there. */
  readonly image: string | undefined
  /** Where blobs go before it is known whose they are; where what has no name goes, unless given. */
  readonly first: (() => ImageTarget) | undefined
  /** Where an image goes by its name there, if it has one. */
  readonly to: ToDestination
  /** Of an index only this one; all of it unless given. */
  readonly platform: Platform | undefined
  /** Layers stay as they are if not given. */
  readonly compression: Compression | undefined
  readonly memory: LayerMemory
  readonly report: Reporter
  readonly signal: AbortSignal
}

/**
 * Pushes the images of an archive while it is read, from front to back: of a file, layers that the target has are only
 * compared with what was compressed before.
 */
export async function pushArchive(given: ArchivePush): Promise<{ delivered: Delivered[]; moved: Moved }> {
  const { path, to, compression, memory, report, signal } = given
  const name = nameOfArchive(path)
  const isWanted = (each: string) =>
    given.image === undefined || each === given.image || each.endsWith(`:${given.image}`)
  const table = path === '-' ? undefined : await tableOfTar(path, signal)
  // before anything is moved
  if (table?.names.length === 0) to(undefined, { from: name })
  const called = table?.names.find(isWanted)
  const early = called === undefined ? undefined : destinationOf(called, path, to).store
  const first = early ?? given.first?.() ?? to(undefined, { from: name }).store
  const there =
    table === undefined || compression === undefined
      ? []
      : await thereAt(first, await remembered(memory, table.diffIds, compressionKey(compression)), signal)
  const read = async (known: readonly KnownLayer[]): Promise<Passed> => {
    const tar = await openArchive(path, signal)
    const options = { tar, name, target: first, compression, memory, there: known, report, signal }
    return passTar(options).catch((error: unknown) => {
      if (early !== undefined || given.first === undefined || !isDenied(error)) throw error
      throw new Refused(
        `${reason(error)}; layers of ${name} wait there until its names come: with --name NAME they go where they belong`,
        { cause: error }
      )
    })
  }
  const once = await read(there)
  const passed = once.mistaken ? await read([]) : once
  const moved = nothingMoved()
  for (const { diffId, blob, ...layer } of new Map(
    [...passed.layers.values()].map((each) => [each.blob.digest, each])
  ).values()) {
    if (layer.there) {
      moved.skipped++
      moved.skippedBytes += blob.size
      if (!layer.unchanged) report.blob(diffId.slice(7, 19), blob.size).done(true)
    } else {
      moved.blobs++
      moved.bytes += blob.size
    }
  }
  const images = imagesOf(passed, name)
  const wanted = images.filter(({ names }) => given.image === undefined || names.some(isWanted))
  if (wanted.length === 0)
    throw new MoveError(
      `${name} has no '${given.image}'; it has ${images.flatMap(({ names }) => names).join(', ') || 'images without names'}`
    )
  const refusal = wanted.find((image) => image.refusal !== undefined)?.refusal
  if (refusal !== undefined) throw new MoveError(`${name}: ${refusal}`)
  const { platform } = given
  const chosen =
    platform === undefined
      ? wanted
      : wanted.map((image) => forPlatform(image, platform, image.names[0] ?? name))
  const goals = chosen.flatMap((image) =>
    (image.names.length === 0 ? [undefined] : image.names).map((called) => ({
      image,
      called,
      destination: destinationOf(called, path, to)
    }))
  )
  await checkGoals(
    goals.map(({ image, called, destination }) => ({
      name: called ?? 'one without a name',
      destination,
      digest: async () => ownManifest(image, name).digest
    }))
  )
  const delivered: Delivered[] = []
  for (const { image, called, destination } of goals) {
    const digest = await deliver(image, destination, first, signal)
    delivered.push({ image: called ?? digest, to: destination.shown, digest })
  }
  return { delivered, moved }
}

/**
 * Where an archive is written: beside its name until it is whole and on disk, so that what was there stays until
 * then, and nothing half-done is left. `-` is stdout.
 *
 * @throws {MoveError} for a folder, a full disk, and where nobody reads stdout any more
 */
export async function createArchiveSink(
  path: string,
  tar: AsyncIterable<Uint8Array>,
  signal: AbortSignal
): Promise<void> {
  if (path === '-') {
    for await (const chunk of tar) await toStdout(chunk, signal)
    return
  }
  const output = await outputAt(path)
  const part = output.replaced
    ? join(dirname(output.path), `.${basename(output.path)}.${process.pid}.part`)
    : output.path
  const file = await openOutput(part, 'w', path)
  try {
    for await (const chunk of tar) await file.writeFile(chunk)
    if (output.replaced) await file.sync()
    await file.close()
    if (output.replaced) await rename(part, output.path)
  } catch (error) {
    await file.close().catch(() => undefined)
    if (output.replaced) await rm(part, { force: true })
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC')
      throw new MoveError(`the disk of ${path} is full; nothing was left there`, { cause: error })
    throw error
  }
}
