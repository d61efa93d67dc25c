import type { ImageTarget } from './types.ts'

/** What is being moved, or was, by digest, and how many at a time. */
export interface Shared {
  readonly going: Map<string, { target: ImageTarget; done: Promise<void> }>
  readonly turns: <T>(work: () => Promise<T>) => Promise<T>
}

/** Blobs that are moved at a time. */
export const PARALLEL = 4

/** Nothing is under way. */
export function createShared(parallel = PARALLEL): Shared {
  let free = parallel
  const waiting: (() => void)[] = []
  return {
    going: new Map(),
    async turns(work) {
      if (free === 0) await new Promise<void>((resolve) => waiting.push(resolve))
      else free--
      try {
        return await work()
      } finally {
        const next = waiting.shift()
        if (next === undefined) free++
        else next()
      }
    }
  }
}

/**
 * Has `work` bring a blob to a target unless that is done or under way. For another repository it waits until the
 * first has it: it may take it over from there.
 */
export async function deliveredOnce(
  { going, turns }: Shared,
  digest: string,
  target: ImageTarget,
  work: () => Promise<void>
): Promise<void> {
  const key = `${digest} ${target.name}`
  const same = going.get(key)
  if (same !== undefined) return same.done
  const other = going.get(digest)
  const done = (async () => {
    if (other !== undefined) await other.done
    await turns(work)
  })()
  going.set(key, { target, done })
  if (other === undefined) going.set(digest, { target, done })
  await done
}
