import { join } from 'node:path'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import * as multihashes from 'multiformats/hashes/digest'
import type { Digest } from '../oci/digest.ts'
import { type AliasCheck, createAliasCheck } from './alias-check.ts'
import {
  type BlobCheckParts,
  type CheckOptions,
  createBlobCheck,
  MAX_PIECES,
  type Verdict
} from './blob-check.ts'
import { type BlobRow, decodeBlob, digestOfSha256, sha256Of } from './blob-rows.ts'
import { cachedKey } from './cached.ts'
import { prefixEnd, rowKey } from './index-db.ts'
import { sha256Multihash } from './leaves.ts'
import type { Locks } from './locks.ts'
import type { SetAside } from './quarantine.ts'
import { matches } from './small-blocks.ts'

export type { CheckOptions, Verdict } from './blob-check.ts'

/** Reading everything there is, against its name; what is damaged is set aside. */
export interface Integrity extends AliasCheck {
  /** Reads a blob against its digest, its leaves and the nodes above them. */
  blob(digest: Digest, options: CheckOptions): Promise<Verdict>
  /** Reads a small block against its multihash. */
  block(multihash: Uint8Array, options: CheckOptions): Promise<Verdict>
  /** Blobs in the order of their digests, those after `after` only. The size is 0 where the row can't be read. */
  blobs(after: Digest | undefined): AsyncGenerator<{ digest: Digest; size: number }>
  /** The multihashes of small blocks that are no blobs themselves, in their order. */
  blocks(after: Uint8Array | undefined): AsyncGenerator<Uint8Array>
  /**
   * A blob that was fetched again is what it was before it was set aside: pushed, not cached. Which parts of it were
   * damaged is told anew: the nodes that say so may have been damaged as well when it was found.
   */
  restored(entry: SetAside): Promise<void>
}

/** How often a blob whose file was replaced while it was read is read again before pushes of it have to wait. */
const MAX_CHANGES = 3

export function createIntegrity(parts: BlobCheckParts & { locks: Locks }): Integrity {
  const { db, write, quarantine, locks, forget } = parts
  const check = createBlobCheck(parts)
  const { alias, aliases, aliasesOf } = createAliasCheck(parts)

  /** Whether a small block is a blob that is kept in the index. */
  const isBlob = async (multihash: Uint8Array) =>
    multihash.length === 34 && multihash[0] === 0x12 && (await db.has(rowKey('b', multihash.subarray(2))))

  async function rowOf(sha256: Uint8Array): Promise<{ row: BlobRow | undefined } | undefined> {
    const value = await db.get(rowKey('b', sha256))
    return value && { row: readRow(sha256, value) }
  }

  /** What is left of a blob's row, and where its bytes are; `undefined` when it has none. */
  async function look(digest: Digest): Promise<{ row: BlobRow | undefined; inline: boolean } | undefined> {
    const found = await rowOf(sha256Of(digest))
    if (found === undefined) {
      forget(digest)
      return undefined
    }
    const inline = found.row?.inline ?? (await db.has(rowKey('k', sha256Multihash(sha256Of(digest)))))
    return { ...found, inline }
  }

  /**
   * Reads a blob's file and judges it, if it is still the blob's when it has been read: a push of the same content
   * must not wait for the reading, and may replace the file meanwhile (`undefined` then).
   */
  async function readThenJudge(digest: Digest, how: CheckOptions): Promise<Verdict | undefined> {
    const before = await look(digest)
    if (before === undefined) return { kind: 'gone' }
    if (before.inline) {
      await how.pace?.(before.row?.size ?? 0)
      return locks.run(digest, () => judgeAtOnce(digest, how))
    }
    const reading = await check.read(digest, before.row, how)
    try {
      return await locks.run(digest, async () => {
        const now = await look(digest)
        if (now === undefined) return { kind: 'gone' }
        if (now.inline || !(await reading.current())) return undefined
        return check.judge(digest, now.row, reading, how)
      })
    } finally {
      await reading.close()
    }
  }

  /** Reads and judges a blob that nothing else changes meanwhile, as fast as that goes. */
  async function judgeAtOnce(digest: Digest, how: CheckOptions): Promise<Verdict> {
    const found = await look(digest)
    if (found === undefined) return { kind: 'gone' }
    if (found.inline) return check.inline(digest, found.row, how)
    const reading = await check.read(digest, found.row, { signal: how.signal, foundBy: how.foundBy })
    try {
      return await check.judge(digest, found.row, reading, how)
    } finally {
      await reading.close()
    }
  }

  const blob: Integrity['blob'] = async (digest, how) => {
    for (let changes = 0; changes < MAX_CHANGES; changes++) {
      const verdict = await readThenJudge(digest, how)
      if (verdict !== undefined) return verdict
    }
    return locks.run(digest, () => judgeAtOnce(digest, how))
  }

  return {
    blob,
    aliases,
    aliasesOf,
    alias: (digest, how) => locks.run(digest, () => alias(digest, how)),

    async block(multihash, how) {
      const { foundBy, pace } = how
      if (await isBlob(multihash)) return blob(digestOfSha256(multihash.subarray(2)), how)
      return locks.run(hexOf(multihash), async () => {
        const bytes = await db.get(rowKey('k', multihash))
        if (bytes === undefined) return { kind: 'gone' }
        await pace?.(bytes.length)
        if (matches(multihash, bytes) !== false) return { kind: 'sound' }
        const at = new Date().toISOString()
        const cid = CID.createV1(raw.code, multihashes.decode(multihash)).toString()
        const entry: SetAside = {
          name: `block-${hexOf(multihash)}`,
          kind: 'block',
          id: cid,
          cid,
          size: bytes.length,
          what: 'its bytes are not what was kept',
          pieces: [0],
          damaged: 1,
          pushed: false,
          foundBy,
          at,
          state: 'bad',
          outcome: 'not repaired yet',
          told: false
        }
        // The row stays until the right bytes replace it: nothing reads it, and a deletion could meet them.
        await quarantine.bytes(entry, bytes, [])
        return { kind: 'aside', entry }
      })
    },

    async *blobs(after) {
      const from = rowKey('b')
      const start = after === undefined ? { gte: from } : { gt: rowKey('b', sha256Of(after)) }
      for await (const [key, value] of db.iterator({ ...start, lt: prefixEnd(from) })) {
        if (key.length !== 33) continue
        const sha256 = key.subarray(1)
        yield { digest: digestOfSha256(sha256), size: readRow(sha256, value)?.size ?? 0 }
      }
    },

    async *blocks(after) {
      const from = rowKey('k')
      const start = after === undefined ? { gte: from } : { gt: rowKey('k', after) }
      for await (const key of db.keys({ ...start, lt: prefixEnd(from) })) {
        const multihash = key.subarray(1)
        if (!(await isBlob(multihash))) yield multihash
      }
    },

    async restored(entry) {
      const sha256 = sha256Of(entry.id as Digest)
      const row = (await rowOf(sha256))?.row
      if (row === undefined) return
      if (entry.pushed) await write([{ type: 'del', key: cachedKey(sha256) }])
      if (row.inline) return
      const pieces = await check.differences(row, join(quarantine.folder, entry.name)).catch(() => []) // there may be no file
      if (pieces.length > entry.pieces.length)
        await quarantine.update(entry.name, { pieces: pieces.slice(0, MAX_PIECES), damaged: pieces.length })
    }
  }
}

/** A blob's row; `undefined` when it is no such row any more. */
function readRow(sha256: Uint8Array, value: Uint8Array): BlobRow | undefined {
  try {
    const row = decodeBlob(sha256, value)
    return Number.isSafeInteger(row.size) && row.size >= 0 ? row : undefined
  } catch {
    return undefined // rotten JSON, or no CID in it
  }
}

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
