import { setTimeout as sleep } from 'node:timers/promises'
import { UpstreamError } from './failure.ts'
import type { Mirror } from './mirror.ts'

/** How mirrors are asked. */
export interface Manner {
  /**
   * Whether there is nothing else to be had: then those that failed lately are asked all the same, and a short wait that
   * one asks for is waited. Otherwise they aren't, so that what is here is served without delay.
   */
  readonly patient: boolean
  /** Mirrors that are passed over while there are others. */
  readonly unless?: (mirror: Mirror) => boolean
}

/** Asks an upstream's mirrors in their order until one answers. */
export type Ask = <T>(signal: AbortSignal, manner: Manner, work: (mirror: Mirror) => Promise<T>) => Promise<T>

/** How often one mirror is asked that fails at once, and the wait in between, doubled each time, in milliseconds. */
const TRIES = 3
const WAIT_MS = 100

/** The longest that a mirror's wish to be left alone is waited for, in milliseconds. */
const PATIENCE_MS = 5000

/**
 * Makes it. `most` is how often one is asked that fails at once. What the last one says counts where it hasn't got something: mirrors before it may have less.
 */
export function createAsk(mirrors: readonly Mirror[], most = TRIES): Ask {
  async function tryOne<T>(
    mirror: Mirror,
    signal: AbortSignal,
    { patient }: Manner,
    work: (mirror: Mirror) => Promise<T>
  ): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await work(mirror)
      } catch (error) {
        signal.throwIfAborted()
        if (!(error instanceof UpstreamError)) throw error
        const wait = error.retryAfterMs ?? WAIT_MS * 2 ** tries * (0.5 + Math.random())
        const passing =
          (error.fault === 'down' && !error.silent) ||
          (error.fault === 'busy' && error.retryAfterMs !== undefined)
        const again = patient && passing && tries < most && wait <= PATIENCE_MS
        if (!again) {
          mirror.failed(error)
          throw error
        }
        await sleep(wait, undefined, { signal })
      }
    }
  }

  return async (signal, manner, work) => {
    const good = mirrors.filter((mirror) => manner.unless?.(mirror) !== true)
    const choice = good.length > 0 ? good : mirrors
    const awake = choice.filter((mirror) => mirror.resting() === undefined)
    // one that wants to be left alone is; one that failed is a last hope
    const last = choice.filter((mirror) => mirror.resting()?.error.fault === 'down')
    const order = manner.patient ? [...awake, ...last] : awake
    let failure: UpstreamError | undefined
    for (const mirror of order) {
      try {
        return await tryOne(mirror, signal, manner, work)
      } catch (error) {
        if (!(error instanceof UpstreamError)) throw error
        const weaker = failure !== undefined && mirror !== choice.at(-1) && error.fault === 'unknown'
        if (!weaker) failure = error
      }
    }
    const authority = choice.at(-1)
    const resting = authority === undefined || order.includes(authority) ? undefined : authority.resting()
    if (resting !== undefined) {
      const { fault, message, silent } = resting.error
      throw new UpstreamError(fault, message, { retryAfterMs: resting.ms, silent })
    }
    throw failure ?? new UpstreamError('down', 'no mirror is set')
  }
}
