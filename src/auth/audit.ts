import { fstatSync, statSync } from 'node:fs'
import { pino } from 'pino'

/** Something that somebody did, or was not let do. */
export interface AuditEvent {
  readonly event:
    | 'login'
    | 'push'
    | 'delete'
    | 'publish'
    | 'restore'
    | 'sync'
    | 'pin'
    | 'unpin'
    | `key ${'create' | 'import' | 'export' | 'rotate'}`
    | 'refused'
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

/** What waits where the file can't be written, in bytes; what comes after that is lost. */
const MAX_WAITING = 1024 * 1024

/** How often it is looked whether the file is still where it was, at most, in milliseconds. */
const LOOK_EVERY = 1000

/** Tokens: a machine's, whose id is no secret, and signed ones. */
const SECRETS = /(seaway_[0-9a-f]{16}_)[\w-]+|eyJ[\w-]+\.[\w-]+\.[\w-]*/g

/**
 * Opens the audit log: one JSON object a line, at the end of a file that is readable to its owner alone, or on stderr.
 * Lines are written before the call returns. Nothing that proves an identity is ever part of an event. Where the file
 * was moved or removed, as log rotation does, another one is made. A full disk doesn't stop what is audited.
 *
 * @param how.trouble is told when lines can't be written, once until one can be again
 * @throws Error that names the file which can't be written
 */
export function openAudit(
  where: string,
  how: { trouble: (error: Error) => void; lookEveryMs?: number }
): Audit {
  const { trouble, lookEveryMs = LOOK_EVERY } = how
  const file = where !== 'stderr'
  const destination = pino.destination({
    ...(file ? { dest: where, append: true, mkdir: true, mode: 0o600 } : { fd: 2 }),
    sync: true,
    maxLength: MAX_WAITING
  })
  let looked = performance.now()
  let failing = false
  /** Whether another file should be written by now, and can't be had: then the one before goes on. */
  let astray = false
  const failed = (error: Error) => {
    if (!failing) trouble(error)
    failing = true
  }
  destination.on('error', failed)
  destination.on('write', () => {
    failing = astray
  })
  const log = pino(
    {
      base: undefined,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: () => ({ level: 'audit' }) }
    },
    destination
  )

  /** Writes into the file of that name, whichever that is by now. */
  function follow(): void {
    if (!file || performance.now() - looked < lookEveryMs) return
    looked = performance.now()
    try {
      const there = statSync(where, { throwIfNoEntry: false })
      const own = fstatSync((destination as unknown as { fd: number }).fd)
      if (there?.ino !== own.ino || there.dev !== own.dev) destination.reopen()
      astray = false
    } catch (error) {
      astray = true
      failed(error as Error)
    }
  }
  return {
    write(event) {
      follow()
      const kept = Object.entries(event).filter(([, value]) => value !== undefined)
      log.info(
        Object.fromEntries(
          kept.map(([key, value]) => [key, typeof value === 'string' ? plain(value) : value])
        )
      )
    },
    stop: () => (file ? destination.end() : undefined)
  }
}

/**
 * What a client says, without what would steer the terminal of who reads it (JSON leaves some of that as it is), and
 * without secrets, whatever field people put them into.
 */
function plain(text: string): string {
  const shown = text.replace(SECRETS, (_, id: string | undefined) => `${id ?? ''}[hidden]`)
  return shown.slice(0, MAX_TEXT).replace(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu, '\ufffd')
}
