import { createHash } from 'node:crypto'
import { CID } from 'multiformats/cid'
import { MAX_BLOCK } from './blocks.ts'
import { malformed } from './unixfs.ts'
import { PeerFault } from './wants.ts'

/** A header names roots, which nobody here believes; more than this is somebody's joke. */
export const MAX_HEADER = 4096

/** Bytes that a CID may take: version, codec, hash code, length and a digest of 64 bytes, with room. */
export const MAX_CID = 128

const SHA2_256 = 0x12
const IDENTITY = 0

/** How every CARv1 header ends its map: the key `version` with the value 1, in DAG-CBOR. */
export const VERSION_1 = Buffer.from('gversion\u0001', 'latin1')

/** A piece of a block, in the order of the stream. */
export interface CarPiece {
  cid: CID
  /** The block's length in bytes, and where in it this piece begins. */
  size: number
  at: number
  data: Uint8Array
  /** The block ends here, and it is the one that its CID names: a block's last piece is held back until
   * its hash is known, so that no wrong block is ever passed on whole. */
  last: boolean
}

/**
 * Reads a CARv1 stream and verifies each block against its CID while its bytes arrive; frames aren't put
 * together.
 *
 * @throws PeerFault for a wrong block, and for what isn't a CAR of blocks of at most 4 MiB.
 * @see https://ipld.io/specs/transport/car/carv1/
 */
export async function* readCar(source: AsyncIterable<Uint8Array>): AsyncGenerator<CarPiece> {
  const reader = createReader(source)
  try {
    const headerSize = await reader.varint()
    if (headerSize === undefined) throw new PeerFault('sent an empty CAR')
    if (headerSize > MAX_HEADER) throw new PeerFault(`sent a CAR header of ${headerSize} bytes`)
    const header = Buffer.from(await reader.exactly(headerSize))
    if (!header.includes(VERSION_1)) throw new PeerFault('sent something that is no CAR of version 1')
    for (;;) {
      const length = await reader.varint()
      if (length === undefined) return
      if (length > MAX_BLOCK + MAX_CID) throw new PeerFault(`sent a CAR frame of ${length} bytes`)
      const { cid, taken } = await readCid(reader, length)
      yield* readBlock(reader, cid, length - taken)
    }
  } finally {
    await reader.close()
  }
}

type Reader = ReturnType<typeof createReader>

async function readCid(reader: Reader, length: number): Promise<{ cid: CID; taken: number }> {
  const head = await reader.peek(Math.min(length, MAX_CID))
  try {
    const [cid] = CID.decodeFirst(head)
    const taken = cid.bytes.length
    reader.skip(taken)
    return { cid, taken }
  } catch (cause) {
    throw new PeerFault('sent a CAR frame without a CID', { cause })
  }
}

async function* readBlock(reader: Reader, cid: CID, size: number): AsyncGenerator<CarPiece> {
  const { code, digest } = cid.multihash
  if (code !== SHA2_256 && code !== IDENTITY) throw malformed(cid, `has the hash 0x${code.toString(16)}`)
  const hash = createHash('sha256')
  const inline: Uint8Array[] = []
  let at = 0
  do {
    const data = await reader.some(size - at)
    if (code === SHA2_256) hash.update(data)
    else inline.push(data)
    const last = at + data.length === size
    const found = !last || (code === SHA2_256 ? hash.digest() : Buffer.concat(inline))
    if (found !== true && !found.equals(digest))
      throw new PeerFault(`sent a wrong block for ${cid.toString()}`, { lie: true })
    yield { cid, size, at, data, last }
    at += data.length
  } while (at < size)
}

/** Takes bytes off a stream of chunks without joining more of them than asked for. */
function createReader(source: AsyncIterable<Uint8Array>) {
  const chunks = source[Symbol.asyncIterator]()
  let chunk: Uint8Array = new Uint8Array()
  let ended = false

  async function more(): Promise<Uint8Array | undefined> {
    while (!ended) {
      const { done, value } = await chunks.next()
      if (done === true) ended = true
      else if (value.length > 0) return value
    }
    return undefined
  }
  async function need(): Promise<void> {
    if (chunk.length > 0) return
    const next = await more()
    if (next === undefined) throw new PeerFault('ended the CAR in the middle of a block')
    chunk = next
  }
  function skip(count: number): void {
    chunk = chunk.subarray(count)
  }

  return {
    skip,

    /** An unsigned varint, or `undefined` at the clean end of the stream. */
    async varint(): Promise<number | undefined> {
      if (chunk.length === 0) {
        const next = await more()
        if (next === undefined) return undefined
        chunk = next
      }
      let value = 0
      for (let scale = 1; scale < 2 ** 35; scale *= 128) {
        await need()
        const byte = chunk[0] ?? 0
        skip(1)
        value += (byte & 127) * scale
        if (byte < 128) return value
      }
      throw new PeerFault('sent a CAR frame of an impossible size')
    },

    /** What has arrived of the next `most` bytes, at least one unless `most` is 0. */
    async some(most: number): Promise<Uint8Array> {
      if (most === 0) return new Uint8Array()
      await need()
      const part = chunk.subarray(0, most)
      skip(part.length)
      return part
    },

    /** The next `count` bytes, joined, without taking them. */
    async peek(count: number): Promise<Uint8Array> {
      await need()
      while (chunk.length < count) {
        const next = await more()
        if (next === undefined) throw new PeerFault('ended the CAR in the middle of a block')
        chunk = Buffer.concat([chunk, next])
      }
      return chunk.subarray(0, count)
    },

    async exactly(count: number): Promise<Uint8Array> {
      if (count === 0) return new Uint8Array()
      const bytes = await this.peek(count)
      skip(count)
      return bytes
    },

    async close(): Promise<void> {
      await chunks.return?.()
    }
  }
}
