import { readSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { readFully } from '../store/files.ts'
import type { BlobInfo, BlobWriter, ByteRange, Store } from '../store/index.ts'
import type { Piece, Pieces } from '../store/piece-stream.ts'
import { borrowWindow, WINDOW } from '../store/windows.ts'
import type { Lent } from './lend.ts'
import { tailOf } from './receive.ts'

/** A blob that is arriving, as its readers see it. */
export interface Arrival {
  readonly size: number
  readonly writer: BlobWriter
  /** The leaves that came last, still in memory. */
  readonly recent: readonly Lent[]
  /** The last piece, once the digest of the whole is known to be right. */
  readonly tail: Uint8Array | undefined
  /** Where it is in the end, or why it isn't. */
  readonly info: BlobInfo | undefined
  readonly failure: unknown
  /** Resolves when any of this has changed. */
  moved(): Promise<void>
  /** Told how far a reader has come, who takes leaves out of memory; infinite when it doesn't (any more). */
  reached(reader: object, at: number): void
}

/** How far behind the writer the system surely still has the bytes in memory. */
const FRESH = 16 * 1024 * 1024

/** Leaves that clients may hold while their sockets take them, over all; others get copies. */
const MOST_LENT = 12
const lentOut = new Map<Lent, number>()

/** A leaf from `at` up to `until`: as it is, or a copy of a part where too many are out already. */
function pieceOf(leaf: Lent, at: number, until: number): Piece {
  const data = leaf.data.subarray(at - leaf.offset, until - leaf.offset)
  const out = lentOut.get(leaf) ?? 0
  if (out === 0 && lentOut.size >= MOST_LENT) {
    const { buffer, release } = borrowWindow()
    const part = data.subarray(0, WINDOW)
    buffer.set(part)
    return { data: buffer.subarray(0, part.length), release }
  }
  lentOut.set(leaf, out + 1)
  leaf.hold()
  return {
    data,
    release() {
      const left = (lentOut.get(leaf) ?? 1) - 1
      if (left === 0) lentOut.delete(leaf)
      else lentOut.set(leaf, left)
      leaf.release()
    }
  }
}

/**
 * What a client reads of a blob that is arriving: out of memory while it keeps up, else out of the growing
 * file, in the end out of the store. Its last piece comes when the digest of the whole has turned out right.
 */
export function readArrival(
  arrival: Arrival,
  options: { range: ByteRange | undefined; blobs: Store['blobs']; closed: () => void }
): Pieces {
  const { range, blobs } = options
  const end = (range?.end ?? arrival.size - 1) + 1
  const withheld = tailOf(arrival.size)
  const closing = Promise.withResolvers<void>()
  let at = range?.start ?? 0
  let file: FileHandle | undefined
  let rest: AsyncIterator<Uint8Array> | undefined
  let closed = false
  const reader = {}

  /** Out of the file that is being written; `undefined` when it was moved into the store just now. */
  async function fromFile(until: number): Promise<Piece | undefined> {
    file ??= await open(arrival.writer.path, 'r').catch(() => undefined) // seen at the next turn
    if (file === undefined) return undefined
    const { buffer, release } = borrowWindow()
    const part = buffer.subarray(0, Math.min(WINDOW, until - at))
    // what was written a moment ago is in the page cache: copying it takes less than handing it to a thread
    const fresh = arrival.writer.written - at < FRESH
    const read = fresh ? readSync(file.fd, part, 0, part.length, at) : await readFully(file, part, at)
    return { data: part.subarray(0, read), release }
  }

  async function fromStore(info: BlobInfo): Promise<Uint8Array | undefined> {
    rest ??= (await blobs.read(info, { start: at, end: end - 1 }))[Symbol.asyncIterator]()
    const { done, value } = await rest.next()
    return done === true ? undefined : value
  }

  async function find(): Promise<Piece | undefined> {
    while (at < end && !closed) {
      if (arrival.tail !== undefined && at >= withheld)
        return { data: arrival.tail.subarray(at - withheld, end - withheld), release: () => {} }
      const until = Math.min(end, withheld)
      const leaf = arrival.recent.find(({ offset, data }) => offset <= at && at < offset + data.length)
      if (leaf !== undefined && at < until && rest === undefined)
        return pieceOf(leaf, at, Math.min(until, leaf.offset + leaf.data.length))
      // a file that is open stays what it is when it is moved into the store
      if (arrival.info !== undefined && (file === undefined || at >= until)) {
        const data = await fromStore(arrival.info)
        return data && { data, release: () => {} }
      }
      if (arrival.failure !== undefined) throw arrival.failure
      const moved = arrival.moved()
      const written = arrival.info === undefined ? Math.min(until, arrival.writer.written) : until
      const piece = at < written ? await fromFile(written) : undefined
      if (piece !== undefined) return piece
      await Promise.race([moved, closing.promise])
    }
    return undefined
  }

  return {
    async next() {
      arrival.reached(reader, at)
      // in time, for a client that falls behind will want it when it has been moved
      if (arrival.writer.written > 0 && arrival.info === undefined)
        file ??= await open(arrival.writer.path, 'r').catch(() => undefined) // moved just now
      const piece = await find()
      if (piece === undefined && at < end && !closed)
        throw new Error(`the blob ended after ${at} of ${end} bytes`)
      at += piece?.data.length ?? 0
      return piece
    },
    async close() {
      if (closed) return
      closed = true
      closing.resolve()
      arrival.reached(reader, Number.POSITIVE_INFINITY)
      await rest?.return?.()
      await file?.close()
      options.closed()
    }
  }
}
