import { createHashSet, type HashSet } from './hash-set.ts'
import type { IndexDb, IndexWrite, WriteRows } from './index-db.ts'

/**
 * Rows that come while others go. All durable writes pass one queue that keeps their order, so a removal that
 * finds, in the turn in which it is queued, that a row wasn't written since the collection began can't take
 * anything that is written afterwards: that is queued behind it.
 */
export interface RowWatch {
  /** The queue; what is written through it is noted while a collection runs. */
  readonly write: WriteRows
  /** A row is about to be written outside of the queue. Ends when a removal of it that is under way has ended. */
  writing(key: Uint8Array): Promise<void> | undefined
  /** A collection begins. */
  begin(): void
  /** It has ended, or will remove nothing more. */
  end(): void
  /** Whether a row was written since the collection began. */
  fresh(key: Uint8Array): boolean
  /**
   * Removes rows, durably, except those that were written since the collection began.
   *
   * @returns the keys of those that go, known at once; `done` when they are gone
   */
  remove(keys: readonly Uint8Array[]): { removed: readonly Uint8Array[]; done: Promise<void> }
}

export function createRowWatch(queue: WriteRows): RowWatch {
  let seen: HashSet | undefined
  /** Small: one batch of a removal. */
  const going = new Map<string, Promise<void>>()

  return {
    write(rows, frees) {
      if (seen !== undefined) for (const { type, key } of rows) if (type === 'put') seen.add(key)
      return queue(rows, frees)
    },
    writing(key) {
      if (seen === undefined) return undefined
      seen.add(key)
      return going.size === 0 ? undefined : going.get(textOf(key))
    },
    begin() {
      seen = createHashSet()
    },
    end() {
      seen = undefined
    },
    fresh: (key) => seen?.has(key) ?? false,
    remove(keys) {
      const removed = keys.filter((key) => !seen?.has(key))
      const rows = removed.map((key): IndexWrite => ({ type: 'del', key }))
      const names = removed.map(textOf)
      const done = (rows.length === 0 ? Promise.resolve() : queue(rows)).finally(() => {
        for (const name of names) going.delete(name)
      })
      const ended = done.catch(() => undefined) // whoever removes hears of it
      for (const name of names) going.set(name, ended)
      return { removed, done }
    }
  }
}

const textOf = (key: Uint8Array) => Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')

/** How many rows are read at once, and how many bytes (and then a row more). */
const PAGE = 1024
const PAGE_BYTES = 512 * 1024

/** Rows in pages; each page comes in one turn. */
export async function* pagesOf(
  db: IndexDb,
  range: { gte: Uint8Array; lt: Uint8Array },
  signal: AbortSignal
): AsyncGenerator<[key: Uint8Array, value: Uint8Array][]> {
  const rows = db.iterator({ ...range, highWaterMarkBytes: PAGE_BYTES })
  try {
    for (;;) {
      signal.throwIfAborted()
      const page = await rows.nextv(PAGE)
      if (page.length === 0) return
      yield page
    }
  } finally {
    await rows.close()
  }
}
