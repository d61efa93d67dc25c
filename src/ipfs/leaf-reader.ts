import { type ReadableFile, readFully } from '../store/files.ts'

/** How much is read at once, in bytes: what a slow reader has in memory is twice that. The first few readers
 * get large pieces, which take less of everybody's time. */
const PIECE = 256 * 1024
const LARGE_PIECE = 1024 * 1024
const MOST_LARGE = 6

/** Room in front of a piece for the head of a frame. */
const ROOM = 128

/** Reads the leaves of a blob out of its file, a piece while the one before is being sent. */
export interface LeafReader {
  /**
   * `head` and `length` bytes from `offset`, in pieces; each stays as it is until the next is asked for.
   *
   * @throws Error when the file ends before
   */
  pieces(offset: number, length: number, head: Uint8Array): AsyncGenerator<Uint8Array>
  close(): Promise<void>
}

interface Ahead {
  offset: number
  buffer: Buffer
  filled: Promise<number>
}

let readers = 0
/** Large buffers that nobody uses now. */
const spare: Buffer[] = []

/** Takes `file` over, whose length is `size` bytes. */
export function openLeafReader(file: ReadableFile, size: number): LeafReader {
  const large = readers++ < MOST_LARGE
  const piece = large ? LARGE_PIECE : PIECE
  const take = () => (large ? spare.pop() : undefined) ?? Buffer.allocUnsafeSlow(ROOM + piece)
  const buffers = [take(), take()]
  let turn = 0
  let closed = false
  let ahead: Ahead | undefined

  function start(offset: number): Ahead {
    const buffer = buffers[turn++ % buffers.length] as Buffer
    const filled = readFully(file, buffer.subarray(ROOM, ROOM + Math.min(piece, size - offset)), offset)
    filled.catch(() => undefined) // told to whoever asks for these bytes, if anybody does
    return { offset, buffer, filled }
  }

  return {
    async *pieces(offset, length, head) {
      const front = Buffer.from(head)
      for (let at = 0; at < length; ) {
        if (ahead?.offset !== offset + at) {
          await ahead?.filled.catch(() => undefined) // its buffer is free only then
          ahead = start(offset + at)
        }
        const { buffer, filled } = ahead
        const taken = Math.min(piece, length - at)
        if ((await filled) < taken) throw new Error(`the file ends within the leaf at ${offset}`)
        const next = offset + at + taken
        ahead = next < size ? start(next) : undefined
        const room = at === 0 ? front.copy(buffer, ROOM - front.length) : 0
        at += taken
        yield buffer.subarray(ROOM - room, ROOM + taken)
      }
    },

    async close() {
      if (closed) return
      closed = true
      await ahead?.filled.catch(() => undefined) // as above
      readers--
      if (large) spare.push(...buffers)
      await file.close()
    }
  }
}
