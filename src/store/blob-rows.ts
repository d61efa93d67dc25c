import { join } from 'node:path'
import { LRUCache } from 'lru-cache'
import { CID } from 'multiformats/cid'
import { type Digest, splitDigest } from '../oci/digest.ts'
import type { Written } from './blob-writer.ts'
import { fileDag, LEAF_SIZE } from './dag.ts'
import { type IndexDb, type IndexWrite, rowKey } from './index-db.ts'
import { encodeLeaf, leafKey, sha256Multihash } from './leaves.ts'
import type { Uses } from './uses.ts'

/** A blob that the store has. */
export interface BlobInfo {
  /** Its sha256 digest, which names its file; the blob may have been asked for by another digest. */
  readonly digest: Digest
  /** In bytes. */
  readonly size: number
  /** The root of its UnixFS DAG in the profile of `dag.ts`. */
  readonly cid: CID
  /** The size of that DAG: content and nodes, in bytes. */
  readonly dagSize: number
}

/** What a blob's row says. */
export interface BlobRow extends BlobInfo {
  /** Whether its bytes are in the index rather than in a file of their own. */
  readonly inline: boolean
  /** When it was pushed or pulled last, in epoch ms. */
  readonly at: number
}

/** A blob that is not visible before its rows are written. */
export interface Staged {
  readonly info: BlobInfo
  readonly rows: readonly IndexWrite[]
}

/** Where the file of a blob is. */
export function blobPath(folder: string, sha256: string): string {
  return join(folder, sha256.slice(0, 2), sha256)
}

/** The sha256 (32 bytes) in a sha256 digest. */
export function sha256Of(digest: Digest): Uint8Array {
  return Buffer.from(splitDigest(digest).hex, 'hex')
}

/** The digest that names 32 bytes of sha256. */
export function digestOfSha256(sha256: Uint8Array): Digest {
  return `sha256:${Buffer.from(sha256.buffer, sha256.byteOffset, sha256.length).toString('hex')}`
}

/** Reads the row of the blob that has this sha256. */
export function decodeBlob(sha256: Uint8Array, value: Uint8Array): BlobRow {
  const { size, cid, dagSize, inline, at } = JSON.parse(Buffer.from(value).toString()) as {
    size: number
    cid: string
    dagSize: number
    inline: boolean
    at?: number
  }
  return { digest: digestOfSha256(sha256), size, cid: CID.parse(cid), dagSize, inline, at: at ?? 0 }
}

/** What a sweep over all rows asks of one: its CID, which takes longer to read than the rest, only where it is needed. */
export function peekBlob(
  value: Uint8Array
): Pick<BlobRow, 'size' | 'inline' | 'at'> & { readonly cid: () => CID } {
  const {
    size,
    cid,
    inline,
    at = 0
  } = JSON.parse(Buffer.from(value.buffer, value.byteOffset, value.length).toString('latin1')) as {
    size: number
    cid: string
    inline: boolean
    at?: number
  }
  return { size, inline, at, cid: () => CID.parse(cid) }
}

/** The row that makes a blob visible. */
export function blobRow(blob: BlobRow): IndexWrite {
  const { size, cid, dagSize, inline, at } = blob
  const json = JSON.stringify({ size, cid: cid.toString(), dagSize, inline, at })
  return put(rowKey('b', sha256Of(blob.digest)), Buffer.from(json))
}

/** The row that says which blob has a digest of another algorithm. */
export function aliasRow(alias: Digest, sha256: Uint8Array): IndexWrite {
  return put(rowKey('d', Buffer.from(splitDigest(alias).hex, 'hex')), sha256)
}

/** All rows of a new blob; they must become visible at once. */
export function rowsOfBlob(
  body: Pick<Written, 'size' | 'sha256' | 'leaves'>,
  inline: Uint8Array | undefined,
  extra: readonly IndexWrite[]
): Staged {
  const { root, nodes, dagSize } = fileDag(body.leaves, body.size)
  const info = { digest: digestOfSha256(body.sha256), size: body.size, cid: root, dagSize }
  const rows: IndexWrite[] = [
    blobRow({ ...info, inline: inline !== undefined, at: Date.now() }),
    ...nodes.map((node) => put(rowKey('k', node.cid.multihash.bytes), node.bytes))
  ]
  if (inline !== undefined) rows.push(put(rowKey('k', sha256Multihash(body.sha256)), inline))
  else {
    body.leaves.forEach((leaf, i) => {
      const offset = i * LEAF_SIZE
      const length = Math.min(LEAF_SIZE, body.size - offset)
      rows.push(put(leafKey(sha256Multihash(leaf), body.sha256), encodeLeaf({ offset, length })))
    })
  }
  rows.push(...extra)
  return { info, rows }
}

/** Finds blobs' rows, and keeps those used lately in memory. */
export interface BlobRows {
  /** The blob with a digest. Says to {@link Uses} that it is about to be relied on, and waits for a removal. */
  find(digest: Digest): Promise<BlobRow | undefined>
  /** The blob is gone: nothing of it stays in memory. */
  forget(digest: Digest): void
}

export function createBlobRows(db: IndexDb, uses: Uses): BlobRows {
  const known = new LRUCache<string, BlobRow>({ max: 20_000 })
  const aliases = new LRUCache<string, Digest>({ max: 20_000 })

  async function sha256Digest(digest: Digest): Promise<Digest | undefined> {
    const { algorithm, hex } = splitDigest(digest)
    if (algorithm === 'sha256') return digest
    const hit = aliases.get(digest)
    if (hit !== undefined) return hit
    const sha256 = await db.get(rowKey('d', Buffer.from(hex, 'hex')))
    if (sha256 === undefined) return undefined
    const found = digestOfSha256(sha256)
    aliases.set(digest, found)
    return found
  }

  return {
    async find(asked) {
      const digest = asked.startsWith('sha256:') ? asked : await sha256Digest(asked)
      if (digest === undefined) return undefined
      uses.touch(digest)
      const removal = uses.settled(digest)
      if (removal !== undefined) await removal
      const hit = known.get(digest)
      if (hit !== undefined) return hit
      const sha256 = sha256Of(digest)
      const value = await db.get(rowKey('b', sha256))
      if (value === undefined) return undefined
      const found = decodeBlob(sha256, value)
      known.set(digest, found)
      return found
    },
    forget(digest) {
      known.delete(digest)
      aliases.delete(digest)
    }
  }
}

function put(key: Uint8Array, value: Uint8Array): IndexWrite {
  return { type: 'put', key, value }
}
