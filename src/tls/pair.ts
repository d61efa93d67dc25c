import { createPrivateKey, X509Certificate } from 'node:crypto'
import { createSecureContext, type SecureContext } from 'node:tls'

/** A certificate with its key, and the certificates between it and its authority. */
export interface KeyPair {
  /** PEM, the server's own certificate first. */
  readonly cert: string
  /** PEM. */
  readonly key: string
  readonly certificate: X509Certificate
  /** Both as the TLS stack has them. */
  readonly context: SecureContext
}

/**
 * Puts a pair together.
 *
 * @throws Error that says what is wrong with it, for the end of a sentence
 */
export function readPair(cert: string, key: string): KeyPair {
  const first = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(cert)?.[0]
  if (first === undefined) throw new Error('there is no certificate in PEM form in it')
  const certificate = new X509Certificate(first)
  if (!certificate.checkPrivateKey(readKey(key)))
    throw new Error("the key does not belong to its first certificate, which must be the server's own")
  return { cert, key, certificate, context: createSecureContext({ cert, key }) }
}

function readKey(key: string): ReturnType<typeof createPrivateKey> {
  if (/ENCRYPTED/.test(key)) throw new Error('the key is protected by a passphrase; give one without')
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(key)) throw new Error('there is no private key in PEM form')
  return createPrivateKey(key)
}

/** The names that a certificate is for, as its subject alternative names have them. */
export function namesOf({ certificate }: KeyPair): { dns: string[]; ip: string[] } {
  const entries = (certificate.subjectAltName ?? '').split(', ')
  const of = (kind: string) =>
    entries.flatMap((entry) => (entry.startsWith(kind) ? [entry.slice(kind.length)] : []))
  return { dns: of('DNS:'), ip: of('IP Address:') }
}

/** When a pair ends, and when it began, in epoch ms. */
export function validityOf({ certificate }: KeyPair): { from: number; to: number } {
  return { from: certificate.validFromDate.getTime(), to: certificate.validToDate.getTime() }
}
