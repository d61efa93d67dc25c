import type { CID } from 'multiformats/cid'
import type { Digest } from '../oci/digest.ts'
import { sha256Of } from './blob-rows.ts'
import type { Block } from './dag.ts'
import { type IndexDb, type IndexWrite, prefixEnd, rowKey } from './index-db.ts'
import { holdersOf, sha256Multihash } from './leaves.ts'
import type { Peek } from './peek.ts'

/**
 * Blobs that aren't given to peers, whatever else is: they came from where not everybody may have them. A row for the
 * blob says so, and one for each node above its leaves leads to that.
 */
export interface Privates {
  /** Whether all that the block belongs to is private; of what is no part of a blob it says no. */
  covers(cid: CID): Promise<boolean>
  /** The rows that let peers have these blobs, for whoever writes them together with something else. */
  reveals(digests: readonly Digest[]): Promise<readonly IndexWrite[]>
  /** The rows that make a blob private. */
  rows(sha256: Uint8Array, nodes: readonly Block[]): readonly IndexWrite[]
  /** The rows that make one private no longer. */
  revealed(sha256: Uint8Array): readonly IndexWrite[]
}

const keyOf = (multihash: Uint8Array): Uint8Array => rowKey('p', multihash)

/** {@link Privates} in the index; where there are none, nothing is looked up. */
export async function openPrivates(db: IndexDb, peek: Pick<Peek, 'blob'>): Promise<Privates> {
  const first = rowKey('p')
  let some = (await db.keys({ gte: first, lt: prefixEnd(first), limit: 1 }).all()).length > 0
  const isPrivate = (sha256: Uint8Array): Promise<boolean> => db.has(keyOf(sha256Multihash(sha256)))

  const revealed = (sha256: Uint8Array): readonly IndexWrite[] =>
    some ? [{ type: 'del', key: keyOf(sha256Multihash(sha256)) }] : []

  return {
    revealed,

    async covers({ multihash: { bytes: multihash } }) {
      if (!some) return false
      const blob = await db.get(keyOf(multihash))
      if (blob !== undefined && (await isPrivate(blob))) return true
      let held = false
      for await (const sha256 of holdersOf(db, multihash)) {
        held = true
        if (!(await isPrivate(sha256))) return false
      }
      return held
    },

    async reveals(digests) {
      if (!some) return []
      const blobs = await Promise.all(digests.map((digest) => peek.blob(digest)))
      return blobs.flatMap((blob) => (blob === undefined ? [] : revealed(sha256Of(blob.digest))))
    },

    rows(sha256, nodes) {
      some = true
      const multihashes = [sha256Multihash(sha256), ...nodes.map(({ cid }) => cid.multihash.bytes)]
      return multihashes.map((multihash) => ({ type: 'put', key: keyOf(multihash), value: sha256 }))
    }
  }
}
