import { Readable } from 'node:stream'
import { LRUCache } from 'lru-cache'
import { type Digest, splitDigest } from '../oci/digest.ts'
import { type BlobInfo, type BlobRow, blobPath, sha256Of } from './blob-rows.ts'
import type { CheckedFile, CheckedFiles } from './checked-files.ts'
import { DamagedError, type OnDamage } from './damage.ts'
import { type IndexDb, rowKey } from './index-db.ts'
import { sha256Multihash } from './leaves.ts'
import { matches } from './small-blocks.ts'

/** Bytes of blobs, none of which goes out unchecked. */
export interface BlobReader {
  /**
   * The bytes from `start` to `end`, both included, as a stream with a bounded window; its first piece has been
   * checked when this resolves.
   *
   * @throws {DamagedError} and so may the stream
   */
  read(blob: BlobRow, start: number, end: number): Promise<Readable>
  /** The bytes of a blob that is kept in the index. @throws {DamagedError} */
  inline(blob: BlobRow): Promise<Uint8Array>
  /** Whether all of a blob is what it was when it was kept. */
  intact(blob: BlobRow): Promise<boolean>
  /** The blob's file was just written, out of memory in which all of it was hashed. */
  written(blob: BlobInfo): void
  /** Nothing of the blob may stay in memory. */
  forget(digest: Digest): void
}

/** What a client's stream holds at most between disk and socket, in bytes (twice, while one is being sent). */
const READ_WINDOW = 256 * 1024

/** How many bytes of small blobs are kept in memory. */
const MAX_SMALL = 16 * 1024 * 1024

export function createBlobReader(options: {
  db: IndexDb
  files: CheckedFiles
  folder: string
  onDamage: OnDamage
}): BlobReader {
  const { db, files, folder, onDamage } = options
  const small = new LRUCache<string, Uint8Array>({
    maxSize: MAX_SMALL,
    sizeCalculation: (bytes) => bytes.length + 1
  })

  const pathOf = ({ digest }: BlobInfo) => blobPath(folder, splitDigest(digest).hex)
  const open = (blob: BlobRow, end: number) => files.open(blob, pathOf(blob), end)

  async function inline(blob: BlobRow): Promise<Uint8Array> {
    const hit = small.get(blob.digest)
    if (hit !== undefined) return hit
    const multihash = sha256Multihash(sha256Of(blob.digest))
    const bytes = await db.get(rowKey('k', multihash))
    if (bytes?.length === blob.size && matches(multihash, bytes) === true) {
      small.set(blob.digest, bytes)
      return bytes
    }
    const what =
      bytes?.length === blob.size
        ? 'its bytes are not what was kept'
        : `the index holds ${bytes?.length ?? 'none'} of its ${blob.size} bytes`
    const error = new DamagedError(blob.digest, what)
    onDamage(error.damage)
    throw error
  }

  return {
    inline,

    async read(blob, start, end) {
      if (blob.inline)
        return Readable.from([(await inline(blob)).subarray(start, end + 1)], { objectMode: false })
      const file = await open(blob, end + 1)
      try {
        await file.check(start, start + 1)
      } catch (error) {
        await file.close()
        throw error
      }
      return streamOf(file, start, end + 1)
    },

    async intact(blob) {
      try {
        if (blob.inline) await inline(blob)
        else {
          const file = await open(blob, blob.size)
          try {
            await file.check(0, blob.size)
          } finally {
            await file.close()
          }
        }
        return true
      } catch (error) {
        if (error instanceof DamagedError) return false
        throw error
      }
    },

    written: (blob) => files.written(blob, pathOf(blob)),

    forget: (digest) => void small.delete(digest)
  }
}

/* oxlint-disable promise/no-promise-in-callback, promise/no-callback-in-promise -- what a Readable is made of is called back */
/** The bytes of [start, end) as a stream that closes its file. */
function streamOf(file: CheckedFile, start: number, end: number): Readable {
  let at = start
  return new Readable({
    highWaterMark: READ_WINDOW,
    read() {
      const length = Math.min(READ_WINDOW, end - at)
      if (length === 0) {
        this.push(null)
        return
      }
      file.read(Buffer.allocUnsafeSlow(length), 0, length, at).then(
        ({ buffer }) => {
          at += length
          this.push(buffer)
        },
        (error: Error) => this.destroy(error)
      )
    },
    destroy(error, done) {
      file.close().then(
        () => done(error),
        (failure: Error) => done(error ?? failure)
      )
    }
  })
}
