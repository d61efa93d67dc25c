import { open, rename, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

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
