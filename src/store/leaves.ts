import { type ReadableFile, readFully } from './files.ts'
import { type IndexDb, prefixEnd, rowKey } from './index-db.ts'

/** Where a leaf's bytes are in the file of a blob, and what stands around them in its block. */
export interface LeafPlace {
  readonly offset: number
  readonly length: number
  readonly prefix?: Uint8Array
  readonly suffix?: Uint8Array
}

const SHA256_MULTIHASH = Buffer.from([0x12, 0x20])

/** The multihash of a sha256 (32 bytes). */
export function sha256Multihash(sha256: Uint8Array): Uint8Array {
  return Buffer.concat([SHA256_MULTIHASH, sha256])
}

/**
 * The row of a leaf. It ends in the blob that holds the leaf, because several blobs may, and each of
 * them must be able to go without taking the leaf from the others.
 */
export function leafKey(multihash: Uint8Array, sha256: Uint8Array): Uint8Array {
  return rowKey('l', multihash, sha256)
}

/** The value of a leaf's row: offset (8 bytes), length (4), length of the prefix (2), prefix, suffix. */
export function encodeLeaf(leaf: LeafPlace): Uint8Array {
  const prefix = leaf.prefix ?? new Uint8Array()
  const head = Buffer.alloc(14)
  head.writeBigUInt64BE(BigInt(leaf.offset), 0)
  head.writeUInt32BE(leaf.length, 8)
  head.writeUInt16BE(prefix.length, 12)
  return Buffer.concat([head, prefix, leaf.suffix ?? new Uint8Array()])
}

/** The inverse of {@link encodeLeaf}. */
export function decodeLeaf(value: Uint8Array): Required<LeafPlace> {
  const view = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  const prefixEnd = 14 + view.readUInt16BE(12)
  return {
    offset: Number(view.readBigUInt64BE(0)),
    length: view.readUInt32BE(8),
    prefix: view.subarray(14, prefixEnd),
    suffix: view.subarray(prefixEnd)
  }
}

/** How many blobs with the same leaf are looked at to find a certain one (zeros are in many). */
const MAX_HOLDERS = 64

/** The blobs that hold a leaf, by their sha256. */
export async function* holdersOf(db: IndexDb, multihash: Uint8Array): AsyncGenerator<Uint8Array> {
  const from = rowKey('l', multihash)
  for await (const key of db.keys({ gte: from, lt: prefixEnd(from), limit: MAX_HOLDERS })) {
    yield key.subarray(key.length - 32)
  }
}

/** The blobs that are said to hold a leaf, and where in them: the rows of some that were just removed may still be there. */
export async function* placesOf(
  db: IndexDb,
  multihash: Uint8Array
): AsyncGenerator<{ sha256: Uint8Array; place: Required<LeafPlace> }> {
  const from = rowKey('l', multihash)
  for await (const [key, value] of db.iterator({ gte: from, lt: prefixEnd(from), limit: MAX_HOLDERS })) {
    yield { sha256: key.subarray(key.length - 32), place: decodeLeaf(value) }
  }
}

/** A leaf's block, put together from what `file` holds; `undefined` when that is too short for it. */
export async function readLeaf(
  file: Pick<ReadableFile, 'read'>,
  place: Required<LeafPlace>
): Promise<Uint8Array | undefined> {
  const { prefix, suffix, length } = place
  const block = Buffer.allocUnsafe(prefix.length + length + suffix.length)
  const content = block.subarray(prefix.length, prefix.length + length)
  if ((await readFully(file, content, place.offset)) < length) return undefined
  block.set(prefix, 0)
  block.set(suffix, prefix.length + length)
  return block
}
