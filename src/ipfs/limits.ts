/** How many bytes a second may go one way, over all peers together. */
export interface Limiter {
  /**
   * Waits until `bytes` may go. Those who wait go in the order in which they came, and a limit that was not
   * used lately lets {@link BURST_MS} worth of bytes go at once.
   *
   * @throws the signal's reason
   */
  take(bytes: number, signal?: AbortSignal): Promise<void>
  /** Bytes that were taken and didn't go. */
  giveBack(bytes: number): void
}

/** Both ways, as peers see us: up is what we send them. */
export interface Limits {
  readonly up: Limiter
  readonly down: Limiter
}

/** How much of an unused limit may be made up for, in milliseconds. */
const BURST_MS = 100

const UNLIMITED: Limiter = { take: async () => {}, giveBack: () => {} }

/**
 * A token bucket that may be overdrawn by one taker: whoever finds tokens takes what it needs, and the next
 * one waits until the debt is paid. So pieces of any size pass, and none starves behind smaller ones.
 *
 * @param bytesPerSecond `undefined` for no limit
 */
export function createLimiter(bytesPerSecond: number | undefined): Limiter {
  if (bytesPerSecond === undefined) return UNLIMITED
  const perMs = bytesPerSecond / 1000
  const most = perMs * BURST_MS
  let tokens = most
  let filledAt = performance.now()
  let timer: NodeJS.Timeout | undefined
  const waiting = new Set<{ bytes: number; go: () => void }>()

  function fill(): void {
    const now = performance.now()
    tokens = Math.min(most, tokens + (now - filledAt) * perMs)
    filledAt = now
  }

  function admit(): void {
    timer = undefined
    fill()
    for (const one of waiting) {
      if (tokens <= 0) break
      waiting.delete(one)
      tokens -= one.bytes
      one.go()
    }
    if (waiting.size > 0) timer = setTimeout(admit, Math.max(1, -tokens / perMs))
  }

  return {
    take(bytes, signal) {
      return new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason as Error)
        const onAbort = () => {
          waiting.delete(one)
          reject(signal?.reason as Error)
        }
        const one = {
          bytes,
          go: () => {
            signal?.removeEventListener('abort', onAbort)
            resolve()
          }
        }
        signal?.addEventListener('abort', onAbort, { once: true })
        waiting.add(one)
        if (timer === undefined) admit()
        return undefined
      })
    },
    giveBack(bytes) {
      tokens = Math.min(most, tokens + bytes)
      if (timer === undefined) return
      clearTimeout(timer)
      admit()
    }
  }
}

/** No limit either way. */
export const NO_LIMITS: Limits = { up: UNLIMITED, down: UNLIMITED }

/** The chunks of a stream, each when it may have come: the reader's pace is the sender's. */
export function metered(
  chunks: AsyncIterable<Uint8Array>,
  limiter: Limiter,
  signal?: AbortSignal
): AsyncIterable<Uint8Array> {
  return limiter === UNLIMITED ? chunks : paced(chunks, limiter, signal)
}

async function* paced(
  chunks: AsyncIterable<Uint8Array>,
  limiter: Limiter,
  signal: AbortSignal | undefined
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    await limiter.take(chunk.length, signal)
    yield chunk
  }
}

/** Seats for those who are served at the same time. */
export interface Seats {
  /**
   * Takes a seat; `undefined` when none is free, or `address` has its share. Whoever has it calls what is returned
   * when done, once.
   */
  enter(address: string): (() => void) | undefined
  /** How long, in seconds, one who found none had better wait before it asks again. */
  readonly retryAfter: number
}

/**
 * Makes {@link Seats}. An address may have `perAddress` of them, or, where that isn't given, as many as are free: one
 * alone gets half of them, the next one half of what is left, and so on, so that nobody takes all of them.
 */
export function createSeats(max: number, perAddress?: number): Seats {
  let free = max
  const held = new Map<string, number>()
  return {
    retryAfter: 1,
    enter(address) {
      const own = held.get(address) ?? 0
      if (free === 0 || (perAddress === undefined ? own > free : own >= perAddress)) return undefined
      free--
      held.set(address, own + 1)
      let left = false
      return () => {
        if (left) return
        left = true
        free++
        const rest = (held.get(address) ?? 0) - 1
        if (rest > 0) held.set(address, rest)
        else held.delete(address)
      }
    }
  }
}
