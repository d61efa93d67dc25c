import { LRUCache } from 'lru-cache'
import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import { untilAborted } from '../oci/waiting.ts'
import type { Records } from '../store/records.ts'
import type { Routing } from './routing.ts'

/** How telling the network what is here goes. */
export interface Providing {
  /** Whether there is a network to tell. */
  readonly enabled: boolean
  /** What is being told now; `undefined` between rounds. `total` is what is known of so far. */
  readonly running: { readonly done: number; readonly total: number } | undefined
  /** CIDs of new pushes that wait for their turn. */
  readonly waiting: number
  /** How the last whole round ended (epoch ms); `undefined` before the first one. */
  readonly last: { readonly at: number; readonly told: number; readonly failed: number } | undefined
  /** When the next whole round begins (epoch ms). */
  readonly next: number | undefined
}

/** Tells the network what is here: everything on a schedule, and what is new at once. */
export interface Provider {
  status(): Providing
  /** Tells of these soon; `instead` is forgotten if it still waits. */
  add(cids: Iterable<CID>, instead?: CID): void
  /** A whole round now, or the one that runs already. @throws the signal's reason */
  round(options: { signal: AbortSignal; progress(done: number, total: number): void }): Promise<Providing>
  /** Begins the schedule. */
  start(): void
  stop(): Promise<void>
}

/** What {@link createProvider} is made from. */
export interface ProviderOptions {
  routing: Pick<Routing, 'provide' | 'provides'>
  /** All that the network is to know of, most wanted first. */
  offered: (signal: AbortSignal) => AsyncIterable<CID>
  records: Pick<Records, 'get' | 'put'>
  intervalMs: number
  /** For one CID. */
  deadlineMs: number
  log: Log
}

/** CIDs that are told at the same time: each is some twenty peers to be found and told. */
const AT_ONCE = 8

/** New CIDs that wait at most; beyond them a whole round is due anyway. */
const MAX_WAITING = 10_000

/** A round that couldn't tell anybody anything is tried again this soon, in milliseconds. */
const RETRY_MS = 60_000

/** How long after the start the first round begins, in milliseconds: the DHT has to be entered first. */
const FIRST_MS = 2000

const RECORD = 'provided'

/**
 * Makes the provider. When the last whole round was is kept in a record, so that a restart tells the network
 * again only when that is due.
 */
export function createProvider(options: ProviderOptions): Provider {
  const { routing, offered, records, intervalMs, deadlineMs, log } = options
  const stopped = new AbortController()
  const fresh = new LRUCache<string, CID>({ max: MAX_WAITING })
  let running: { done: number; total: number; ended: Promise<void> } | undefined
  let last: Providing['last']
  let next: number | undefined
  let timer: NodeJS.Timeout | undefined
  let telling: Promise<void> = Promise.resolve()

  const status = (): Providing => ({
    enabled: routing.provides,
    running: running && { done: running.done, total: running.total },
    waiting: fresh.size,
    last,
    next
  })

  /** Whether anybody took note. */
  async function tell(cid: CID): Promise<boolean> {
    const signal = AbortSignal.any([stopped.signal, AbortSignal.timeout(deadlineMs)])
    const peers = await routing.provide(cid, signal).catch((error: unknown) => {
      stopped.signal.throwIfAborted()
      log.debug({ cid: cid.toString(), err: reason(error) }, 'not provided')
      return 0
    })
    fresh.delete(cid.toString())
    log.debug({ cid: cid.toString(), peers }, 'provided')
    return peers > 0
  }

  async function work(state: { done: number; total: number }): Promise<void> {
    let told = 0
    const cids = offered(stopped.signal)[Symbol.asyncIterator]()
    const began = Date.now()
    let noted = began
    const one = async () => {
      for (;;) {
        const step = await cids.next()
        if (step.done === true || stopped.signal.aborted) return
        state.total++
        if (await tell(step.value)) told++
        state.done++
        if (Date.now() - noted > 60_000) {
          noted = Date.now()
          log.info({ done: state.done, told }, 'telling the network what is here')
        }
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, one))
    if (stopped.signal.aborted) return
    last = { at: Date.now(), told, failed: state.done - told }
    const level = last.failed > 0 ? 'warn' : 'info'
    log[level]({ told, failed: last.failed, ms: last.at - began }, 'told the network what is here')
    if (told > 0 || state.done === 0) await records.put(RECORD, Buffer.from(JSON.stringify(last)))
    schedule(told > 0 || state.done === 0 ? intervalMs : Math.min(RETRY_MS, intervalMs))
  }

  function begin(): Promise<void> {
    if (running !== undefined) return running.ended
    clearTimeout(timer)
    const state = { done: 0, total: 0, ended: Promise.resolve() }
    running = state
    state.ended = work(state)
      .catch((error: unknown) => {
        if (stopped.signal.aborted) return
        log.error({ cause: reason(error) }, 'could not tell the network what is here')
        schedule(Math.min(RETRY_MS, intervalMs))
      })
      .finally(() => {
        running = undefined
      })
    return state.ended
  }

  function schedule(inMs: number): void {
    if (stopped.signal.aborted) return
    clearTimeout(timer)
    next = Date.now() + inMs
    // a timer takes 24 days at most
    timer = setTimeout(() => void begin(), Math.min(inMs, 2 ** 31 - 1))
    timer.unref()
  }

  /** Tells of what is new, a few at a time, after what came before. */
  async function tellFresh(): Promise<void> {
    while (fresh.size > 0 && !stopped.signal.aborted) {
      const some = [...fresh.values()].slice(-AT_ONCE)
      const told = await Promise.all(some.map(tell))
      const failed = told.filter((ok) => !ok).length
      if (failed > 0)
        log.warn({ failed }, 'nobody could be told what is new here; the next round tries again')
      if (failed === told.length) {
        fresh.clear()
        schedule(Math.min(RETRY_MS, intervalMs))
      }
    }
  }

  return {
    status,

    add(cids, instead) {
      if (!routing.provides || stopped.signal.aborted) return
      if (instead !== undefined) fresh.delete(instead.toString())
      const idle = fresh.size === 0
      for (const cid of cids) fresh.set(cid.toString(), cid)
      if (idle) telling = telling.then(tellFresh, tellFresh)
    },

    async round({ signal, progress }) {
      if (!routing.provides) return status()
      const ended = begin()
      const show = setInterval(() => {
        if (running !== undefined) progress(running.done, running.total)
      }, 200)
      try {
        await untilAborted(ended, signal)
      } finally {
        clearInterval(show)
      }
      return status()
    },

    start() {
      if (!routing.provides) return
      void (async () => {
        const kept = await records.get(RECORD)
        if (kept !== undefined) last = JSON.parse(Buffer.from(kept).toString()) as NonNullable<typeof last>
        schedule(Math.max(FIRST_MS, (last?.at ?? 0) + intervalMs - Date.now()))
      })()
    },

    async stop() {
      stopped.abort(new Error('the node is stopping'))
      clearTimeout(timer)
      await running?.ended
      await telling.catch(() => undefined) // it was told where it arose
    }
  }
}
