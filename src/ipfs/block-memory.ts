import { createHash } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import { LEAF_SIZE } from '../store/dag.ts'
import { leafSha256 } from '../store/hash-thread.ts'
import { borrowLeaf, returnLeaf } from '../store/leaf-pool.ts'
import { malformed } from './unixfs.ts'

const RAW = 0x55
const SHA2_256 = 0x12
const IDENTITY = 0

/** Blocks of at least this size are hashed on the other thread, if it has their memory. */
const HASHED_THERE = 128 * 1024

/** Memory for the blocks of a file, and what looks whether they are right. */
export interface BlockMemory {
  /** Room for a block of `size` bytes. */
  room(cid: CID, size: number): Uint8Array
  /** The block isn't used any more; its memory is the next one's. */
  giveBack(block: Uint8Array): void
  /** Whether a block is what its CID says. @throws RegistryError for a hash that no block here has */
  verify(cid: CID, block: Uint8Array): boolean | Promise<boolean>
}

/** Makes it: leaves lie in buffers of the store's pool, which go round and can be hashed by its thread. */
export function createBlockMemory(): BlockMemory {
  const borrowed = new WeakMap<Uint8Array, Buffer>()

  return {
    room(cid, size) {
      // only raw blocks are given back: of others, parts are kept
      if (cid.code !== RAW || size < LEAF_SIZE / 4 || size > LEAF_SIZE) return Buffer.allocUnsafeSlow(size)
      const leaf = borrowLeaf()
      const block = size === LEAF_SIZE ? leaf : leaf.subarray(0, size)
      borrowed.set(block, leaf)
      return block
    },

    giveBack(block) {
      const leaf = borrowed.get(block)
      if (leaf === undefined) return
      borrowed.delete(block)
      returnLeaf(leaf)
    },

    verify(cid, block) {
      const { code, digest } = cid.multihash
      if (code === IDENTITY) return Buffer.from(block).equals(digest)
      if (code !== SHA2_256) throw malformed(cid, `has the hash 0x${code.toString(16)}`)
      const leaf = borrowed.get(block)
      const there = leaf && block.length >= HASHED_THERE ? leafSha256(leaf, block.length) : undefined
      if (there !== undefined) return there.then((sha256) => Buffer.from(sha256).equals(digest))
      return createHash('sha256').update(block).digest().equals(digest)
    }
  }
}
