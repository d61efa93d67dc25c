import { createHash, type Hash } from 'node:crypto'
import { RegistryError } from './errors.ts'

/** The digest algorithms that the OCI image specification registers, with the length of their hex. */
const HEX_LENGTH = { sha256: 64, sha512: 128 } as const

/** A registered digest algorithm. */
export type Algorithm = keyof typeof HEX_LENGTH

/**
 * An OCI digest, `algorithm:lower-case-hex`. It names content by its bytes; a CID names an IPFS block
 * or DAG. The two are never interchangeable, even where one can be worked out from the other.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md#digests
 */
export type Digest = `${Algorithm}:${string}`

/** Whether `text` names a registered digest algorithm. */
export function isAlgorithm(text: string): text is Algorithm {
  return Object.hasOwn(HEX_LENGTH, text)
}

/** Whether `text` is a well-formed digest of a registered algorithm. */
export function isDigest(text: string): text is Digest {
  const colon = text.indexOf(':')
  const algorithm = text.slice(0, colon)
  return (
    isAlgorithm(algorithm) &&
    text.length === colon + 1 + HEX_LENGTH[algorithm] &&
    /^[0-9a-f]+$/.test(text.slice(colon + 1))
  )
}

/**
 * Reads a digest that a client sent.
 *
 * @throws {RegistryError} DIGEST_INVALID when it is malformed or of an unknown algorithm
 */
export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text
  throw new RegistryError(
    'DIGEST_INVALID',
    `'${clip(text)}' is not a digest: use sha256:<64 hex> or sha512:<128 hex>`,
    {
      detail: { digest: clip(text) }
    }
  )
}

/** The two parts of a digest. */
export function splitDigest(digest: Digest): { algorithm: Algorithm; hex: string } {
  const colon = digest.indexOf(':')
  return { algorithm: digest.slice(0, colon) as Algorithm, hex: digest.slice(colon + 1) }
}

/** A running hash of `algorithm`. */
export function hasher(algorithm: Algorithm): Hash {
  return createHash(algorithm)
}

/** The digest of bytes that are all in memory. */
export function digestOf(bytes: Uint8Array, algorithm: Algorithm = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`
}

/** A client's text, short enough to be repeated in a message. */
export function clip(text: string, length = 80): string {
  return text.length <= length ? text : `${text.slice(0, length)}…`
}
