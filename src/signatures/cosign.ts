/**
 * Signatures that cosign makes with a key. No transparency log and no certificate is looked at: whoever has the private
 * key may sign, at any time.
 *
 * @see https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
 * @see https://github.com/sigstore/cosign/blob/main/specs/BUNDLE_SPEC.md
 * @see https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
 */
import { type KeyObject, verify } from 'node:crypto'
import { z } from 'zod'
import type { Digest } from '../oci/digest.ts'
import { parseJson } from '../oci/manifest.ts'
import { BadSignature, type FoundSignature, type Signed, type Subject } from './types.ts'

/** A payload beside its signature, which is an annotation. */
export const SIMPLE_SIGNING = 'application/vnd.dev.cosign.simplesigning.v1+json'

/** A bundle of any version. */
export const isBundle = (mediaType: string): boolean =>
  /^application\/vnd\.dev\.sigstore\.bundle(?:\.v\d+\.\d+)?\+json(?:;.*)?$/.test(mediaType)

const ANNOTATION = 'dev.cosignproject.cosign/signature'
const PAYLOAD_TYPE = 'cosign container image signature'
const STATEMENT_TYPE = 'application/vnd.in-toto+json'
/** Other statements are attestations: they say something of an image, but not that it is to be used. */
const SIGNED = 'https://sigstore.dev/cosign/sign/v1'

const payloadSchema = z.looseObject({
  critical: z.looseObject({
    type: z.literal(PAYLOAD_TYPE),
    image: z.looseObject({ 'docker-manifest-digest': z.string() })
  })
})

const bundleSchema = z.looseObject({
  dsseEnvelope: z.looseObject({
    payload: z.base64(),
    payloadType: z.literal(STATEMENT_TYPE),
    signatures: z
      .array(z.looseObject({ sig: z.base64() }))
      .min(1)
      .max(16)
  })
})

const statementSchema = z.looseObject({
  predicateType: z.string(),
  subject: z
    .array(z.looseObject({ digest: z.record(z.string(), z.string()) }))
    .min(1)
    .max(100)
})

/**
 * Checks a signature of cosign's against keys, of which one must have made it.
 *
 * @throws {BadSignature} that says why it doesn't count
 */
export function verifyCosign(found: FoundSignature, subject: Subject, keys: readonly KeyObject[]): Signed {
  if (isBundle(found.mediaType)) verifyBundle(found.bytes, subject, keys)
  else verifyPayload(found, subject, keys)
  return {}
}

function verifyPayload({ bytes, annotations }: FoundSignature, subject: Subject, keys: readonly KeyObject[]) {
  const signature = annotations[ANNOTATION]
  if (signature === undefined) throw new BadSignature(`it has no annotation ${ANNOTATION}`)
  byOneOf(keys, bytes, Buffer.from(signature, 'base64'))
  const { critical } = read(payloadSchema, bytes, 'its payload')
  isFor(critical.image['docker-manifest-digest'], subject.digest)
}

function verifyBundle(bytes: Uint8Array, subject: Subject, keys: readonly KeyObject[]): void {
  const { dsseEnvelope } = read(bundleSchema, bytes, 'the bundle')
  const payload = Buffer.from(dsseEnvelope.payload, 'base64')
  const signed = preAuthenticated(dsseEnvelope.payloadType, payload)
  const [first, ...others] = dsseEnvelope.signatures.map(({ sig }) => Buffer.from(sig, 'base64'))
  byOneOf(keys, signed, first as Buffer, ...others)
  const statement = read(statementSchema, payload, 'its statement')
  if (statement.predicateType !== SIGNED)
    throw new BadSignature(
      `it is an attestation (${statement.predicateType.slice(0, 100)}), and no signature`
    )
  const digests = statement.subject.flatMap(({ digest }) =>
    Object.entries(digest).map(([algorithm, hex]) => `${algorithm}:${hex}`)
  )
  isFor(digests.includes(subject.digest) ? subject.digest : (digests[0] ?? 'nothing'), subject.digest)
}

/** What DSSE signs: the type and the payload, each with its length. */
function preAuthenticated(type: string, payload: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `), payload])
}

function isFor(signed: string, digest: Digest): void {
  if (signed !== digest) throw new BadSignature(`it is for another image, ${signed.slice(0, 150)}`)
}

function byOneOf(keys: readonly KeyObject[], data: Uint8Array, ...signatures: readonly Buffer[]): void {
  if (!keys.some((key) => signatures.some((signature) => isBy(key, data, signature))))
    throw new BadSignature('it was made with another key, or what was signed has been changed')
}

/** Whether `key` made a signature, with the hash that cosign takes for its kind. */
function isBy(key: KeyObject, data: Uint8Array, signature: Buffer): boolean {
  return hashesOf(key).some((hash) => {
    try {
      return verify(hash, data, key, signature)
    } catch {
      return false // it has not even the form of one
    }
  })
}

/** Ed25519 hashes by itself; for the longer curves some versions of cosign take sha256, others a hash as long. */
function hashesOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): readonly (string | null)[] {
  if (asymmetricKeyType === 'ed25519') return [null]
  const curve = asymmetricKeyDetails?.namedCurve
  if (curve === 'secp384r1') return ['sha256', 'sha384']
  return curve === 'secp521r1' ? ['sha256', 'sha512'] : ['sha256']
}

/** Reads JSON of somebody else's. @throws {BadSignature} */
export function read<T>(schema: z.ZodType<T>, bytes: Uint8Array, what: string): T {
  let json: unknown
  try {
    json = parseJson(bytes, what)
  } catch (error) {
    throw new BadSignature(`${what} can't be read`, { cause: error })
  }
  const result = schema.safeParse(json)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new BadSignature(`${what} is of a kind that isn't known here: ${issue?.path.map(String).join('.')}`)
}
