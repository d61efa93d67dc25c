import { createHash } from 'node:crypto'
import { rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import type { Digest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import type { BlobReader } from './blob-reader.ts'
import {
  aliasRow,
  type BlobInfo,
  type BlobRow,
  type BlobRows,
  blobPath,
  blobRow,
  digestOfSha256,
  rowsOfBlob,
  type Staged,
  sha256Of
} from './blob-rows.ts'
import type { BlobWriter, Written } from './blob-writer.ts'
import { cachedKey, cachedRow } from './cached.ts'
import { fileDag } from './dag.ts'
import { makeFolder, NoRoomError, syncFolder } from './files.ts'
import type { IndexWrite, WriteRows } from './index-db.ts'
import { encodeLeaf, leafKey } from './leaves.ts'
import type { Locks } from './locks.ts'
import type { Privates } from './privates.ts'
import { recordKey } from './records.ts'
import type { Uses } from './uses.ts'

/** A part of a blob: from `start` to `end`, both included, in bytes. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/**
 * Verified blobs by digest. A blob is visible whole or not at all; one that was committed survives
 * `kill -9` and loss of the page cache. Each digest is kept once, however often it comes.
 */
export interface Blobs {
  stat(digest: Digest): Promise<BlobInfo | undefined>
  /**
   * The bytes, as a stream with a bounded window.
   *
   * @throws {RegistryError} UNAVAILABLE when they are not what was kept, and so may the stream: never wrong bytes
   */
  read(blob: BlobInfo, range?: ByteRange): Promise<Readable>
  /** All bytes of a blob that is at most `limit` long, for manifests and configs. */
  readSmall(blob: BlobInfo, limit: number): Promise<Uint8Array>
  /**
   * Makes bytes of at most {@link INLINE_LIMIT}, whose digest is `digest`, a blob for whoever writes its rows
   * in one step with something else.
   */
  stage(bytes: Uint8Array, digest: Digest, also?: { isPrivate?: boolean }): Promise<Staged>
  /**
   * Ends a body and keeps it if its digest is `expected`. `notes` are records that become durable in the
   * same step, so that a blob and what it was received for cost one sync; `onVerified` is called as soon as
   * the digest has turned out right, before anything is synced.
   *
   * @throws {RegistryError} DIGEST_INVALID, STORAGE_FULL; nothing is kept then
   */
  commit(
    writer: BlobWriter,
    expected: Digest,
    also?: {
      notes?: readonly [key: string, value: Uint8Array][]
      onVerified?: () => void
      /** It comes from elsewhere to be read here, and may go again when room is needed; it wasn't pushed. */
      cached?: boolean
      /** Peers may not have it, unless they could before: see {@link Privates}. */
      isPrivate?: boolean
    }
  ): Promise<BlobInfo>
  /** Rows that make blobs of the store pushed ones, if they were cached; for whoever writes them with something else. */
  pushedNow(digests: readonly Digest[]): Promise<readonly IndexWrite[]>
  /** Called with every blob that was committed as cached. */
  onCached(listener: (blob: BlobInfo) => void): void
}

/** Blobs up to this many bytes live in the index, where sixteen of them cost one sync instead of sixteen. */
export const INLINE_LIMIT = 128 * 1024

/** Makes the folders of blob files, durably, once. */
export async function prepareBlobFolders(folder: string): Promise<void> {
  // The last one is there only if the others are.
  const last = await stat(join(folder, 'ff')).catch(() => undefined)
  if (last !== undefined) return
  for (let i = 0; i < 256; i++) await makeFolder(join(folder, i.toString(16).padStart(2, '0')))
  await syncFolder(folder)
}

/** {@link Blobs} over an index and a folder prepared by {@link prepareBlobFolders}. */
export function createBlobs(options: {
  rows: BlobRows
  uses: Uses
  write: WriteRows
  reader: BlobReader
  locks: Locks
  privates: Pick<Privates, 'rows' | 'revealed'>
  folder: string
}): Blobs & Pick<BlobRows, 'forget'> {
  const { rows, uses, write, reader, locks, privates, folder } = options
  const listeners: ((blob: BlobInfo) => void)[] = []
  /** The rows of a blob that is pushed though it is here already: it was pushed now, whatever it was before. */
  const pushedAgain = (found: BlobRow): IndexWrite[] => [
    blobRow({ ...found, at: Date.now() }),
    { type: 'del', key: cachedKey(sha256Of(found.digest)) }
  ]

  async function keep(
    writer: BlobWriter,
    body: Written,
    expected: Digest,
    notes: readonly [key: string, value: Uint8Array][],
    { cached, isPrivate }: { cached: boolean; isPrivate: boolean }
  ): Promise<BlobInfo> {
    const sha256 = Buffer.from(body.sha256).toString('hex')
    const extra = body.foreign.map((leaf) => put(leafKey(leaf.multihash, body.sha256), encodeLeaf(leaf)))
    if (expected.startsWith('sha512:')) extra.push(aliasRow(expected, body.sha256))
    for (const [key, value] of notes) extra.push(put(recordKey(key), value))

    // what has come by another way as well, anybody may have
    if (!isPrivate) extra.push(...privates.revealed(body.sha256))

    const existing = await rows.find(`sha256:${sha256}`)
    if (isPrivate && existing === undefined)
      extra.push(...privates.rows(body.sha256, fileDag(body.leaves, body.size).nodes))
    if (existing !== undefined && (await reader.intact(existing))) {
      await writer.abort()
      if (!cached) extra.push(...pushedAgain(existing))
      if (extra.length > 0) await write(extra)
      return infoOf(existing)
    }
    extra.push(
      cached && existing === undefined
        ? cachedRow(body.sha256, { size: body.size, used: Date.now() })
        : { type: 'del', key: cachedKey(body.sha256) }
    )
    const inline = await writer.small(INLINE_LIMIT)
    if (inline !== undefined) {
      const staged = rowsOfBlob(body, inline, extra)
      // its file, if it has one, goes in any case
      try {
        await write(staged.rows)
      } finally {
        await writer.abort()
      }
      return staged.info
    }
    const path = blobPath(folder, sha256)
    await writer.moveTo(path)
    const staged = rowsOfBlob(body, undefined, extra)
    let refused = true
    try {
      await syncFolder(join(path, '..'))
      refused = false
      await write(staged.rows)
    } catch (error) {
      // Rows that failed half-way may be there after the next start, and then need the file.
      refused ||= error instanceof NoRoomError
      if (refused && existing === undefined) await rm(path, { force: true }).catch(() => undefined) // then a collection does it
      throw error
    }
    reader.written(staged.info)
    return staged.info
  }

  return {
    async stat(digest) {
      const found = await rows.find(digest)
      return found && infoOf(found)
    },

    async read(blob, range) {
      const start = range?.start ?? 0
      const end = range?.end ?? blob.size - 1
      // It is checked as it is read, for which more than its file is needed: it stays until then.
      const release = uses.hold(blob.digest)
      try {
        const found = await rows.find(blob.digest)
        if (found === undefined) throw gone(blob)
        return (await reader.read(found, start, end)).once('close', release)
      } catch (error) {
        release()
        throw error
      }
    },

    async readSmall(blob, limit) {
      if (blob.size > limit)
        throw new RegistryError(
          'REQUEST_TOO_LARGE',
          `${blob.digest} has ${blob.size} bytes, more than the ${limit} that fit here`
        )
      const found = await rows.find(blob.digest)
      if (found === undefined) throw gone(blob)
      if (found.inline) return reader.inline(found)
      const chunks: Uint8Array[] = []
      for await (const chunk of await this.read(blob)) chunks.push(chunk as Uint8Array)
      return Buffer.concat(chunks)
    },

    async stage(bytes, digest, { isPrivate = false } = {}) {
      if (bytes.length > INLINE_LIMIT) throw new RangeError(`at most ${INLINE_LIMIT} bytes can be staged`)
      const existing = await rows.find(digest)
      if (existing !== undefined && (await reader.intact(existing)))
        return {
          info: infoOf(existing),
          rows: [...pushedAgain(existing), ...(isPrivate ? [] : privates.revealed(sha256Of(existing.digest)))]
        }
      const sha256 = createHash('sha256').update(bytes).digest()
      // a manifest by its sha512 may be here by its sha256
      await uses.expect([`sha256:${sha256.toString('hex')}`])
      const alias = digest.startsWith('sha512:') ? [aliasRow(digest, sha256)] : []
      return rowsOfBlob({ size: bytes.length, sha256, leaves: [sha256] }, bytes, [
        ...alias,
        ...(isPrivate ? privates.rows(sha256, []) : privates.revealed(sha256)),
        { type: 'del', key: cachedKey(sha256) }
      ])
    },

    commit(writer, expected, { notes = [], onVerified, cached = false, isPrivate = false } = {}) {
      return uses.during(async () => {
        const body = await writer.finish(expected)
        onVerified?.()
        // not while it is being set aside as damaged
        const info = await locks.run(digestOfSha256(body.sha256), () =>
          keep(writer, body, expected, notes, { cached, isPrivate })
        )
        if (cached) for (const listener of listeners) listener(info)
        return info
      })
    },

    async pushedNow(digests) {
      const found = await Promise.all(digests.map((digest) => rows.find(digest)))
      return found.flatMap((row) => (row === undefined ? [] : pushedAgain(row)))
    },

    onCached: (listener) => void listeners.push(listener),

    forget(digest) {
      rows.forget(digest)
      reader.forget(digest)
    }
  }
}

function infoOf({ digest, size, cid, dagSize }: BlobRow): BlobInfo {
  return { digest, size, cid, dagSize }
}

function put(key: Uint8Array, value: Uint8Array): IndexWrite {
  return { type: 'put', key, value }
}

/** What a reader gets who comes just after a blob was removed. */
function gone(blob: BlobInfo): RegistryError {
  return new RegistryError('BLOB_UNKNOWN', `${blob.digest} is not here any more`, {
    detail: { digest: blob.digest }
  })
}
