import { readFile } from 'node:fs/promises'
import { type Digest, splitDigest } from '../oci/digest.ts'
import { type BlobRow, blobPath, decodeBlob, sha256Of } from './blob-rows.ts'
import { cachedKey } from './cached.ts'
import { createGathered } from './gathered.ts'
import { type IndexDb, rowKey } from './index-db.ts'
import { sha256Multihash } from './leaves.ts'
import { matches } from './small-blocks.ts'

/**
 * Looks at what is here, for those who count or collect it: nothing is fetched, and it is no use of what is looked
 * at. What a look finds may be removed at any moment, so nobody may rely on it.
 */
export interface Peek {
  /**
   * Blocks out of the index, by multihash; `undefined` for those that aren't there, and for those whose bytes aren't
   * what their names say.
   */
  blocks(multihashes: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]>
  /** What the store knows of a blob. */
  blob(digest: Digest): Promise<BlobRow | undefined>
  /** Whether a blob came from elsewhere to be read here, and wasn't pushed. */
  cached(blob: BlobRow): Promise<boolean>
  /** All bytes of a blob of at most `limit`; `undefined` for a larger one, and for one that is damaged. */
  bytes(blob: BlobRow, limit: number): Promise<Uint8Array | undefined>
}

/** {@link Peek} into an index and the folder of blob files; the caller may say what becomes of a damaged block. */
export function createPeek({ db, folder }: { db: IndexDb; folder: string }): Omit<Peek, 'blocks'> & {
  blocks(multihashes: readonly Uint8Array[], damaged?: () => undefined): Promise<(Uint8Array | undefined)[]>
} {
  const get = createGathered(db)
  return {
    async blocks(multihashes, damaged = () => undefined) {
      const found = await Promise.all(multihashes.map((multihash) => get(rowKey('k', multihash))))
      return found.map((bytes, i) =>
        bytes === undefined || matches(multihashes[i] as Uint8Array, bytes) !== false ? bytes : damaged()
      )
    },

    async blob(digest) {
      let sha256 = sha256Of(digest)
      if (!digest.startsWith('sha256:')) {
        const other = await get(rowKey('d', sha256))
        if (other === undefined) return undefined
        sha256 = other
      }
      const value = await get(rowKey('b', sha256))
      return value && decodeBlob(sha256, value)
    },

    cached: async (blob) => (await get(cachedKey(sha256Of(blob.digest)))) !== undefined,

    async bytes(blob, limit) {
      if (!blob.inline && blob.size > limit) return undefined
      const multihash = sha256Multihash(sha256Of(blob.digest))
      const bytes = blob.inline
        ? await get(rowKey('k', multihash))
        : await readFile(blobPath(folder, splitDigest(blob.digest).hex)).catch(() => undefined) // for `verify` to find
      return bytes !== undefined && matches(multihash, bytes) === true ? bytes : undefined
    }
  }
}
