/** Something that yields, and what it is called. */
export interface Stream<T> {
  name: string
  answers: AsyncGenerator<T>
}

/**
 * What several streams yield, as it comes, until all have ended or the signal says so; of one that fails,
 * `failed` is told.
 */
export async function* merged<T>(
  streams: readonly Stream<T>[],
  failed: (name: string, error: unknown) => void,
  signal: AbortSignal
): AsyncGenerator<T> {
  const queue: T[] = []
  let running = streams.length
  let moved = Promise.withResolvers<void>()
  const notify = () => {
    moved.resolve()
    moved = Promise.withResolvers()
  }
  signal.addEventListener('abort', notify)
  for (const { name, answers } of streams) {
    void (async () => {
      try {
        for await (const one of answers) {
          if (signal.aborted) break
          queue.push(one)
          notify()
        }
      } catch (error) {
        failed(name, error)
      } finally {
        running--
        notify()
      }
    })()
  }
  try {
    while (!signal.aborted) {
      const next = moved.promise
      const one = queue.shift()
      if (one !== undefined) yield one
      else if (running === 0) return
      else await next
    }
  } finally {
    signal.removeEventListener('abort', notify)
  }
}
