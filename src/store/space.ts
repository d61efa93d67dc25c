import { readdir, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'

/** What takes room in a data folder besides the content itself, in bytes. */
export interface Space {
  /** The index: rows of blobs, small blobs, directories, records. */
  readonly index: number
  /** Uploads and transfers that are still arriving. */
  readonly incoming: number
  /** What was found damaged. */
  readonly quarantine: number
  /** What the file system has left. */
  readonly free: number
}

/** Looks at a data folder. */
export async function spaceOf(folder: string): Promise<Space> {
  const [index, incoming, quarantine, system] = await Promise.all([
    bytesIn(join(folder, 'index')),
    bytesIn(join(folder, 'incoming')),
    bytesIn(join(folder, 'quarantine')),
    statfs(folder)
  ])
  return { index, incoming, quarantine, free: system.bavail * system.bsize }
}

/** The bytes of the files in a folder; none where there is no folder. */
async function bytesIn(folder: string): Promise<number> {
  let sum = 0
  for (const name of await readdir(folder).catch(() => [])) {
    const info = await stat(join(folder, name)).catch(() => undefined) // gone since
    if (info?.isFile() === true) sum += info.size
  }
  return sum
}
