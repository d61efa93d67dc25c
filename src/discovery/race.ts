import { reason } from '../oci/errors.ts'
import { ServerFailure } from './failure.ts'
import type { Server } from './server.ts'

/** After this long without an answer the next server is asked too (ms). */
export const HEDGE_MS = 200

// Every server is asked up to this often: again after 400, 800 and 1,600 ms, since UDP loses packets.
const ROUNDS = 4
// Servers that do answer, but with failures, are believed after this many rounds.
const FAILING_ROUNDS = 2
const BACKOFF_MS = 400
const PENALTY_MS = 30_000

/** A server's answer, and which server's. */
export interface Won<T> {
  readonly server: Server
  readonly value: T
}

/** Nobody answered: what each server did, in words, and whether all of them just stayed silent. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
  readonly silent: boolean

  constructor(message: string, silent: boolean) {
    super(message)
    this.silent = silent
  }
}

/**
 * Asks the servers in order with hedging: the next one 200 ms after the one before or as soon as that
 * fails, then all of them again with growing pauses. The first answer wins and the other questions are
 * called off.
 *
 * @throws NoAnswer when all failed, or when the signal aborts with a TimeoutError; else the signal's reason
 */
export function race<T>(
  servers: readonly Server[],
  ask: (server: Server, options: { signal: AbortSignal }) => Promise<T>,
  { signal, now = Date.now }: { signal: AbortSignal; now?: () => number }
): Promise<Won<T>> {
  const others = new AbortController()
  const failures = new Map<Server, string>()
  const waiting = new Map<Server, { since: number; count: number }>()
  let started = 0
  let active = 0
  let timer: NodeJS.Timeout | undefined

  return new Promise((resolve, reject) => {
    const end = (settle: () => void): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', leave)
      others.abort(new DOMException('another server answered', 'AbortError'))
      settle()
    }
    const leave = (): void => {
      const timedOut = signal.reason instanceof Error && signal.reason.name === 'TimeoutError'
      end(() => reject(timedOut ? report() : (signal.reason as Error)))
    }
    const report = (): NoAnswer => {
      const what = (server: Server): string => failures.get(server) ?? 'did not answer in time'
      const words = servers.map((server) => `${server.label} ${what(server)}`)
      return new NoAnswer(words.join('; '), failures.size === 0)
    }
    const lose = (server: Server, error: unknown): void => {
      failures.set(server, reason(error))
      if (!(error instanceof ServerFailure) || error.unreachable) server.penalisedUntil = now() + PENALTY_MS
    }
    const win = (server: Server, value: T): void => {
      server.penalisedUntil = 0
      for (const [slow, { since }] of waiting)
        if (slow !== server && Date.now() - since >= HEDGE_MS) slow.penalisedUntil = now() + PENALTY_MS
      end(() => resolve({ server, value }))
    }
    const next = (): void => {
      clearTimeout(timer)
      const server = servers[started % servers.length] as Server
      started += 1
      active += 1
      const wait = waiting.get(server)
      waiting.set(server, { since: wait?.since ?? Date.now(), count: (wait?.count ?? 0) + 1 })
      schedule()
      ask(server, { signal: others.signal })
        .then((value) => win(server, value))
        .catch((error: unknown) => {
          if (others.signal.aborted) return
          active -= 1
          const mine = waiting.get(server)
          if (mine !== undefined && mine.count > 1) mine.count -= 1
          else waiting.delete(server)
          lose(server, error)
          proceed()
        })
    }
    const schedule = (): void => {
      const round = Math.floor(started / servers.length)
      if (round >= ROUNDS) return
      const newRound = started % servers.length === 0
      timer = setTimeout(next, newRound ? BACKOFF_MS * 2 ** (round - 1) : HEDGE_MS)
    }
    // one attempt has failed: the next server of this round at once; the next round in its time
    const proceed = (): void => {
      const rounds = started / servers.length
      if (!Number.isInteger(rounds)) return next()
      if (active === 0 && rounds >= FAILING_ROUNDS) end(() => reject(report()))
    }

    if (signal.aborted) return leave()
    if (servers.length === 0) return reject(new NoAnswer('no DNS server is known', false))
    signal.addEventListener('abort', leave, { once: true })
    next()
  })
}
