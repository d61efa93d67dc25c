import { RegistryError } from '../oci/errors.ts'

/**
 * What came of asking a registry:
 *
 * - `unknown`: it hasn't got that
 * - `denied`: it doesn't let us have it
 * - `busy`: it wants to be left alone (429)
 * - `down`: it can't be reached, failed, or was silent for too long
 * - `wrong`: it sent something that is not what was asked for
 */
export type Fault = 'unknown' | 'denied' | 'busy' | 'down' | 'wrong'

/** An upstream registry that didn't give what it was asked for. */
export class UpstreamError extends Error {
  override readonly name = 'UpstreamError'
  readonly fault: Fault
  /** How long it wants to be left alone, in milliseconds, where it says so. */
  readonly retryAfterMs: number | undefined
  /** Whether it was silent, so that asking it once more would take as long again. */
  readonly silent: boolean
  /** The status of the answer that it gave, if it gave one. */
  readonly status: number | undefined
  /** What it said of it for people, in one line. */
  readonly said: string | undefined

  constructor(
    fault: Fault,
    message: string,
    options: {
      cause?: unknown
      retryAfterMs?: number | undefined
      silent?: boolean
      status?: number
      said?: string | undefined
    } = {}
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.fault = fault
    this.retryAfterMs = options.retryAfterMs
    this.silent = options.silent ?? false
    this.status = options.status
    this.said = options.said
  }
}

/** The longest that a registry's Retry-After is believed, in milliseconds. */
const MAX_RETRY_AFTER = 3_600_000

/**
 * A Retry-After header in milliseconds: seconds or a date.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
 */
export function retryAfterMs(header: string | undefined, now = Date.now()): number | undefined {
  if (header === undefined) return undefined
  const ms = /^\d{1,9}$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - now
  return Number.isNaN(ms) ? undefined : Math.min(MAX_RETRY_AFTER, Math.max(0, ms))
}

/** What a client is told of it; `missing` is the code for what the upstream hasn't got. */
export function asRefusal(
  error: unknown,
  missing: 'MANIFEST_UNKNOWN' | 'BLOB_UNKNOWN' | 'NAME_UNKNOWN'
): unknown {
  if (!(error instanceof UpstreamError)) return error
  const { fault, message, cause, retryAfterMs: wait } = error
  if (fault === 'unknown') return new RegistryError(missing, message, { cause })
  // Registries answer so for what doesn't exist, too; and a client can't log in here for there.
  if (fault === 'denied')
    return new RegistryError(
      missing,
      `${message}; the gateway's operator sets credentials for it (SEAWAY_UPSTREAM_AUTH)`,
      { cause }
    )
  if (fault === 'busy') {
    const headers: Record<string, string> =
      wait === undefined ? {} : { 'Retry-After': String(Math.ceil(wait / 1000)) }
    return new RegistryError('TOOMANYREQUESTS', message, { cause, headers })
  }
  return new RegistryError(error.silent ? 'SOURCE_TIMEOUT' : 'SOURCE_FAILED', message, { cause })
}
