import { isAbort, reason } from '../oci/errors.ts'
import { NotDialled, OtherPeer } from './dial.ts'

/**
 * Why an address did not do: `policy` forbids it; nothing here can dial it (`unsupported`) or it isn't one
 * (`malformed`); its host says no (`refused`) or nothing (`timeout`); somebody else is there (`other-peer`); or
 * something else went wrong on the way (`failed`).
 */
export type ProbeKind =
  | 'policy'
  | 'unsupported'
  | 'malformed'
  | 'refused'
  | 'timeout'
  | 'other-peer'
  | 'failed'

/** An address that did not do. */
export class ProbeFailure extends Error {
  override readonly name = 'ProbeFailure'
  readonly kind: ProbeKind

  constructor(kind: ProbeKind, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.kind = kind
  }
}

/** What libp2p calls an address for which it has no transport. */
export const NO_TRANSPORT = new Set([
  'NoValidAddressesError',
  'TransportUnavailableError',
  'UnsupportedProtocolError'
])

/** What an error of a dial means. @param late whether its time was up */
export function failureOf(error: unknown, late: boolean, dialMs: number): ProbeFailure {
  if (error instanceof ProbeFailure) return error
  const text =
    error instanceof AggregateError && error.message === ''
      ? error.errors.map(reason).join('; ')
      : reason(error)
  const as = (kind: ProbeKind, says = text) => new ProbeFailure(kind, says, { cause: error })
  if (error instanceof NotDialled) return as('policy')
  if (error instanceof OtherPeer) return as('other-peer')
  if (late || isTimeout(error)) return as('timeout', `no answer within ${dialMs} ms`)
  if (error instanceof Error && NO_TRANSPORT.has(error.name))
    return as('unsupported', 'nothing here can dial such an address')
  if (text.includes('ECONNREFUSED')) return as('refused', 'nobody listens there (connection refused)')
  return as('failed')
}

/** Whether an error, or a signal's reason, is that the time was up. */
export const isTimeout = (error: unknown): boolean =>
  isAbort(error) && (error as Error).name === 'TimeoutError'
