import { Readable } from 'node:stream'
import { LRUCache } from 'lru-cache'
import { type Digest, splitDigest } from '../oci/digest.ts'
import { type BlobInfo, type BlobRow, blobPath, sha256Of } from './blob-rows.ts'
import type { CheckedFile, CheckedFiles } from './checked-files.ts'
import { LEAF_SIZE } from './dag.ts'
import { DamagedError, type OnDamage } from './damage.ts'
import { type IndexDb, rowKey } from './index-db.ts'
import { sha256Multihash } from './leaves.ts'
import { type Piece, type Pieces, streamOf } from './piece-stream.ts'
import { matches } from './small-blocks.ts'
import { borrowWindow, mayReadAhead } from './windows.ts'

/** Bytes of blobs, none of which goes out unchecked. */
export interface BlobReader {
  /**
   * The bytes from `start` to `end`, both included, as a stream that holds at most two pieces (of 256 KiB, or a leaf
   * where few are served), one being sent and one being read; its first piece has been checked when this resolves.
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
      return streamOf(piecesOf(file, start, end + 1))
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

/** The bytes of [start, end). Where few are served, a piece is read while the one before is sent. */
function piecesOf(file: CheckedFile, start: number, end: number): Pieces {
  let at = start
  let closed = false
  /** Read, and nobody's yet. */
  let ahead: Promise<Piece | undefined> | undefined
  /** What somebody waits for, whose it is then. */
  let awaited: Promise<Piece | undefined> | undefined

  async function read(): Promise<Piece | undefined> {
    const position = at
    if (position === end) return undefined
    // up to where a leaf ends: what is read from one has to be checked there only
    const wanted = Math.min(LEAF_SIZE - (position % LEAF_SIZE), end - position)
    const { buffer, release } = borrowWindow(wanted)
    const length = Math.min(wanted, buffer.length)
    at += length
    try {
      await file.read(buffer, 0, length, position)
      return { data: buffer.subarray(0, length), release }
    } catch (error) {
      release()
      throw error
    }
  }

  return {
    async next() {
      awaited = ahead ?? read()
      ahead = undefined
      const piece = await awaited
      if (!closed && piece !== undefined && mayReadAhead()) {
        ahead = read()
        ahead.catch(() => undefined) // told to whoever asks for it
      }
      return piece
    },
    async close() {
      closed = true
      const [unused] = await Promise.allSettled([ahead, awaited])
      if (unused.status === 'fulfilled') unused.value?.release()
      await file.close()
    }
  }
}
