import { fstatSync } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import type { Digest } from '../oci/digest.ts'
import { type BlobRow, blobPath, decodeBlob, digestOfSha256, rowsOfBlob, sha256Of } from './blob-rows.ts'
import { cachedKey } from './cached.ts'
import { hashPart, hashWhole } from './check-thread.ts'
import { identityOf } from './checked-files.ts'
import { LEAF_SIZE } from './dag.ts'
import { DamagedError, readFailure } from './damage.ts'
import { type IndexDb, type IndexWrite, rowKey, type WriteRows } from './index-db.ts'
import { type LeafHashes, leafCount } from './leaf-hashes.ts'
import { leafKey, sha256Multihash } from './leaves.ts'
import type { Quarantine, SetAside } from './quarantine.ts'
import { matches } from './small-blocks.ts'

/** What came of checking one thing. */
export type Verdict =
  | { readonly kind: 'gone' | 'sound' }
  /** Its bytes are right; what the index says of them was wrong, and was written anew. */
  | { readonly kind: 'mended'; readonly what: string }
  | { readonly kind: 'aside'; readonly entry: SetAside }

/** How a check goes about it. */
export interface CheckOptions {
  readonly signal: AbortSignal
  readonly foundBy: SetAside['foundBy']
  /** Awaited after so many bytes were read: where the rate is kept and progress is told. */
  readonly pace?: (bytes: number) => Promise<void>
}

/** What a blob's file held when it was read. It stays open until {@link close}, so that no later file passes for it. */
export interface FileReading {
  /** What it is as a whole, the sha256 of its leaves, and where those are that aren't what was kept; or what is wrong. */
  readonly found:
    | { size: number; sha256: Uint8Array; leaves: readonly Uint8Array[]; bad: readonly number[] }
    | string
  /** Whether it still is the blob's file, unchanged. */
  current(): Promise<boolean>
  close(): Promise<void>
}

/** Reads one blob against all that names it. */
export interface BlobCheck {
  /**
   * A blob that is kept in the index; `row` is what is left of its row. Whoever calls sees to it that nothing else
   * changes the blob meanwhile.
   */
  inline(digest: Digest, row: BlobRow | undefined, options: CheckOptions): Promise<Verdict>
  /** Reads the file of a blob that has one, which takes long. */
  read(digest: Digest, row: BlobRow | undefined, options: CheckOptions): Promise<FileReading>
  /** What follows from that, which takes no reading; for callers as those of {@link inline}. */
  judge(
    digest: Digest,
    row: BlobRow | undefined,
    reading: FileReading,
    options: CheckOptions
  ): Promise<Verdict>
  /** Where a damaged file differs from the blob that it was, leaf by leaf. */
  differences(row: BlobRow, path: string): Promise<number[]>
}

/** What a check works with. */
export interface BlobCheckParts {
  readonly db: IndexDb
  readonly write: WriteRows
  readonly folder: string
  readonly hashes: LeafHashes
  readonly quarantine: Quarantine
  /** Nothing of the blob may stay in memory. */
  readonly forget: (digest: Digest) => void
}

/** How many damaged parts of a blob are listed. */
export const MAX_PIECES = 1000

export function createBlobCheck(parts: BlobCheckParts): BlobCheck {
  const { db, write, folder, hashes, quarantine, forget } = parts

  /** Rewrites what the index should say of a blob whose bytes are right. */
  async function mend(
    row: BlobRow | undefined,
    body: { size: number; sha256: Uint8Array; leaves: readonly Uint8Array[] },
    inline: Uint8Array | undefined
  ): Promise<Verdict> {
    const { rows } = rowsOfBlob(body, inline, [])
    const wrong: IndexWrite[] = []
    for (const change of rows) {
      if (change.type !== 'put') continue
      const value = await db.get(change.key)
      const own = change.key[0] === 0x62 // 'b', whose time may differ
      if (
        own
          ? !sameBlob(row, body, inline, change.value)
          : value === undefined || !sameBytes(value, change.value)
      )
        wrong.push(change)
    }
    if (wrong.length === 0) return { kind: 'sound' }
    await write(wrong)
    forget(digestOfSha256(body.sha256))
    return { kind: 'mended', what: `${wrong.length} rows of the index were wrong or missing` }
  }

  async function inlineBlob(
    digest: Digest,
    row: BlobRow | undefined,
    { foundBy }: CheckOptions
  ): Promise<Verdict> {
    const sha256 = sha256Of(digest)
    const bytes = await db.get(rowKey('k', sha256Multihash(sha256)))
    if (bytes !== undefined && matches(sha256Multihash(sha256), bytes) === true)
      return mend(row, { size: bytes.length, sha256, leaves: [sha256] }, bytes)
    const what = bytes === undefined ? 'its bytes are missing' : 'its bytes are not what was kept'
    const entry = await entryOf(digest, row, { what, pieces: [0], foundBy, size: bytes?.length ?? 0 })
    const rows: IndexWrite[] = [
      ...rowsAway(sha256),
      { type: 'del', key: rowKey('k', sha256Multihash(sha256)) }
    ]
    if (bytes === undefined) await quarantine.file(entry, blobPath(folder, hexOf(sha256)), rows)
    else await quarantine.bytes(entry, bytes, rows)
    forget(digest)
    return { kind: 'aside', entry }
  }

  /** Reads an open file to its end. */
  async function readOpen(file: FileHandle, row: BlobRow | undefined, { signal, pace }: CheckOptions) {
    const whole = hashWhole(file.fd)
    try {
      const { size } = fstatSync(file.fd)
      const leaves: Uint8Array[] = []
      const bad: number[] = []
      let digestOfAll: Uint8Array | undefined
      for (let index = 0; index < leafCount(size); index++) {
        signal.throwIfAborted()
        const length = Math.min(LEAF_SIZE, size - index * LEAF_SIZE)
        const last = index === leafCount(size) - 1
        const { part, whole: all } = last
          ? await whole.end(length)
          : { part: await whole.next(length), whole: undefined }
        digestOfAll = all
        leaves.push(part.sha256)
        const known = row !== undefined && index < leafCount(row.size)
        const expected = known ? await hashes.of(row, index).catch(() => undefined) : undefined // a node that is no node
        if (expected !== undefined && !sameBytes(expected, part.sha256)) bad.push(index * LEAF_SIZE)
        await pace?.(length)
      }
      return { size, leaves, bad, sha256: digestOfAll as Uint8Array }
    } finally {
      whole.drop()
    }
  }

  async function read(digest: Digest, row: BlobRow | undefined, options: CheckOptions): Promise<FileReading> {
    const path = blobPath(folder, hexOf(sha256Of(digest)))
    let file: FileHandle | undefined
    let identity: string | undefined
    const current = async () => (await identityAt(path)) === identity
    const close = async () => file?.close()
    try {
      file = await open(path, 'r')
      identity = identityOf(fstatSync(file.fd, { bigint: true }))
      return { found: await readOpen(file, row, options), current, close }
    } catch (error) {
      const failure = readFailure(digest, error)
      if (!options.signal.aborted && failure instanceof DamagedError)
        return { found: failure.damage.what, current, close }
      await close()
      options.signal.throwIfAborted()
      // This process's own trouble (no descriptors left, no rights) says nothing about the blob.
      throw failure
    }
  }

  async function judge(
    digest: Digest,
    row: BlobRow | undefined,
    { found }: FileReading,
    { foundBy }: CheckOptions
  ): Promise<Verdict> {
    const sha256 = sha256Of(digest)
    let what = 'its bytes are not what was kept'
    let pieces: readonly number[] = []
    let size = 0
    if (typeof found === 'string') what = found
    else {
      if (sameBytes(found.sha256, sha256)) return mend(row, { ...found, sha256 }, undefined)
      size = found.size
      pieces = found.bad
      if (row !== undefined && size !== row.size) what = `its file has ${size} bytes instead of ${row.size}`
    }
    const entry = await entryOf(digest, row, { what, pieces, foundBy, size })
    await quarantine.file(entry, blobPath(folder, hexOf(sha256)), [
      ...rowsAway(sha256),
      ...(await leafRowsAway(row, sha256))
    ])
    forget(digest)
    return { kind: 'aside', entry }
  }

  async function entryOf(
    digest: Digest,
    row: BlobRow | undefined,
    found: { what: string; pieces: readonly number[]; foundBy: SetAside['foundBy']; size: number }
  ): Promise<SetAside> {
    const at = new Date().toISOString()
    return {
      name: `${digest.replace(':', '-')}.${at.replaceAll(':', '')}`,
      kind: 'blob',
      id: digest,
      cid: row?.cid.toString() ?? '',
      size: row?.size ?? found.size,
      what: found.what,
      pieces: found.pieces.slice(0, MAX_PIECES),
      damaged: Math.max(1, found.pieces.length),
      pushed: !(await db.has(cachedKey(sha256Of(digest)))),
      foundBy: found.foundBy,
      at,
      state: 'bad',
      outcome: 'not repaired yet',
      told: false
    }
  }

  /** Where a damaged file differs from the blob that it was, leaf by leaf. */
  async function differences(row: BlobRow, path: string): Promise<number[]> {
    const file = await open(path, 'r')
    try {
      const pieces: number[] = []
      for (let index = 0; index < leafCount(row.size); index++) {
        const at = index * LEAF_SIZE
        const expected = await hashes.of(row, index)
        const part = await hashPart(file.fd, at, Math.min(LEAF_SIZE, row.size - at))
        if (expected !== undefined && !sameBytes(expected, part.sha256)) pieces.push(at)
      }
      return pieces
    } finally {
      await file.close()
    }
  }

  /** The leaves of a blob, as far as its nodes tell them: those of other chunkings go when they are met. */
  async function leafRowsAway(row: BlobRow | undefined, sha256: Uint8Array): Promise<IndexWrite[]> {
    if (row === undefined) return []
    const away: IndexWrite[] = []
    for (let index = 0; index < leafCount(row.size); index++) {
      const hash = await hashes.of(row, index).catch(() => undefined) // as above
      if (hash !== undefined) away.push({ type: 'del', key: leafKey(sha256Multihash(hash), sha256) })
    }
    return away
  }

  return { inline: inlineBlob, read, judge, differences }
}

function rowsAway(sha256: Uint8Array): IndexWrite[] {
  return [
    { type: 'del', key: rowKey('b', sha256) },
    { type: 'del', key: cachedKey(sha256) }
  ]
}

/** Which file is at `path`; `undefined` for none that can be looked at. */
function identityAt(path: string): Promise<string | undefined> {
  return stat(path, { bigint: true }).then(identityOf, () => undefined)
}

/** Whether a blob's row says what its bytes are. */
function sameBlob(
  row: BlobRow | undefined,
  body: { size: number; sha256: Uint8Array },
  inline: Uint8Array | undefined,
  wanted: Uint8Array
): boolean {
  if (row === undefined || row.size !== body.size || row.inline !== (inline !== undefined)) return false
  const { cid, dagSize } = decodeBlob(body.sha256, wanted)
  return row.cid.equals(cid) && row.dagSize === dagSize
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
