import { randomBytes } from 'node:crypto'
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { syncFolder } from './files.ts'

/**
 * Writes a small file as a whole: whoever reads it finds the one before or this one, also after a crash, and it is on
 * disk when the call returns. It is for its owner alone, as secrets are, and so is a folder that must be made for it.
 *
 * @param prepare changes the file before it takes its name: its owner or mode, where somebody else may read it
 * @throws Error of the file system; the file before stays then
 */
export async function writeWhole(
  path: string,
  content: string | Uint8Array,
  prepare?: (file: FileHandle) => Promise<void>
): Promise<void> {
  const folder = dirname(path)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  // of a name that nobody knows, and new: nothing that lies there already is written into or followed
  const temporary = `${path}.${randomBytes(6).toString('hex')}.new`
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(content)
      await prepare?.(file)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined) // why it failed is told
    throw error
  }
  await syncFolder(folder)
}
