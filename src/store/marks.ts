import type { CID } from 'multiformats/cid'
import { decodeBlob } from './blob-rows.ts'
import { type IndexDb, prefixEnd, rowKey, type WriteRows } from './index-db.ts'
import { holdersOf, sha256Multihash } from './leaves.ts'

/** What is known of a marked block: whether all below it was here and was marked too. */
export type Mark = 'some' | 'all'

/**
 * Marks on blocks, by multihash; a blob's mark stands for all of its leaves. They say what belongs to trees of
 * our own, so that one look tells whether a block may be given away, however large the trees are.
 */
export interface Marks {
  /** The mark of the block itself. */
  of(cid: CID): Promise<Mark | undefined>
  /** Whether the block is marked, or is a leaf of a blob that is. */
  covers(cid: CID): Promise<boolean>
  /** Sets marks durably, all at once. */
  set(marks: Iterable<[multihash: Uint8Array, mark: Mark]>): Promise<void>
  /** The blob whose DAG has `root`, one of whose leaves is `leaf`: the multihash that its mark is set on. */
  blobOf(root: CID, leaf: CID): Promise<Uint8Array | undefined>
  /** The roots of all blobs, as they are read, and whether they are marked. Blobs that come meanwhile may be left out. */
  blobs(): AsyncGenerator<{ cid: CID; marked: boolean }>
}

/** Rows that are read at once: a reader that takes hours must not hold the index's state of its beginning. */
const PAGE = 500

const SOME = Buffer.from([0])
const ALL = Buffer.from([1])

/** {@link Marks} in the index. */
export function createMarks(db: IndexDb, write: WriteRows): Marks {
  const keyOf = (multihash: Uint8Array) => rowKey('o', multihash)
  return {
    async of(cid) {
      const value = await db.get(keyOf(cid.multihash.bytes))
      return value && (value[0] === 1 ? 'all' : 'some')
    },

    async covers(cid) {
      const multihash = cid.multihash.bytes
      if (await db.has(keyOf(multihash))) return true
      for await (const sha256 of holdersOf(db, multihash)) {
        if (await db.has(keyOf(sha256Multihash(sha256)))) return true
      }
      return false
    },

    async set(marks) {
      await write(
        [...marks].map(([multihash, mark]) => ({
          type: 'put',
          key: keyOf(multihash),
          value: mark === 'all' ? ALL : SOME
        }))
      )
    },

    async blobOf(root, leaf) {
      for await (const sha256 of holdersOf(db, leaf.multihash.bytes)) {
        const row = await db.get(rowKey('b', sha256))
        if (row === undefined) continue
        if (decodeBlob(sha256, row).cid.equals(root)) return sha256Multihash(sha256)
      }
      return undefined
    },

    async *blobs() {
      const first = rowKey('b')
      let range: { gte: Uint8Array } | { gt: Uint8Array } = { gte: first }
      for (;;) {
        const page: [Uint8Array, Uint8Array][] = await db
          .iterator({ ...range, lt: prefixEnd(first), limit: PAGE })
          .all()
        for (const [key, value] of page) {
          const sha256 = key.subarray(1)
          yield {
            cid: decodeBlob(sha256, value).cid,
            marked: await db.has(keyOf(sha256Multihash(sha256)))
          }
        }
        const last: Uint8Array | undefined = page.at(-1)?.[0]
        if (last === undefined || page.length < PAGE) return
        range = { gt: last }
      }
    }
  }
}
