import { posix } from 'node:path'
import { Readable } from 'node:stream'
import { extract, type Headers } from 'tar-stream'
import { reason } from '../oci/errors.ts'
import { MoveError } from './types.ts'

/** An entry of a tar, in the order of the stream. The next one comes when its content has been read. */
export interface TarEntry {
  /** Where it is in the tar, without `./` and `..`. */
  readonly path: string
  readonly size: number
  /** For a link: the path in the tar that it leads to. */
  readonly target?: string
  readonly content: AsyncIterable<Uint8Array>
}

/**
 * The files and links of a tar that arrives.
 *
 * @throws {MoveError} for what is no tar, or is cut short
 */
export async function* tarEntries(source: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<TarEntry> {
  const reader = extract()
  const input = Readable.from(source, { objectMode: false, highWaterMark: 1 << 20 })
  let failure: unknown
  input.once('error', (error) => {
    failure = error
    reader.destroy(error)
  })
  // an entry that is cut off may only say that it was destroyed
  let broken: unknown
  reader.once('error', (error) => {
    broken = error
  })
  input.pipe(reader)
  try {
    for await (const entry of reader) {
      const { header } = entry
      const path = cleanPath(header.name)
      const target = targetOf(header, path)
      if (header.type === 'directory') {
        entry.resume()
        continue
      }
      const content = inWords(entry as AsyncIterable<Uint8Array>, name, () => broken)
      yield { path, size: header.size ?? 0, content, ...(target !== undefined && { target }) }
      entry.resume()
    }
  } catch (error) {
    if (failure !== undefined && failure === error) throw error
    throw worded(error, name)
  } finally {
    input.destroy()
    reader.destroy()
  }
}

/** The content of an entry; what breaks off in it is put into words where it is read. */
async function* inWords(
  entry: AsyncIterable<Uint8Array>,
  name: string,
  broken: () => unknown
): AsyncGenerator<Uint8Array> {
  try {
    yield* entry
  } catch (error) {
    throw worded(broken() ?? error, name)
  }
}

/** What the reader of tars says, for people. */
function worded(error: unknown, name: string): unknown {
  const what = reason(error)
  if (/unexpected end/i.test(what))
    return new MoveError(`${name} is cut short: the archive ends in the middle of a file`, { cause: error })
  if (/invalid tar header|unknown header/i.test(what))
    return new MoveError(`${name} is no archive of docker save, nor one of an OCI layout: it is no tar`, {
      cause: error
    })
  return error
}

/** A path as it is meant in a tar: without `./` and `..`, and below its top. */
export function cleanPath(path: string): string {
  return posix.normalize(`/${path}`).slice(1)
}

function targetOf({ type, linkname }: Headers, path: string): string | undefined {
  if (typeof linkname !== 'string' || linkname === '') return undefined
  if (type === 'symlink') return cleanPath(posix.join(posix.dirname(path), linkname))
  return type === 'link' ? cleanPath(linkname) : undefined
}

/** All of a small file. */
export async function gather(content: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of content) chunks.push(chunk)
  return Buffer.concat(chunks)
}
