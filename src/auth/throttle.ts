import { LRUCache } from 'lru-cache'
import { networkOf } from '../ipfs/addresses.ts'

/** Slows down who guesses passwords. */
export interface Throttle {
  /** How long this address, or whoever tries to be this user, has to wait, in milliseconds; 0 for not at all. */
  wait(address: string, user: string): number
  /**
   * A try begins; call what is returned when it has ended. Who has to wait between tries has one at a time: what is sent
   * at once would else all be tried before the first of it counts.
   */
  begin(address: string, user: string): () => void
  failed(address: string, user: string): void
  succeeded(address: string, user: string): void
}

/** Failures that are free, and how long one more costs, in milliseconds, doubling up to `most`. */
interface Allowance {
  readonly free: number
  readonly firstMs: number
  readonly mostMs: number
}

/** Of one address; of one user from everywhere, which is more, since others could keep that user out. */
const ADDRESS: Allowance = { free: 10, firstMs: 1000, mostMs: 300_000 }
const USER: Allowance = { free: 50, firstMs: 500, mostMs: 30_000 }

/** How many are remembered, and for how long after the last failure, in milliseconds. */
const MAX = 20_000
const FORGET = 3_600_000

/** What of a name that somebody tries is kept, in characters. */
const MAX_NAME = 64

interface Failures {
  count: number
  until: number
}

/**
 * Counts failures by address and by user. An address from which a user has logged in may go on trying that user:
 * strangers can slow each other down, but not keep somebody out of where they always come from.
 */
export function createThrottle(now: () => number = () => performance.now()): Throttle {
  const failures = new LRUCache<string, Failures>({ max: MAX, ttl: FORGET })
  const trusted = new LRUCache<string, true>({ max: MAX, ttl: 24 * FORGET })

  /** Tries under way; as many as passwords wait to be checked. */
  const under = new Map<string, number>()

  function left(key: string, { free, firstMs }: Allowance): number {
    const { count = 0, until = 0 } = failures.get(key) ?? {}
    const wait = Math.max(0, until - now())
    return count > free && under.has(key) ? Math.max(wait, firstMs) : wait
  }

  const keys = (from: string, user: string) =>
    [`a ${networkOf(from)}`, `u ${user.slice(0, MAX_NAME)}`] as const

  function count(key: string, { free, firstMs, mostMs }: Allowance): void {
    const seen = (failures.get(key)?.count ?? 0) + 1
    const wait = seen <= free ? 0 : Math.min(mostMs, firstMs * 2 ** Math.min(seen - free - 1, 20))
    failures.set(key, { count: seen, until: now() + wait })
  }

  return {
    wait(from, user) {
      const [address, name] = keys(from, user)
      const own = left(address, ADDRESS)
      return trusted.has(`${address} ${name}`) ? own : Math.max(own, left(name, USER))
    },
    begin(from, user) {
      const mine = keys(from, user)
      for (const key of mine) under.set(key, (under.get(key) ?? 0) + 1)
      return () => {
        for (const key of mine) {
          const others = (under.get(key) ?? 1) - 1
          if (others > 0) under.set(key, others)
          else under.delete(key)
        }
      }
    },
    failed(from, user) {
      const [address, name] = keys(from, user)
      count(address, ADDRESS)
      count(name, USER)
    },
    succeeded(from, user) {
      // failures stay: who has an account could else wash off the guesses at others
      trusted.set(keys(from, user).join(' '), true)
    }
  }
}
