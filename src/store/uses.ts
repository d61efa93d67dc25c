import type { Digest } from '../oci/digest.ts'

/**
 * Who relies on which content right now, so that what removes content and what begins to use it never miss each
 * other, without a lock that either would hold for long:
 *
 * - Whoever is about to rely on a digest says so first ({@link touch}), and only then looks whether it is there.
 * - Whoever removes says which digests, in the same turn in which it sees that nobody has touched them
 *   ({@link condemn}); who comes later waits until they are gone ({@link settled}) and sees that they are.
 * - What relies on a look until something durable is written is a section ({@link during}); a collection first
 *   waits for those that had begun before it ({@link drained}), so that it sees what they wrote.
 */
export interface Uses {
  /** `digest` is about to be relied on. */
  touch(digest: Digest): void
  /** When `digest` was touched last, on the clock of `performance.now()`; -Infinity for long ago. */
  touched(digest: Digest): number
  /** The end of a removal of `digest` that is under way; `undefined` when none is. */
  settled(digest: Digest): Promise<void> | undefined
  /** Touches `digests`, and waits until none of them is being removed. */
  expect(digests: readonly Digest[]): Promise<void>
  /** Somebody reads `digest` until the returned function is called: it isn't removed before. */
  hold(digest: Digest): () => void
  /** Whether somebody does. */
  held(digest: Digest): boolean
  /** Takes those of `digests` that nobody reads and that were not touched since `since` out of use until `release` is called. */
  condemn(digests: readonly Digest[], since: number): { digests: ReadonlySet<Digest>; release(): void }
  /** Runs `work`, which looks and then writes. */
  during<T>(work: () => Promise<T>): Promise<T>
  /** Ends when all sections have that had begun before. */
  drained(): Promise<void>
  /** What was touched after `since`, with when. */
  since(since: number): Iterable<[digest: Digest, at: number]>
}

/** How many digests are remembered at most. Of what was touched before the oldest of them, all counts as touched then. */
const REMEMBERED = 200_000

export function createUses(limit = REMEMBERED): Uses {
  /** In the order of their times. */
  const touches = new Map<Digest, number>()
  const condemned = new Map<Digest, Promise<void>>()
  const sections = new Set<Promise<unknown>>()
  const readers = new Map<Digest, number>()
  let forgotten = Number.NEGATIVE_INFINITY

  function touch(digest: Digest): void {
    touches.delete(digest)
    touches.set(digest, performance.now())
    if (touches.size <= limit) return
    const [oldest] = touches
    if (oldest === undefined) return
    forgotten = oldest[1]
    touches.delete(oldest[0])
  }

  const touched = (digest: Digest) => touches.get(digest) ?? forgotten

  return {
    touch,
    touched,
    settled: (digest) => condemned.get(digest),
    async expect(digests) {
      for (const digest of digests) touch(digest)
      for (const digest of digests) await condemned.get(digest)
    },
    hold(digest) {
      readers.set(digest, (readers.get(digest) ?? 0) + 1)
      let ended = false
      return () => {
        if (ended) return
        ended = true
        const left = (readers.get(digest) ?? 1) - 1
        if (left === 0) readers.delete(digest)
        else readers.set(digest, left)
      }
    },
    held: (digest) => readers.has(digest),
    condemn(digests, since) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const taken = new Set<Digest>()
      for (const digest of digests) {
        if (touched(digest) >= since || readers.has(digest) || condemned.has(digest)) continue
        taken.add(digest)
        condemned.set(digest, promise)
      }
      return {
        digests: taken,
        release() {
          for (const digest of taken) condemned.delete(digest)
          resolve()
        }
      }
    },
    async during(work) {
      const running = work()
      sections.add(running)
      try {
        return await running
      } finally {
        sections.delete(running)
      }
    },
    async drained() {
      await Promise.allSettled(sections)
    },
    *since(since) {
      for (const [digest, at] of touches) if (at > since) yield [digest, at]
    }
  }
}
