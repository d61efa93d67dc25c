import { readFile } from 'node:fs/promises'
import { type Digest, splitDigest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { type BlobRow, blobPath, decodeBlob, sha256Of } from './blob-rows.ts'
import { cachedKey, cachedRow, decodeCached } from './cached.ts'
import { createGathered } from './gathered.ts'
import { prefixEnd, rowKey, type WriteRows } from './index-db.ts'
import { sha256Multihash } from './leaves.ts'
import { recordKey } from './records.ts'
import { pagesOf } from './row-watch.ts'
import { matches } from './small-blocks.ts'
import { type BlobOutcome, type BlobPlan, epochOf, type SweepParts, sweepBlobs } from './sweep-blobs.ts'
import { type RowOutcome, type RowPlan, sweepRows } from './sweep-rows.ts'

export type { BlobOutcome, BlobPlan, SweptBlob } from './sweep-blobs.ts'
export type { RowOutcome } from './sweep-rows.ts'

/** One collection. What it reads here counts as no use. */
export interface Sweep {
  /** On the clock of `performance.now()`. */
  readonly startedAt: number
  /**
   * Blocks out of the index, by multihash; `undefined` for those that aren't there.
   *
   * @param damaged what to do about one whose bytes aren't what its name says: it counts as not there, or
   * @throws {RegistryError} UNAVAILABLE
   */
  blocks(
    multihashes: readonly Uint8Array[],
    damaged?: 'refuse' | 'pass over'
  ): Promise<(Uint8Array | undefined)[]>
  /** What the store knows of a blob. */
  blob(digest: Digest): Promise<BlobRow | undefined>
  /** All bytes of a blob of at most `limit`; `undefined` for a larger one, and for one that is damaged. */
  bytes(blob: BlobRow, limit: number): Promise<Uint8Array | undefined>
  /** Whether a blob was used or written in the last `ms` milliseconds before the collection, or since. */
  recent(digest: Digest, ms: number): Promise<boolean>
  /** Removes records, unless they were written since the collection began. */
  removeRecords(keys: readonly string[]): Promise<void>
  blobs(plan: BlobPlan): Promise<BlobOutcome>
  rows(plan: RowPlan): Promise<RowOutcome>
}

/** What removes from the store. */
export interface Sweeper {
  /** Runs one collection; another waits for it. All that was being written when it began is visible to it. */
  run<T>(signal: AbortSignal, work: (sweep: Sweep) => Promise<T>): Promise<T>
  /** Bytes of all cached blobs, whatever else they belong to. Reads a small row of each. */
  cachedBytes(signal: AbortSignal): Promise<number>
  /** Writes down when cached blobs were used last. */
  saveUses(): Promise<void>
}

export function createSweeper(parts: SweepParts & { write: WriteRows }): Sweeper {
  const { db, uses, watch, folder } = parts
  const get = createGathered(db)
  let last: Promise<unknown> = Promise.resolve()
  let savedUntil = Number.NEGATIVE_INFINITY

  async function rowOf(digest: Digest): Promise<BlobRow | undefined> {
    let sha256 = sha256Of(digest)
    if (!digest.startsWith('sha256:')) {
      const other = await get(rowKey('d', sha256))
      if (other === undefined) return undefined
      sha256 = other
    }
    const value = await get(rowKey('b', sha256))
    return value && decodeBlob(sha256, value)
  }

  async function collect<T>(signal: AbortSignal, work: (sweep: Sweep) => Promise<T>): Promise<T> {
    signal.throwIfAborted()
    const startedAt = performance.now()
    watch.begin()
    try {
      // What was queued before is durable then, and so is what those had looked up who were about to write.
      await parts.write([])
      await uses.drained()
      return await work({
        startedAt,
        async blocks(multihashes, damaged = 'refuse') {
          const found = await Promise.all(multihashes.map((multihash) => get(rowKey('k', multihash))))
          return found.map((bytes, i) => {
            if (bytes === undefined || matches(multihashes[i] as Uint8Array, bytes) !== false) return bytes
            if (damaged === 'pass over') return undefined
            throw new RegistryError(
              'UNAVAILABLE',
              'nothing was removed, because a directory is damaged, and what that names would go: run seaway verify first'
            )
          })
        },
        blob: rowOf,
        async bytes(blob, limit) {
          if (!blob.inline && blob.size > limit) return undefined
          const multihash = sha256Multihash(sha256Of(blob.digest))
          const bytes = blob.inline
            ? await get(rowKey('k', multihash))
            : await readFile(blobPath(folder, splitDigest(blob.digest).hex)).catch(() => undefined) // for `verify` to find
          return bytes !== undefined && matches(multihash, bytes) === true ? bytes : undefined
        },
        async recent(digest, ms) {
          if (uses.touched(digest) >= startedAt - ms) return true
          // Without a window only touches count, and those are by the sha256.
          if (ms <= 0 && digest.startsWith('sha256:')) return false
          const row = await rowOf(digest)
          return (
            row !== undefined &&
            ((ms > 0 && row.at > epochOf(startedAt) - ms) || uses.touched(row.digest) >= startedAt - ms)
          )
        },
        removeRecords: (keys) => watch.remove(keys.map(recordKey)).done,
        blobs: (plan) => sweepBlobs(parts, startedAt, plan),
        rows: (plan) => sweepRows(parts, startedAt, plan)
      })
    } finally {
      watch.end()
    }
  }

  async function saveUses(): Promise<void> {
    const now = performance.now()
    const used = [...uses.since(savedUntil)]
    savedUntil = now
    for (let at = 0; at < used.length; at += 256) {
      const part = used.slice(at, at + 256).filter(([digest]) => digest.startsWith('sha256:'))
      const keys = part.map(([digest]) => cachedKey(sha256Of(digest)))
      const rows = await db.getMany(keys)
      const writes = part.flatMap(([digest, time], i) => {
        const row = rows[i]
        // being removed: no row must come back
        if (row === undefined || uses.settled(digest) !== undefined) return []
        return [cachedRow(sha256Of(digest), { size: decodeCached(row).size, used: epochOf(time) })]
      })
      if (writes.length > 0) await parts.write(writes)
    }
  }

  /** One after another: a row that is written while a sweep runs is one that it leaves alone. */
  function afterLast<T>(work: () => Promise<T>): Promise<T> {
    const mine = last.then(work)
    last = mine.catch(() => undefined) // whoever asked for it hears of it
    return mine
  }

  return {
    run: (signal, work) => afterLast(() => collect(signal, work)),
    async cachedBytes(signal) {
      const from = rowKey('c')
      let bytes = 0
      for await (const page of pagesOf(db, { gte: from, lt: prefixEnd(from) }, signal))
        for (const [, value] of page) bytes += decodeCached(value).size
      return bytes
    },
    saveUses: () => afterLast(saveUses)
  }
}
