import { type FileHandle, open, stat } from 'node:fs/promises'
import type { Digest } from '../oci/digest.ts'
import { readManifest } from '../oci/manifest.ts'
import { cleanPath } from './tar-entries.ts'
import { configsOfList, diffIdsOf, namesOf } from './tar-images.ts'

/** What an archive says of itself. */
export interface TarTable {
  /** What its images are called: whole names, or tags. */
  readonly names: readonly string[]
  /** The layers of Docker's list, as their configs name them. */
  readonly diffIds: readonly Digest[]
}

/** A block of a tar, in bytes. @see https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html */
const BLOCK = 512

/** The largest document that is looked at, in bytes. */
export const MAX_DOCUMENT = 4 * 1024 * 1024

/** The most files that are looked at. */
const MAX_FILES = 100_000

/** Where a file's content is in a tar, and how long it is, in bytes. */
export interface Part {
  readonly at: number
  readonly size: number
}

/**
 * Finds out what is in an archive that is a file, without reading its layers. It is a first look: what it finds is held
 * against the content when that is read.
 *
 * @returns `undefined` for what can't be told so: a pipe, a tar of an unusual kind, or no tar
 */
export async function tableOfTar(path: string, signal: AbortSignal): Promise<TarTable | undefined> {
  return lookedInto(path, signal, async (document) => {
    const [list, index] = [await document('manifest.json'), await document('index.json')]
    const entries = list === undefined ? [] : configsOfList(list, path)
    const diffIds = new Set<Digest>()
    for (const { config } of entries) {
      const bytes = await document(config)
      if (bytes !== undefined) for (const diffId of diffIdsOf(bytes, path)) diffIds.add(diffId)
    }
    const tagged = index === undefined ? [] : readManifest(index).children.flatMap(namesOf)
    return { names: [...entries.flatMap(({ names }) => names), ...tagged], diffIds: [...diffIds] }
  })
}

/**
 * Where the files of an archive are that is an OCI layout and nothing else.
 *
 * @returns `undefined` for one with Docker's list of images, and for what {@link tableOfTar} can't look into
 */
export const layoutInTar = (
  path: string,
  signal: AbortSignal
): Promise<ReadonlyMap<string, Part> | undefined> =>
  lookedInto(path, signal, async (_document, parts) =>
    parts.has('manifest.json') || !parts.has('index.json') ? undefined : parts
  )

/** @param look reads small files, and gets where all of them are */
async function lookedInto<T>(
  path: string,
  signal: AbortSignal,
  look: (
    document: (name: string) => Promise<Buffer | undefined>,
    parts: ReadonlyMap<string, Part>
  ) => Promise<T | undefined>
): Promise<T | undefined> {
  // to open a pipe is to read from it
  const info = await stat(path).catch(() => undefined) // who reads all of it says why it can't be
  if (info?.isFile() !== true) return undefined
  const file = await open(path, 'r').catch(() => undefined) // likewise
  if (file === undefined) return undefined
  try {
    const parts = await partsOf(file, signal)
    return parts === undefined ? undefined : await look((name) => bytesOf(file, parts.get(name)), parts)
  } catch {
    // who reads all of it says what is wrong
    signal.throwIfAborted()
    return undefined
  } finally {
    await file.close()
  }
}

/** Where the files of a tar are; those that occur twice are what they are the last time. */
async function partsOf(file: FileHandle, signal: AbortSignal): Promise<Map<string, Part> | undefined> {
  const parts = new Map<string, Part>()
  const header = Buffer.alloc(BLOCK)
  for (let at = 0, files = 0; files < MAX_FILES; files++) {
    signal.throwIfAborted()
    const { bytesRead } = await file.read(header, 0, BLOCK, at)
    if (bytesRead < BLOCK || header[0] === 0) return parts
    const text = (from: number, to: number) => header.toString('utf8', from, to).replace(/\0.*$/s, '')
    const size = Number.parseInt(text(124, 136), 8)
    // sizes of 8 GiB and more are written in another way
    if (text(257, 262) !== 'ustar' || !Number.isSafeInteger(size)) return undefined
    const content = { at: at + BLOCK, size }
    const type = text(156, 157)
    const before = header[262] === 0 ? text(345, 500) : ''
    if (type === '' || type === '0') parts.set(cleanPath(`${before}/${text(0, 100)}`), content)
    else if (!(await isPlain(file, type, content))) return undefined
    at = content.at + Math.ceil(size / BLOCK) * BLOCK
  }
  return undefined
}

/** Whether a header of this type leaves the name and size of the next file as they are. */
async function isPlain(file: FileHandle, type: string, part: Part): Promise<boolean> {
  if ('125'.includes(type)) return true
  const records = type === 'x' ? await bytesOf(file, part) : undefined
  return records !== undefined && !/^\d+ (?:path|size|linkpath|GNU\.)/m.test(records.toString())
}

async function bytesOf(file: FileHandle, part: Part | undefined): Promise<Buffer | undefined> {
  if (part === undefined || part.size > MAX_DOCUMENT) return undefined
  const bytes = Buffer.alloc(part.size)
  const { bytesRead } = await file.read(bytes, 0, part.size, part.at)
  return bytesRead === part.size ? bytes : undefined
}
