import { reason } from '../oci/errors.ts'
import { type BlobPlan, createHashSet } from '../store/index.ts'
import type { CollectParts } from './collect.ts'
import { markOwn } from './collect-live.ts'

/** Keeps what was pulled from elsewhere within its limit. */
export interface CacheKeeper {
  /** Removes cached content of at least so many bytes, what was used least lately first, if there is so much. */
  makeRoom(bytes: number, signal: AbortSignal): Promise<void>
  /** Resolves when what is being removed to make room is gone. */
  settled(): Promise<void>
  stop(): Promise<void>
}

/**
 * Whenever something new has come into the cache and it holds more than its limit, what was used least lately
 * goes. A blob that a tree of our own has is no part of the cache, however it came, unless all of that tree is pulled through.
 */
export function createCacheKeeper(parts: CollectParts, options: { graceMs: number }): CacheKeeper {
  const { store, cacheLimit, log } = parts
  const stopped = new AbortController()
  const { signal } = stopped
  /** Bytes in the cache, or a little more; `undefined` until somebody asked. */
  let held: number | undefined
  let added = 0
  let running: Promise<void> | undefined

  async function look(limit: number): Promise<void> {
    for (;;) {
      held ??= await store.sweeper.cachedBytes(signal)
      held += added
      added = 0
      if (held <= limit) return
      held = await evict({ cacheLimit: limit }, 'made room in the cache')
      if (added === 0) return
    }
  }

  /** Removes cached content, says so if there was any, and returns how many bytes are left that could go. */
  async function evict(much: Pick<BlobPlan, 'cacheLimit' | 'cacheFree'>, what: string): Promise<number> {
    await store.sweeper.saveUses()
    const { cachedBytes, evicted } = await store.sweeper.run(signal, async (sweep) => {
      const live = createHashSet()
      const run = { roots: new Map(), graceMs: options.graceMs, dryRun: true, signal }
      const yielding = createHashSet()
      await markOwn(parts, sweep, run, live, yielding)
      return sweep.blobs({
        live,
        yielding,
        garbage: false,
        graceMs: options.graceMs,
        ...much,
        dryRun: false,
        signal,
        onSwept: ({ digest, size }) => log.debug({ digest, size }, 'left the cache')
      })
    })
    if (evicted.blobs > 0) log.info({ ...much, removed: evicted, left: cachedBytes }, what)
    return cachedBytes
  }

  if (cacheLimit !== undefined) {
    store.blobs.onCached(({ size }) => {
      added += size
      if (running !== undefined || signal.aborted) return
      running = look(cacheLimit)
        .catch((error: unknown) => {
          // counted anew the next time
          held = undefined
          if (!signal.aborted) log.warn({ cause: reason(error) }, 'could not make room in the cache')
        })
        .finally(() => {
          running = undefined
        })
    })
  }

  return {
    async makeRoom(bytes, asked) {
      // Nothing is marked where nothing can go. What trees of our own hold is counted here too.
      if ((await store.sweeper.cachedBytes(asked)) === 0) return
      const free = { cacheLimit: undefined, cacheFree: bytes }
      held = await evict(free, 'removed cached content to make room for a push')
    },
    async settled() {
      await running
    },
    async stop() {
      stopped.abort(new Error('the gateway is stopping'))
      await running
    }
  }
}
