import { createHash } from 'node:crypto'
import { encode, prepare } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { create as createMultihash } from 'multiformats/hashes/digest'

/**
 * The UnixFS profile that Seaway writes: `unixfs-v1-2025`, so that the same bytes have the same CID
 * wherever they were added.
 *
 * @see https://specs.ipfs.tech/ipips/ipip-0499/
 */
export const LEAF_SIZE = 1024 * 1024
export const LINKS_PER_NODE = 1024

const DAG_PB = 0x70
const SHA2_256 = 0x12

/** A block: its CID and its bytes. */
export interface Block {
  readonly cid: CID
  readonly bytes: Uint8Array
}

/** The CID of a raw block whose bytes have this sha256 (32 bytes). A CID, worked out from a digest: not the digest. */
export function rawCid(sha256: Uint8Array): CID {
  return CID.createV1(raw.code, createMultihash(SHA2_256, sha256))
}

/** The CID of a dag-pb node whose bytes have this sha256 (32 bytes). */
export function nodeCid(sha256: Uint8Array): CID {
  return CID.createV1(DAG_PB, createMultihash(SHA2_256, sha256))
}

/** Encodes a dag-pb node and works out its CIDv1. */
export function dagPbBlock(node: Parameters<typeof prepare>[0]): Block {
  const bytes = encode(prepare(node))
  const sha256 = new Uint8Array(createHash('sha256').update(bytes).digest())
  return { bytes, cid: CID.createV1(DAG_PB, createMultihash(SHA2_256, sha256)) }
}

/**
 * The DAG above the leaves of a file of `size` bytes: `leaves` are the sha256 of each
 * {@link LEAF_SIZE} piece in order. A file of one leaf is that raw leaf alone. `dagSize` counts content and nodes.
 */
export function fileDag(
  leaves: readonly Uint8Array[],
  size: number
): { root: CID; nodes: Block[]; dagSize: number } {
  let level = leaves.map((sha256, i) => {
    const bytes = Math.min(LEAF_SIZE, size - i * LEAF_SIZE)
    return { cid: rawCid(sha256), bytes, tsize: bytes }
  })
  const nodes: Block[] = []
  while (level.length > 1) {
    const above: typeof level = []
    for (let at = 0; at < level.length; at += LINKS_PER_NODE) {
      const children = level.slice(at, at + LINKS_PER_NODE)
      const file = new UnixFS({ type: 'file', blockSizes: children.map((child) => BigInt(child.bytes)) })
      const block = dagPbBlock({
        Data: file.marshal(),
        Links: children.map((child) => ({ Name: '', Hash: child.cid, Tsize: child.tsize }))
      })
      nodes.push(block)
      above.push({
        cid: block.cid,
        bytes: children.reduce((sum, child) => sum + child.bytes, 0),
        tsize: block.bytes.length + children.reduce((sum, child) => sum + child.tsize, 0)
      })
    }
    level = above
  }
  const root = level[0]
  if (root === undefined) throw new Error('a file has at least one leaf')
  return { root: root.cid, nodes, dagSize: root.tsize }
}
