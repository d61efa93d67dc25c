import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'

/** Work that is done again and again. */
export interface Schedule {
  stop(): Promise<void>
}

/** Runs `work` every `everyMs` milliseconds, never twice at a time; a failure is logged, and the next time tried again. */
export function createSchedule(options: {
  everyMs: number
  what: string
  work: (signal: AbortSignal) => Promise<unknown>
  log: Log
}): Schedule {
  const { everyMs, what, work, log } = options
  const stopped = new AbortController()
  let running: Promise<unknown> | undefined
  const timer = setInterval(
    () => {
      running ??= work(stopped.signal)
        .catch((error: unknown) => {
          if (!stopped.signal.aborted) log.error({ cause: reason(error) }, `could not ${what}`)
        })
        .finally(() => {
          running = undefined
        })
    },
    Math.min(everyMs, 2 ** 31 - 1)
  )
  timer.unref()
  return {
    async stop() {
      clearInterval(timer)
      stopped.abort(new Error('the gateway is stopping'))
      await running
    }
  }
}
