/** Work that those share who want the same at the same time. */
export interface Shared<T> {
  (key: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T>
  /** Ends all of it. */
  stop(reason: Error): void
}

interface Running<T> {
  readonly promise: Promise<T>
  readonly controller: AbortController
  waiting: number
}

/**
 * Makes it. Each waits as long as its own signal allows; the work is aborted when nobody waits any more.
 *
 * @param lingerMs how long it goes on then, for the next one who comes, in milliseconds
 */
export function createShared<T>(lingerMs = 0): Shared<T> {
  const all = new Map<string, Running<T>>()

  function begin(key: string, work: (signal: AbortSignal) => Promise<T>): Running<T> {
    const controller = new AbortController()
    const promise = work(controller.signal).finally(() => {
      if (all.get(key)?.controller === controller) all.delete(key)
    })
    promise.catch(() => undefined) // those who wait hear of it
    const running = { promise, controller, waiting: 0 }
    all.set(key, running)
    return running
  }

  function left(key: string, running: Running<T>, reason: unknown): void {
    if (--running.waiting > 0) return
    const end = () => {
      if (running.waiting > 0) return
      if (all.get(key) === running) all.delete(key)
      running.controller.abort(reason)
    }
    if (lingerMs > 0) setTimeout(end, lingerMs).unref()
    else end()
  }

  async function share(
    key: string,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>
  ): Promise<T> {
    signal.throwIfAborted()
    const running = all.get(key) ?? begin(key, work)
    running.waiting++
    const aborted = Promise.withResolvers<never>()
    const onAbort = () => aborted.reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      return await Promise.race([running.promise, aborted.promise])
    } finally {
      signal.removeEventListener('abort', onAbort)
      left(key, running, signal.reason)
    }
  }

  return Object.assign(share, {
    stop(reason: Error) {
      for (const { controller } of all.values()) controller.abort(reason)
    }
  })
}
