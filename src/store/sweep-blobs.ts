import { rm } from 'node:fs/promises'
import type { Log } from '../log.ts'
import { type Digest, splitDigest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import { type BlobRow, type BlobRows, blobPath, digestOfSha256, peekBlob, sha256Of } from './blob-rows.ts'
import { cachedInOrder, cachedKey } from './cached.ts'
import { blockName, createHashSet, type HashSet } from './hash-set.ts'
import { type IndexDb, prefixEnd, rowKey } from './index-db.ts'
import { sha256Multihash } from './leaves.ts'
import { pagesOf, type RowWatch } from './row-watch.ts'
import type { Uses } from './uses.ts'

/** A blob that goes, or would. */
export interface SweptBlob {
  readonly digest: Digest
  /** In bytes. */
  readonly size: number
  /** Nothing names it; or it makes room in the cache. */
  readonly why: 'garbage' | 'cache'
}

/** What is to be done with blobs. */
export interface BlobPlan {
  /** What is in use, by digest or by CID, as {@link blockName} names it. */
  readonly live: HashSet
  /** What is in use too, but may go where it is cached: it can be had again. */
  readonly yielding?: HashSet
  /** Whether what nothing names goes; with `false` only the cache is looked after. */
  readonly garbage: boolean
  /** Garbage that was used or written in the last `graceMs` milliseconds stays. */
  readonly graceMs: number
  /** Bytes of cached blobs, outside of what is in use, that may stay; `undefined` for all. */
  readonly cacheLimit: number | undefined
  /** Bytes of cached blobs, outside of what is in use, that are to go if there are so many; none without. */
  readonly cacheFree?: number
  readonly dryRun: boolean
  readonly signal: AbortSignal
  /** Called with each blob that goes. */
  readonly onSwept: (blob: SweptBlob) => void
}

/** What became of the blobs. */
export interface BlobOutcome {
  /** The sha256 of those that went, or would. */
  readonly gone: HashSet
  /** Garbage that stays because it was used or written within the grace window. */
  readonly waiting: { blobs: number; bytes: number }
  /** Bytes of cached blobs outside of what is in use, after the sweep. */
  readonly cachedBytes: number
  /** What the cache gave up, or would. */
  readonly evicted: { blobs: number; bytes: number }
  /** The last use of the youngest blob that the cache gave up (epoch ms); `undefined` when it gave up none. */
  readonly cutoff: number | undefined
}

/** How many blobs go in one step: while it lasts, whoever wants one of them waits. */
const BATCH = 256

/** A little less than the limit, so that not every new blob costs a sweep. */
const EASE = 0.95

/** What the sweeps of blobs and of rows work with. */
export interface SweepParts {
  readonly db: IndexDb
  readonly uses: Uses
  readonly watch: RowWatch
  /** What keeps blobs in memory. */
  readonly blobs: Pick<BlobRows, 'forget'>
  readonly folder: string
  readonly log: Log | undefined
}

type Doomed = Pick<BlobRow, 'digest' | 'size' | 'inline'>

/**
 * Removes blobs: their rows durably, then their files. A crash in between leaves files without rows, which
 * nothing shows and the next sweep removes.
 *
 * @param startedAt on the clock of `performance.now()`
 */
export async function sweepBlobs(parts: SweepParts, startedAt: number, plan: BlobPlan): Promise<BlobOutcome> {
  const { db, uses } = parts
  const gone = createHashSet()
  const waiting = { blobs: 0, bytes: 0 }
  const since = startedAt - plan.graceMs
  // Within this process touches tell, to the microsecond; times of the clock are for what came before it.
  const writtenSince = Date.now() - (performance.now() - startedAt) - plan.graceMs
  const cache: { blob: Doomed; used: number }[] = []
  let cachedBytes = 0

  async function remove(blobs: readonly Doomed[], why: SweptBlob['why'], untouchedSince: number) {
    const went = plan.dryRun ? blobs : await removeBlobs(parts, blobs, untouchedSince)
    for (const { digest, size } of went) {
      gone.add(sha256Of(digest))
      plan.onSwept({ digest, size, why })
    }
    return went
  }

  function wait(size: number): void {
    waiting.blobs++
    waiting.bytes += size
  }

  async function removeGarbage(blobs: readonly Doomed[]): Promise<void> {
    const went = new Set(await remove(blobs, 'garbage', since))
    // Somebody has come for the others since they were looked at.
    for (const blob of blobs) if (!went.has(blob)) wait(blob.size)
  }

  const doomed: Doomed[] = []
  const cached = cachedInOrder(db)
  try {
    const from = rowKey('b')
    for await (const page of pagesOf(db, { gte: from, lt: prefixEnd(from) }, plan.signal)) {
      for (const [key, value] of page) {
        const sha256 = key.subarray(1)
        const isCached = await cached.at(sha256)
        if (plan.live.has(sha256)) continue
        const { size, inline, at, cid } = peekBlob(value)
        const name = blockName(cid().multihash.bytes)
        if (plan.live.has(name)) continue
        const yields = plan.yielding?.has(sha256) === true || plan.yielding?.has(name) === true
        const blob: Doomed = { digest: digestOfSha256(sha256), size, inline }
        if (isCached !== undefined) {
          cachedBytes += size
          cache.push({ blob, used: Math.max(isCached.used, epochOf(uses.touched(blob.digest))) })
        } else if (!plan.garbage || yields) continue
        else if (
          uses.touched(blob.digest) >= since ||
          uses.held(blob.digest) ||
          (plan.graceMs > 0 && at > writtenSince)
        )
          wait(size)
        else doomed.push(blob)
      }
      while (doomed.length >= BATCH) await removeGarbage(doomed.splice(0, BATCH))
    }
    await removeGarbage(doomed)
  } finally {
    await cached.close()
  }

  let cutoff: number | undefined
  const evicted = { blobs: 0, bytes: 0 }
  // Only here it is known how much of the cache can go: what is in use isn't counted.
  const limit = Math.min(
    plan.cacheLimit ?? Number.POSITIVE_INFINITY,
    Math.max(0, cachedBytes - (plan.cacheFree ?? 0))
  )
  if (cachedBytes > limit) {
    cache.sort((a, b) => a.used - b.used)
    const goal = limit * EASE
    for (let at = 0; at < cache.length && cachedBytes > goal; ) {
      plan.signal.throwIfAborted()
      const doomed: Doomed[] = []
      let bytes = 0
      while (at < cache.length && doomed.length < BATCH && cachedBytes - bytes > goal) {
        const { blob, used } = cache[at++] as (typeof cache)[number]
        doomed.push(blob)
        bytes += blob.size
        cutoff = used
      }
      for (const { size } of await remove(doomed, 'cache', startedAt)) {
        cachedBytes -= size
        evicted.blobs++
        evicted.bytes += size
      }
    }
  }
  return { gone, waiting, cachedBytes, evicted, cutoff }
}

/**
 * Removes blobs, except those that were used since `untouchedSince`.
 *
 * @returns those that are gone
 */
export async function removeBlobs(
  { db, uses, watch, blobs, folder, log }: SweepParts,
  doomed: readonly Doomed[],
  untouchedSince: number
): Promise<readonly Doomed[]> {
  const { digests, release } = uses.condemn(
    doomed.map(({ digest }) => digest),
    untouchedSince
  )
  try {
    const going = doomed.filter(({ digest }) => digests.has(digest))
    const keys = going.flatMap(({ digest, inline }) => {
      const sha256 = sha256Of(digest)
      const small = inline ? [rowKey('k', sha256Multihash(sha256))] : []
      return [rowKey('b', sha256), cachedKey(sha256), ...small]
    })
    await watch.remove(keys).done
    for (const { digest } of going) blobs.forget(digest)
    const rowOf = ({ digest }: Doomed) => rowKey('b', sha256Of(digest))
    const inline = going.filter((blob) => blob.inline)
    const back = inline.length === 0 ? [] : await db.hasMany(inline.map(rowOf))
    const stayed = new Set(inline.filter((_, i) => back[i]))
    const went: Doomed[] = []
    for (const blob of going) {
      // Its row can only be there if it was written while this ran, and then its file is that of a new blob.
      if (blob.inline ? stayed.has(blob) : await db.has(rowOf(blob))) continue
      went.push(blob)
      if (blob.inline) continue
      await rm(blobPath(folder, splitDigest(blob.digest).hex), { force: true }).catch((error: unknown) => {
        log?.warn({ digest: blob.digest, cause: reason(error) }, 'a file could not be removed')
      })
    }
    return went
  } finally {
    release()
  }
}

/** A time of `performance.now()` in epoch ms, by the clock as it is now: it may have been set since the start. */
export const epochOf = (time: number) => Date.now() - (performance.now() - time)
