/**
 * Signatures that notation makes: JWS envelopes with the signer's certificates. Neither revocation nor time stamps are
 * looked at, so that the certificates must be valid now.
 *
 * @see https://github.com/notaryproject/specifications/blob/v1.1.0/specs/signature-specification.md
 * @see https://github.com/notaryproject/specifications/blob/v1.1.0/specs/signature-envelope-jws.md
 */
import { X509Certificate } from 'node:crypto'
import { decodeProtectedHeader, flattenedVerify } from 'jose'
import { z } from 'zod'
import { reason } from '../oci/errors.ts'
import { read } from './cosign.ts'
import { BadSignature, type FoundSignature, type Signed, type Subject, type Trust } from './types.ts'

/** An envelope that is read here. */
export const JWS = 'application/jose+json'
/** One that isn't. */
export const COSE = 'application/cose'

const PAYLOAD_TYPE = 'application/vnd.cncf.notary.payload.v1+json'
const SCHEME = 'io.cncf.notary.signingScheme'
const EXPIRY = 'io.cncf.notary.expiry'
/** The extended key usage of certificates that sign code. */
const CODE_SIGNING = '1.3.6.1.5.5.7.3.3'
const ALGORITHMS = ['PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512']

const envelopeSchema = z.looseObject({
  payload: z.string(),
  protected: z.string(),
  signature: z.string(),
  header: z.looseObject({ x5c: z.array(z.base64()).min(1).max(10) })
})

const protectedSchema = z.looseObject({
  cty: z.literal(PAYLOAD_TYPE),
  [SCHEME]: z.literal('notary.x509'),
  [EXPIRY]: z.iso.datetime({ offset: true }).optional()
})

const payloadSchema = z.looseObject({
  targetArtifact: z.looseObject({ mediaType: z.string(), digest: z.string(), size: z.int().nonnegative() })
})

/**
 * Checks a signature of notation's against a trust store.
 *
 * @param now in milliseconds since 1970
 * @throws {BadSignature} that says why it doesn't count
 */
export async function verifyNotation(
  { mediaType, bytes }: FoundSignature,
  subject: Subject,
  trust: Trust,
  now: number
): Promise<Signed> {
  if (mediaType === COSE)
    throw new BadSignature("it is a COSE envelope, which isn't read here: sign with --signature-format jws")
  const envelope = read(envelopeSchema, bytes, 'the envelope')
  const head = headOf(envelope)
  const chain = envelope.header.x5c.map(certificateOf)
  const [leaf] = chain as [X509Certificate]
  const validTo = checkChain(chain, trust, now)
  const { payload } = await flattenedVerify(envelope, leaf.publicKey, {
    algorithms: ALGORITHMS,
    crit: { [SCHEME]: true, [EXPIRY]: true }
  }).catch((error: unknown) => {
    throw new BadSignature(`its certificate didn't make it, or it has been changed: ${reason(error)}`)
  })
  const expiry = head[EXPIRY] === undefined ? Number.POSITIVE_INFINITY : Date.parse(head[EXPIRY])
  if (expiry <= now) throw new BadSignature(`it expired at ${head[EXPIRY]}`)
  const { targetArtifact: target } = read(payloadSchema, payload, 'its payload')
  if (target.digest !== subject.digest)
    throw new BadSignature(`it is for another image, ${target.digest.slice(0, 150)}`)
  if (target.size !== subject.size || target.mediaType !== subject.mediaType)
    throw new BadSignature('it gives the image another size or media type')
  return { until: Math.min(validTo, expiry) }
}

function headOf(envelope: z.infer<typeof envelopeSchema>): z.infer<typeof protectedSchema> {
  try {
    return protectedSchema.parse(decodeProtectedHeader(envelope))
  } catch (error) {
    throw new BadSignature('it is of a kind that is not known here: only the scheme notary.x509 is', {
      cause: error
    })
  }
}

function certificateOf(base64: string): X509Certificate {
  try {
    return new X509Certificate(Buffer.from(base64, 'base64'))
  } catch (error) {
    throw new BadSignature('one of its certificates cannot be read', { cause: error })
  }
}

/**
 * Follows the certificates, the signer's first, to one that is trusted. Until when they all are valid, in milliseconds.
 *
 * @throws {BadSignature}
 */
function checkChain(chain: readonly X509Certificate[], trust: Trust, now: number): number {
  const trusted = new Set(trust.certificates.map(({ fingerprint256 }) => fingerprint256))
  const end = chain.findIndex(({ fingerprint256 }) => trusted.has(fingerprint256))
  const [leaf] = chain as [X509Certificate]
  if (end === -1) throw new BadSignature(`its certificate (${nameOf(leaf)}) is not from the trust store`)
  const used = chain.slice(0, end + 1)
  used.forEach((certificate, i) => {
    const issuer = used[i + 1]
    if (certificate.validFromDate.getTime() > now || certificate.validToDate.getTime() <= now)
      throw new BadSignature(
        `the certificate ${nameOf(certificate)} is valid from ${certificate.validFrom} to ${certificate.validTo}`
      )
    if (issuer === undefined) return
    if (!issuer.ca || !certificate.checkIssued(issuer) || !certificate.verify(issuer.publicKey))
      throw new BadSignature(`the certificate ${nameOf(certificate)} was not issued by ${nameOf(issuer)}`)
  })
  if (end > 0 && leaf.ca)
    throw new BadSignature('it was made by an authority, which is for issuing certificates')
  // what node calls the key usage is the extended one
  if (leaf.keyUsage !== undefined && !leaf.keyUsage.includes(CODE_SIGNING))
    throw new BadSignature(`the certificate ${nameOf(leaf)} is not for signing code`)
  const subject = attributesOf(leaf.subject.split('\n'))
  const known = trust.identities.some((identity) =>
    [...identity].every(([name, value]) => subject.get(name) === value)
  )
  if (trust.identities.length > 0 && !known)
    throw new BadSignature(`its certificate is that of ${nameOf(leaf)}, whom the policy doesn't name`)
  return Math.min(...used.map(({ validToDate }) => validToDate.getTime()))
}

const nameOf = ({ subject }: X509Certificate): string => subject.split('\n').join(', ').slice(0, 200)

/** The attributes of a distinguished name, from parts like `O=Acme`. */
export function attributesOf(parts: readonly string[]): ReadonlyMap<string, string> {
  return new Map(
    parts.map((part): [string, string] => {
      const at = part.indexOf('=')
      return [part.slice(0, at).trim().toUpperCase(), part.slice(at + 1).trim()]
    })
  )
}
