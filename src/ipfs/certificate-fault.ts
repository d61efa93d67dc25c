import { reason } from '../oci/errors.ts'
import { PeerFault } from './wants.ts'

/** As OpenSSL says it of a certificate whose authority isn't known. */
const UNKNOWN = /SELF_SIGNED|UNABLE_TO_(GET_ISSUER|VERIFY)/

/** An error of a connection; where the other side's certificate isn't trusted, it says what to do about it. */
export function certificateFault(error: Error): Error {
  if (!UNKNOWN.test((error as NodeJS.ErrnoException).code ?? '')) return error
  return new PeerFault(
    `has a certificate that isn't trusted (${reason(error)}; name the file with its certificate authority in NODE_EXTRA_CA_CERTS)`,
    { cause: error }
  )
}
