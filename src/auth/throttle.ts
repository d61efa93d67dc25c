import { LRUCache } from 'lru-cache'
import { networkOf } from '../ipfs/addresses.ts'

/** Slows down who guesses passwords. */
export interface Throttle {
  /** How long this address, or whoever tries to be this user, has to wait, in milliseconds; 0 for not at all. */
  wait(address: string, user: string): number
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
export function createThrottle(now: () => number = Date.now): Throttle {
  const failures = new LRUCache<string, Failures>({ max: MAX, ttl: FORGET })
  const trusted = new LRUCache<string, true>({ max: MAX, ttl: 24 * FORGET })

  const left = (key: string) => Math.max(0, (failures.get(key)?.until ?? 0) - now())

  function count(key: string, { free, firstMs, mostMs }: Allowance): void {
    const seen = (failures.get(key)?.count ?? 0) + 1
    const wait = seen <= free ? 0 : Math.min(mostMs, firstMs * 2 ** Math.min(seen - free - 1, 20))
    failures.set(key, { count: seen, until: now() + wait })
  }

  return {
    wait(from, user) {
      const address = networkOf(from)
      const own = left(`a ${address}`)
      if (trusted.has(`${address} ${user.slice(0, MAX_NAME)}`)) return own
      return Math.max(own, left(`u ${user.slice(0, MAX_NAME)}`))
    },
    failed(from, user) {
      const address = networkOf(from)
      count(`a ${address}`, ADDRESS)
      count(`u ${user.slice(0, MAX_NAME)}`, USER)
    },
    succeeded(from, user) {
      // failures stay: who has an account could else wash off the guesses at others
      trusted.set(`${networkOf(from)} ${user.slice(0, MAX_NAME)}`, true)
    }
  }
}
