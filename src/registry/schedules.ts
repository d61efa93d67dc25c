import type { Log } from '../log.ts'
import { createSchedule, type Schedule } from './collect-schedule.ts'
import type { Prefetch } from './prefetch.ts'
import type { RegistrySettings } from './settings.ts'
import type { Uploads } from './uploads.ts'

/** How often what was used is written down, in milliseconds. */
const SAVE_MS = 60_000

/** How often uploads that nobody goes on with are looked for, in milliseconds, where they don't expire sooner. */
const EXPIRE_MS = 10 * 60_000

/**
 * Starts what a registry does again and again: it writes down what was used (`save`), ends uploads that nobody
 * goes on with, and collects if it is set to.
 */
export function startSchedules(options: {
  save: () => Promise<void>
  collect: (signal: AbortSignal) => Promise<unknown>
  uploads: Pick<Uploads, 'expire'>
  prefetch: Prefetch
  settings: Pick<RegistrySettings, 'collect' | 'prefetch' | 'uploadExpiryMs'>
  log: Log
}): Schedule {
  const { save, collect, prefetch, uploads, settings, log } = options
  const warm = settings.prefetch
  const schedules = [
    createSchedule({ everyMs: SAVE_MS, what: 'write down what was used', work: save, log }),
    createSchedule({
      everyMs: Math.min(settings.uploadExpiryMs, EXPIRE_MS),
      what: 'expire uploads',
      work: () => uploads.expire(settings.uploadExpiryMs),
      log
    })
  ]
  if (settings.collect.intervalMs !== undefined) {
    schedules.push(
      createSchedule({
        everyMs: settings.collect.intervalMs,
        what: 'collect what nothing needs',
        work: collect,
        log
      })
    )
  }
  if (warm !== undefined && warm.images.length > 0) {
    schedules.push(
      createSchedule({
        everyMs: warm.intervalMs,
        what: 'bring images here',
        work: (signal) => prefetch(warm, signal, () => undefined),
        log
      })
    )
  }
  return {
    async stop() {
      for (const schedule of schedules) await schedule.stop()
    }
  }
}
