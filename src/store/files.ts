import { type FileHandle, mkdir, open, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { RegistryError, reason } from '../oci/errors.ts'

/**
 * Makes names in a folder (a rename, a creation, an unlink) survive loss of the page cache.
 *
 * @see https://man7.org/linux/man-pages/man2/fsync.2.html
 * @throws {RegistryError} UNAVAILABLE, STORAGE_FULL
 */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } catch (error) {
    throw storageError(error)
  } finally {
    await folder.close()
  }
}

/** What can be read from at a position: a file, or one that checks what it gives. */
export interface ReadableFile {
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>
  close(): Promise<void>
}

/** Fills `buffer` from `position`, in as many reads as that takes; the number of bytes is less only at the file's end. */
export async function readFully(
  file: Pick<ReadableFile, 'read'>,
  buffer: Uint8Array,
  position: number
): Promise<number> {
  let filled = 0
  while (filled < buffer.length) {
    const { bytesRead } = await file.read(buffer, filled, buffer.length - filled, position + filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return filled
}

/** Writes all of `buffer` at `position`. */
export async function writeFully(file: FileHandle, buffer: Uint8Array, position: number): Promise<void> {
  let written = 0
  while (written < buffer.length) {
    const { bytesWritten } = await file.write(buffer, written, buffer.length - written, position + written)
    written += bytesWritten
  }
}

/** What a failed write to the data folder means to whoever sent the bytes. */
export function storageError(error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException | null)?.code
  if (code === 'ENOSPC' || code === 'EDQUOT') return diskFull(error)
  // LevelDB has one code for whatever the system says, and the system's words.
  if (code === 'LEVEL_IO_ERROR' && /No space left|quota exceeded/.test(reason(error))) return diskFull(error)
  // Once a sync of it has failed, LevelDB writes nothing more: what is on the disk then is anybody's guess.
  const mend = code === 'LEVEL_IO_ERROR' ? 'mend that and restart it' : 'mend that'
  if (
    code === 'EROFS' ||
    code === 'EACCES' ||
    code === 'EPERM' ||
    code === 'EIO' ||
    code === 'LEVEL_IO_ERROR'
  ) {
    return new RegistryError(
      'UNAVAILABLE',
      `the gateway cannot write to its data folder (${code}): its operator has to ${mend}`,
      {
        cause: error
      }
    )
  }
  return error
}

const FULL =
  'the gateway has no disk space left for this; nothing of it was kept. Free space there (seaway rm, then seaway gc), and try again'

function diskFull(cause: unknown): RegistryError {
  return new RegistryError('STORAGE_FULL', FULL, { cause })
}

/** There is too little space, which was seen before anything was written: nothing of it can come back at the next start. */
export class NoRoomError extends RegistryError {
  constructor(message: string, free: number, needed: number) {
    super('STORAGE_FULL', message, { cause: new Error(`${free} bytes free, ${needed} reserved`) })
  }
}

/** How long a figure of free space is believed, in milliseconds. */
const FREE_SPACE_AGE = 1000

/**
 * Keeps `reserve` bytes of the file system free, so that the index (which must be able to write) never
 * meets a full disk. The figure is read again after every 32 MiB that callers announce, and every second,
 * for others use the disk as well.
 *
 * The returned function throws STORAGE_FULL when `bytes` more would go below the reserve.
 */
export function createSpaceGuard(
  folder: string,
  reserve: number,
  free: FreeBytes = freeBytes
): (bytes: number) => Promise<void> {
  let budget = 0
  let readAt = 0
  return async (bytes) => {
    budget -= bytes
    if (budget >= 0 && performance.now() - readAt < FREE_SPACE_AGE) return
    const left = await free(folder)
    if (left - bytes < reserve) throw new NoRoomError(FULL, left, reserve)
    budget = Math.min(32 * 1024 * 1024, left - bytes - reserve)
    readAt = performance.now()
  }
}

/** The most of the reserve that is left for others when the index has taken its share, in bytes. */
const MOST_FLOOR = 16 * 1024 * 1024

/** How long the index believes a figure of free space, in milliseconds. */
const INDEX_SPACE_AGE = 100

/** Asked before a batch of so many bytes is written to the index; `frees` says that it is a step of giving space back. */
export type IndexGuard = (bytes: number, frees: boolean) => Promise<void>

/**
 * The last part of the reserve, below which not even the index is written: a record that LevelDB could
 * write only in part can cost those that come after it at the next start. What frees space may use three
 * quarters of that as well, or a disk that somebody else filled would have to be cleared by hand.
 *
 * The returned function throws STORAGE_FULL when less is free for `bytes`. It asks the system again after a
 * tenth of a second, or when a quarter of that last part could be gone: asking takes as long as writing does.
 */
export function createIndexGuard(folder: string, reserve: number, free: FreeBytes = freeBytes): IndexGuard {
  const floor = Math.min(reserve / 4, MOST_FLOOR)
  const lowest = floor / 4
  let budget = 0
  let readAt = Number.NEGATIVE_INFINITY
  return async (bytes, frees) => {
    if (floor === 0) return
    budget -= bytes
    if (budget >= 0 && performance.now() - readAt < INDEX_SPACE_AGE) return
    const left = await free(folder)
    if (left >= floor) {
      budget = Math.min(left - floor, lowest)
      readAt = performance.now()
      return
    }
    budget = 0
    if (!frees) throw new NoRoomError(FULL, left, floor)
    if (left - bytes >= lowest) return
    const message = `the gateway has no disk space left, not even to remove anything: free ${Math.ceil(lowest + bytes)} bytes on the disk of its data folder by other means, and try again`
    throw new NoRoomError(message, left, lowest)
  }
}

/** What is free on the file system that a folder is on, in bytes. */
export type FreeBytes = (folder: string) => Promise<number>

async function freeBytes(folder: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(folder)
    return bavail * bsize
  } catch (error) {
    throw new RegistryError('UNAVAILABLE', `the data folder cannot be read: ${reason(error)}`, {
      cause: error
    })
  }
}

/**
 * Makes a folder and those above it. (`mkdir` with `recursive` never ends where the system answers ENOENT
 * for a folder that is there, as below /proc.)
 *
 * @throws {RegistryError} UNAVAILABLE when it can't be made
 */
export async function makeFolder(path: string, mode = 0o700): Promise<void> {
  const attempt = () =>
    mkdir(path, { mode }).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  try {
    await attempt()
  } catch (error) {
    const above = dirname(path)
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || above === path) throw notMade(path, error)
    await makeFolder(above, mode)
    await attempt().catch((again: unknown) => {
      throw notMade(path, again)
    })
  }
}

function notMade(path: string, cause: unknown): RegistryError {
  return new RegistryError(
    'UNAVAILABLE',
    `the folder ${path} cannot be made (${reason(cause)}): set SEAWAY_DATA to one that can be written`,
    { cause }
  )
}
