import { CID } from 'multiformats/cid'
import { MAX_BLOCK } from './blocks.ts'
import { MAX_CID, MAX_HEADER, VERSION_1 } from './car.ts'
import type { BodyIntake } from './intake.ts'
import { PeerFault } from './wants.ts'

/** Where the blocks of a CAR go. */
export interface CarBlocksTo {
  /** Memory for a block of `size` bytes, `null` to pass it over, `undefined` when it can't be said yet. */
  begin(cid: CID, size: number): Uint8Array | null | undefined
  /** All bytes of the block that began last are in its memory; nothing is verified. */
  end(): void
}

/** How much is read where frames begin, in bytes: a head, and little of the block behind it. */
const AT_HEADS = 256

/** Passed over blocks go there, all of them. */
const nowhere = Buffer.allocUnsafeSlow(64 * 1024)

/** The bytes of a CARv1; {@link CarIntake.closed} is to be called at their end. */
export interface CarIntake extends BodyIntake {
  /** @throws PeerFault in the middle of a block */
  closed(): void
}

/**
 * Reads a CARv1 and puts its blocks where they are wanted, with no byte in between. It looks at nothing but
 * the framing: whoever takes the blocks has to hash them.
 *
 * @see https://ipld.io/specs/transport/car/carv1/
 */
export function createCarIntake(to: CarBlocksTo): CarIntake {
  const heads = Buffer.allocUnsafeSlow(MAX_HEADER + AT_HEADS)
  let start = 0
  let filled = 0
  let header = false
  /** The frame whose block can't be taken yet. */
  let frame: { cid: CID; size: number } | undefined
  /** Where the block goes, how much of it there is, and how much is left. */
  let block: Uint8Array | null = null
  let at = 0
  let left = 0
  let direct = false

  function varint(): number | undefined {
    let value = 0
    let scale = 1
    for (let i = start; i < filled; i++, scale *= 128) {
      if (scale >= 2 ** 35) break
      const byte = heads[i] as number
      value += (byte & 127) * scale
      if (byte < 128) {
        start = i + 1
        return value
      }
    }
    if (scale >= 2 ** 35) throw new PeerFault('sent a CAR frame of an impossible size')
    return undefined
  }

  /** Whether the header has been read. */
  function readHeader(): boolean {
    const before = start
    const size = varint()
    if (size === undefined) return false
    if (size > MAX_HEADER) throw new PeerFault(`sent a CAR header of ${size} bytes`)
    if (filled - start < size) {
      start = before
      return false
    }
    if (!heads.subarray(start, start + size).includes(VERSION_1))
      throw new PeerFault('sent something that is no CAR of version 1')
    start += size
    return (header = true)
  }

  /** Whether a frame's head has been read. */
  function readFrame(): boolean {
    const before = start
    const length = varint()
    if (length === undefined) return false
    if (length > MAX_BLOCK + MAX_CID) throw new PeerFault(`sent a CAR frame of ${length} bytes`)
    const most = Math.min(length, MAX_CID)
    try {
      // a copy, for a CID is a view of what it was decoded from
      const [cid] = CID.decodeFirst(Uint8Array.from(heads.subarray(start, Math.min(filled, start + most))))
      start += cid.bytes.length
      frame = { cid, size: length - cid.bytes.length }
      return true
    } catch (cause) {
      if (filled - start >= most) throw new PeerFault('sent a CAR frame without a CID', { cause })
      start = before
      return false
    }
  }

  function took(count: number): void {
    at += count
    left -= count
    if (left === 0) to.end()
  }

  /** One step with what is in `heads`; whether there may be another. */
  function step(): boolean {
    if (left > 0) {
      const part = heads.subarray(start, Math.min(filled, start + left))
      if (part.length === 0) return false
      block?.set(part, at)
      start += part.length
      took(part.length)
      return true
    }
    if (frame !== undefined) {
      const memory = to.begin(frame.cid, frame.size)
      if (memory === undefined) return false
      block = memory
      at = 0
      left = frame.size
      frame = undefined
      if (left === 0) to.end()
      return true
    }
    if (start === filled) return false
    return header ? readFrame() : readHeader()
  }

  function drain(): void {
    while (step()) {
      // each step says whether another is possible
    }
    if (start === filled) start = filled = 0
  }

  return {
    room() {
      drain()
      if (frame !== undefined) return undefined
      direct = left > 0
      if (direct) return block === null ? nowhere.subarray(0, left) : block.subarray(at, at + left)
      if (start > 0) {
        heads.copyWithin(0, start, filled)
        filled -= start
        start = 0
      }
      return heads.subarray(filled, Math.min(heads.length, filled + AT_HEADS))
    },

    took(count) {
      if (direct) return took(count)
      filled += count
      return drain()
    },

    drained() {
      drain()
      return frame === undefined
    },

    closed() {
      drain()
      if (left > 0 || frame !== undefined || filled > start || !header)
        throw new PeerFault(header ? 'ended the CAR in the middle of a block' : 'sent an empty CAR')
    }
  }
}
