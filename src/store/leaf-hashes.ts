import { decode } from '@ipld/dag-pb'
import { LRUCache } from 'lru-cache'
import type { CID } from 'multiformats/cid'
import { LEAF_SIZE, LINKS_PER_NODE, nodeCid } from './dag.ts'

/** The sha256 of a blob's leaves, out of the nodes above them. */
export interface LeafHashes {
  /**
   * The sha256 of the leaf at `index` (32 bytes) of a blob of `size` bytes whose DAG has the root `cid`;
   * `undefined` when a node on the way isn't here.
   */
  of(blob: { cid: CID; size: number }, index: number): Promise<Uint8Array | undefined>
}

/** How many nodes' links are kept: 32 KiB each where they are full, which are the leaves of a gigabyte. */
const KEPT = 64

/** Bytes of a sha256. */
const SHA256 = 32

/** How many leaves a blob of `size` bytes has. */
export function leafCount(size: number): number {
  return Math.max(1, Math.ceil(size / LEAF_SIZE))
}

/** @param node gives a node's bytes as its CID says they are, or `undefined` */
export function createLeafHashes(node: (cid: CID) => Promise<Uint8Array | undefined>): LeafHashes {
  const known = new LRUCache<string, Uint8Array>({ max: KEPT })

  /** The hashes in the links of a node, one behind the other. */
  async function linksOf(cid: CID): Promise<Uint8Array | undefined> {
    const key = cid.toString()
    const hit = known.get(key)
    if (hit !== undefined) return hit
    const bytes = await node(cid)
    if (bytes === undefined) return undefined
    const links = Buffer.concat(decode(bytes).Links.map(({ Hash }) => Hash.multihash.digest))
    known.set(key, links)
    return links
  }

  return {
    async of({ cid, size }, index) {
      const count = leafCount(size)
      if (count === 1) return cid.multihash.digest
      // how many leaves lie below one link, from the root's down
      let below = 1
      while (below * LINKS_PER_NODE < count) below *= LINKS_PER_NODE
      let at = cid
      for (let rest = index; ; below /= LINKS_PER_NODE) {
        const place = Math.floor(rest / below) * SHA256
        const hash = (await linksOf(at))?.subarray(place, place + SHA256)
        if (hash?.length !== SHA256) return undefined
        if (below === 1) return hash
        at = nodeCid(hash)
        rest %= below
      }
    }
  }
}
