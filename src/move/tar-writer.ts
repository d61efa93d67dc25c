import { posix } from 'node:path'
import { pack } from 'tar-stream'
import type { BlobProgress } from './types.ts'

/** Writes the entries of a tar, one after the other; the same entries give the same bytes. */
export interface TarWriter {
  put(path: string, size: number, content: AsyncIterable<Uint8Array> | Uint8Array): Promise<void>
  json(path: string, value: unknown): Promise<void>
  /** A symbolic link to another path in the tar. */
  link(path: string, target: string): void
}

/** The bytes of a tar, while `fill` writes it; what that throws ends them before their end. */
export async function* writtenTar(fill: (writer: TarWriter) => Promise<void>): AsyncGenerator<Uint8Array> {
  const tar = pack()
  const mtime = new Date(0)
  const put: TarWriter['put'] = (path, size, content) =>
    new Promise<void>((resolve, reject) => {
      const header = { name: path, size, mode: 0o644, mtime }
      if (content instanceof Uint8Array) {
        tar.entry(header, Buffer.from(content), (error) => (error ? reject(error) : resolve()))
        return
      }
      const entry = tar.entry(header, (error) => (error ? reject(error) : resolve()))
      // it is told by the promise
      entry.on('error', () => undefined)
      let wake = () => {}
      for (const event of ['drain', 'close'] as const) entry.on(event, () => wake())
      void (async () => {
        try {
          for await (const chunk of content) {
            if (!entry.write(chunk))
              await new Promise<void>((drained) => {
                wake = drained
              })
            if (entry.destroyed) throw new Error('nobody reads the tar any more')
          }
          entry.end()
        } catch (error) {
          entry.destroy(error as Error)
          reject(error)
        }
      })()
    })
  let failure: unknown
  fill({
    put,
    json(path, value) {
      const bytes = Buffer.from(JSON.stringify(value))
      return put(path, bytes.length, bytes)
    },
    link(path, target) {
      const linkname = posix.relative(posix.dirname(path), target)
      tar.entry({ name: path, type: 'symlink', linkname, mtime })
    }
  }).then(
    () => tar.finalize(),
    (error: unknown) => {
      failure = error
      tar.destroy(error as Error)
    }
  )
  try {
    for await (const chunk of tar) yield chunk
  } catch (error) {
    throw failure ?? error
  } finally {
    tar.destroy()
  }
  if (failure !== undefined) throw failure
}

/** The same bytes, which are told of as they pass. */
export async function* counted(
  content: AsyncIterable<Uint8Array>,
  shown: BlobProgress
): AsyncGenerator<Uint8Array> {
  for await (const chunk of content) {
    shown.add(chunk.length)
    yield chunk
  }
}
