import { pino } from 'pino'

/** Something that somebody did, or was not let do. */
export interface AuditEvent {
  readonly event: 'login' | 'push' | 'delete' | 'publish' | 'refused'
  /** `alice`, `token:ci`, `github:acme/app`, `anonymous`; whom they said they were, where they were refused for that. */
  readonly who: string
  /** The client's address. */
  readonly client: string
  readonly [detail: string]: string | number | boolean | undefined
}

/** The audit log. */
export interface Audit {
  write(event: AuditEvent): void
  stop(): void
}

/** The longest text that is written of what a client says, in characters. */
const MAX_TEXT = 300

/**
 * Opens the audit log: one JSON object a line, at the end of a file that is readable to its owner alone, or on stderr.
 * Lines are written before the call returns. Nothing that proves an identity is ever part of an event.
 *
 * @throws Error that names the file which can't be written
 */
export function openAudit(where: string): Audit {
  const destination =
    where === 'stderr'
      ? pino.destination({ fd: 2, sync: true })
      : pino.destination({ dest: where, append: true, mkdir: true, mode: 0o600, sync: true })
  // A full disk doesn't stop what is audited; that it is full says the log.
  destination.on('error', () => undefined)
  const log = pino(
    {
      base: undefined,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: () => ({ level: 'audit' }) }
    },
    destination
  )
  return {
    write(event) {
      const kept = Object.entries(event).filter(([, value]) => value !== undefined)
      log.info(
        Object.fromEntries(
          kept.map(([key, value]) => [key, typeof value === 'string' ? value.slice(0, MAX_TEXT) : value])
        )
      )
    },
    stop: () => (where === 'stderr' ? undefined : destination.end())
  }
}
