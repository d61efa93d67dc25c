import { createHash, createHmac, randomBytes } from 'node:crypto'
import { Worker } from 'node:worker_threads'
import { LRUCache } from 'lru-cache'
import { RegistryError } from '../oci/errors.ts'

/** Hashing and checking of passwords, away from the thread that serves. */
export interface Passwords {
  /** @throws {RegistryError} REQUEST_INVALID for what bcrypt can't tell apart */
  hash(password: string): Promise<string>
  /**
   * Whether a password is that of a hash. Where it isn't, `wrong` is called, once for all that ask together.
   *
   * @throws {RegistryError} UNAVAILABLE when too many wait
   */
  check(password: string, hash: string, wrong?: () => void): Promise<boolean>
  /** What {@link check} would answer out of its memory; `undefined` where it would have to look. */
  known(password: string, hash: string): boolean | undefined
  stop(): Promise<void>
}

/** bcrypt's cost for new passwords: 2^10 rounds, some 50 ms. */
const COST = 10

/** bcrypt reads no more of a password than this, in bytes. */
const MAX_PASSWORD = 72

/** How many checks may wait; at some 50 ms each, the last one of them a few seconds. */
const MAX_WAITING = 64

/** How long a right password is remembered, in milliseconds: a push of a hundred requests costs one check. */
const REMEMBER = 30_000

/** How many wrong ones are remembered, and for how long in milliseconds: a client shows the same one again and again. */
const MAX_WRONG = 10_000
const REMEMBER_WRONG = 3_600_000

/** What the thread may use, in MB. */
const LIMITS = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 }

/** What no password's hash ends with. */
const NO_HASH = '.'.repeat(31)

interface Answer {
  readonly id: number
  readonly result?: boolean | string
  readonly error?: string
}

/**
 * A hash for somebody who isn't there, which no password has. A check against it takes what it takes for some user of the
 * file, always the same one for a name, so that neither one time nor several tell whether there is such a user; and its
 * salt is the name's own, so that checks of one password are shared as they are for a user.
 */
export function decoyOf(name: string, users: ReadonlyMap<string, string>): string {
  const hashes = [...users.values()]
  const seed = createHash('sha256')
    .update(name)
    .update('\0')
    .update(hashes[0] ?? '')
    .digest()
  const like = hashes[seed.readUInt32BE(0) % hashes.length] ?? `$2b$${COST}$`
  const salt = seed.subarray(8).toString('base64').replaceAll('+', '.').slice(0, 22)
  return `${like.slice(0, 7)}${salt}${NO_HASH}`
}

/**
 * Makes {@link Passwords}. The thread begins with the first password. A right one is remembered for half a minute, and a
 * wrong one for an hour, as a keyed hash of password and stored hash together: a changed password is unknown at once.
 */
export function createPasswords(): Passwords {
  const key = randomBytes(32)
  const right = new LRUCache<string, true>({ max: 1000, ttl: REMEMBER })
  const wrongs = new LRUCache<string, true>({ max: MAX_WRONG, ttl: REMEMBER_WRONG })
  const running = new Map<string, Promise<boolean>>()
  const waiting = new Map<number, PromiseWithResolvers<boolean | string>>()
  let worker: Worker | undefined
  let last = 0

  function ask(question: { password: string; hash?: string; cost?: number }): Promise<boolean | string> {
    if (waiting.size >= MAX_WAITING) {
      throw new RegistryError('UNAVAILABLE', 'too many are logging in at once; try again', {
        headers: { 'Retry-After': '5' }
      })
    }
    worker ??= begin()
    const id = ++last
    const answer = Promise.withResolvers<boolean | string>()
    waiting.set(id, answer)
    worker.postMessage({ id, ...question }, [])
    return answer.promise
  }

  function begin(): Worker {
    const thread = new Worker(new URL('./bcrypt-worker.js', import.meta.url), { resourceLimits: LIMITS })
    const fail = (error: Error) => {
      if (worker === thread) worker = undefined
      for (const { reject } of waiting.values()) reject(error)
      waiting.clear()
    }
    thread.unref()
    thread.on('error', fail)
    thread.on('exit', () => fail(new Error('the thread that checks passwords has ended')))
    thread.on('message', ({ id, result, error }: Answer) => {
      const answer = waiting.get(id)
      waiting.delete(id)
      if (result === undefined) answer?.reject(new Error(error))
      else answer?.resolve(result)
      if (waiting.size === 0) thread.unref()
    })
    return thread
  }

  /** Awaits an answer; who asks waits for it, so the process stays. */
  async function answered(question: { password: string; hash?: string; cost?: number }) {
    const answer = ask(question)
    worker?.ref()
    return answer
  }

  const keyOf = (password: string, hash: string) =>
    createHmac('sha256', key).update(hash).update('\0').update(password).digest('base64')

  return {
    async hash(password) {
      const length = Buffer.byteLength(password)
      if (length === 0 || length > MAX_PASSWORD || password.includes('\0')) {
        throw new RegistryError(
          'REQUEST_INVALID',
          `the password has ${length} bytes, but must have 1 to ${MAX_PASSWORD}, and no NUL: bcrypt reads no more`
        )
      }
      return String(await answered({ password, cost: COST }))
    },
    known(password, hash) {
      const what = keyOf(password, hash)
      return right.has(what) ? true : wrongs.has(what) ? false : undefined
    },
    async check(password, hash, wrong) {
      const what = keyOf(password, hash)
      if (right.has(what)) return true
      if (wrongs.has(what)) return false
      const check =
        running.get(what) ??
        answered({ password, hash })
          .then((result) => {
            if (result === true) right.set(what, true)
            else {
              wrongs.set(what, true)
              wrong?.()
            }
            return result === true
          })
          .finally(() => running.delete(what))
      running.set(what, check)
      return check
    },
    async stop() {
      await worker?.terminate()
    }
  }
}
