import type { Digest } from '../oci/digest.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { sha256Of } from './blob-rows.ts'
import { cachedKey, cachedRow, decodeCached } from './cached.ts'
import { NoRoomError } from './files.ts'
import { prefixEnd, rowKey, type WriteRows } from './index-db.ts'
import { createPeek, type Peek } from './peek.ts'
import { recordKey } from './records.ts'
import { pagesOf } from './row-watch.ts'
import { type BlobOutcome, type BlobPlan, epochOf, type SweepParts, sweepBlobs } from './sweep-blobs.ts'
import { type RowOutcome, type RowPlan, sweepRows } from './sweep-rows.ts'

export type { BlobOutcome, BlobPlan, SweptBlob } from './sweep-blobs.ts'
export type { RowOutcome } from './sweep-rows.ts'

/** One collection. What it reads here counts as no use. */
export interface Sweep extends Omit<Peek, 'blocks'> {
  /** On the clock of `performance.now()`. */
  readonly startedAt: number
  /**
   * As {@link Peek.blocks}.
   *
   * @param damaged what to do about one whose bytes aren't what its name says: it counts as not there, or
   * @throws {RegistryError} UNAVAILABLE
   */
  blocks(
    multihashes: readonly Uint8Array[],
    damaged?: 'refuse' | 'pass over'
  ): Promise<(Uint8Array | undefined)[]>
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
  const { db, uses, watch } = parts
  const peek = createPeek(parts)
  let last: Promise<unknown> = Promise.resolve()
  let savedUntil = Number.NEGATIVE_INFINITY

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
        ...peek,
        blocks: (multihashes, damaged = 'refuse') =>
          damaged === 'refuse' ? peek.blocks(multihashes, refuse) : peek.blocks(multihashes),
        async recent(digest, ms) {
          if (uses.touched(digest) >= startedAt - ms) return true
          // Without a window only touches count, and those are by the sha256.
          if (ms <= 0 && digest.startsWith('sha256:')) return false
          const row = await peek.blob(digest)
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
    const before = savedUntil
    const used = [...uses.since(before)]
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
      try {
        if (writes.length > 0) await parts.write(writes)
      } catch (error) {
        if (!(error instanceof NoRoomError)) throw error
        // What makes room begins here: uses stay in memory, and are written the next time.
        parts.log?.debug({ cause: reason(error) }, 'could not write down when cached content was used')
        savedUntil = before
        return
      }
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

function refuse(): never {
  throw new RegistryError(
    'UNAVAILABLE',
    'nothing was removed, because a directory is damaged, and what that names would go: run seaway verify first'
  )
}
