import { type Logger, pino } from 'pino'
import type { LogLevel } from './config.ts'

/** A structured logger; every room gets one handed in, none makes its own. */
export type Log = Logger

/** What waits where stderr can't be written, in bytes. */
const MAX_WAITING = 1024 * 1024

/**
 * Makes the logger: one JSON object a line on stderr (stdout belongs to what commands print), secrets
 * redacted wherever a header or a credential could be attached.
 *
 * @see https://getpino.io
 */
export function createLog(level: LogLevel): Log {
  // Where stderr can't be written, nothing is logged, and the rest goes on; a little is kept until it can be again.
  const destination = pino.destination({ fd: 2, sync: true, maxLength: MAX_WAITING })
  destination.on('error', () => undefined)
  return pino(
    {
      level,
      base: undefined,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: ['authorization', '*.authorization', 'password', '*.password'], censor: '[hidden]' }
    },
    destination
  )
}
