import { createReadStream } from 'node:fs'
import { createLayoutSource, type LayoutFiles, namesIn } from './layout-source.ts'
import { layoutInTar, MAX_DOCUMENT } from './tar-table.ts'
import { type ImageSource, MoveError } from './types.ts'

/** Images that lie in an archive. */
export interface ArchiveSource extends ImageSource {
  /** What they are called there: tags, or whole names; a single one without a name by its digest. */
  names(): Promise<readonly string[]>
}

/**
 * The images of an archive that is an OCI layout and nothing else: no engine loads it as it is. It has to be a file, as
 * its list may come last.
 *
 * @returns `undefined` for other archives
 */
export async function openArchiveSource(
  path: string,
  signal: AbortSignal
): Promise<ArchiveSource | undefined> {
  const parts = await layoutInTar(path, signal)
  if (parts === undefined) return undefined
  const name = `archive:${path}`
  const from = (file: string, at: number, ended: AbortSignal) => {
    const part = parts.get(file) ?? { at: 0, size: 0 }
    return createReadStream(path, {
      start: part.at + at,
      end: part.at + part.size - 1,
      highWaterMark: 1 << 20,
      signal: ended
    }) as AsyncIterable<Uint8Array>
  }
  const files: LayoutFiles = {
    name,
    size: (file) => Promise.resolve(parts.get(file)?.size),
    async all(file) {
      const size = parts.get(file)?.size ?? 0
      if (size > MAX_DOCUMENT)
        throw new MoveError(`${name} has ${size} bytes in ${file}, which should be a list`)
      const chunks: Uint8Array[] = []
      if (size > 0) for await (const chunk of from(file, 0, signal)) chunks.push(chunk)
      return Buffer.concat(chunks)
    },
    async *from(file, at, ended) {
      // a range that is empty is none to node
      if (at < (parts.get(file)?.size ?? 0)) yield* from(file, at, ended)
    }
  }
  return { ...createLayoutSource(files), names: () => namesIn(files) }
}
