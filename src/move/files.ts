import { once } from 'node:events'
import { mkdir, open, realpath, rename, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { reason } from '../oci/errors.ts'
import { MoveError } from './types.ts'

/** Writes a small file so that, whatever happens, it is there as it was or as it is to be. */
export async function replaceFile(path: string, text: string): Promise<void> {
  const part = join(dirname(path), `.${basename(path)}.${process.pid}`)
  await writeFile(part, text, { flush: true })
  await rename(part, path)
  await syncFolder(dirname(path))
}

/** Makes the names in a folder durable, where its file system can. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  await handle.sync().catch(() => undefined)
  await handle.close()
}

/**
 * Makes a folder and those above it. (`mkdir` with `recursive` never ends where the system answers ENOENT for a folder
 * that is there, as below /proc.)
 */
export async function makeFolders(path: string): Promise<void> {
  const attempt = () =>
    mkdir(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error
    })
  await attempt().catch(async (error: NodeJS.ErrnoException) => {
    const above = dirname(path)
    if (error.code !== 'ENOENT' || above === path) throw error
    await makeFolders(above)
    await attempt()
  })
}

/** Where output goes: a file, which is written beside its name first, or a device or pipe, which is written as it is. */
export interface Output {
  readonly path: string
  readonly replaced: boolean
}

/** What a path to write to leads to. @throws {MoveError} for a folder */
export async function outputAt(path: string): Promise<Output> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) return { path, replaced: true }
  if (found.isDirectory()) throw new MoveError(`${path} is a folder: name a file in it`)
  // a link stays one
  return { path: await realpath(path), replaced: found.isFile() }
}

/** Opens a file to write. @throws {MoveError} when that can't be */
export const openOutput = (path: string, flags: string, name = path) =>
  open(path, flags).catch((error: unknown) => {
    throw new MoveError(`${name} cannot be written: ${reason(error)}`, { cause: error })
  })

/** Writes to stdout, as fast as it is read. @throws {MoveError} to a terminal, and when nobody reads it any more */
export async function toStdout(chunk: Uint8Array, signal: AbortSignal): Promise<void> {
  const { stdout } = process
  if (stdout.isTTY)
    throw new MoveError("'-' writes to stdout, but that is a terminal: send it to a file or a program")
  const failed = (error: NodeJS.ErrnoException | null) =>
    new MoveError(
      error === null || error.code === 'EPIPE'
        ? 'nobody reads stdout any more, so not all was written'
        : `stdout cannot be written: ${reason(error)}`
    )
  signal.throwIfAborted()
  if (stdout.destroyed || stdout.errored) throw failed(stdout.errored)
  if (stdout.write(chunk)) return
  const within = new AbortController()
  const end = AbortSignal.any([signal, within.signal])
  try {
    // a reader that goes away says so by an error, or by none
    await Promise.race([
      once(stdout, 'drain', { signal: end }),
      once(stdout, 'close', { signal: end }).then(() => {
        throw failed(stdout.errored)
      })
    ])
  } catch (error) {
    signal.throwIfAborted()
    throw error instanceof MoveError ? error : failed(error as Error)
  } finally {
    within.abort()
  }
}
