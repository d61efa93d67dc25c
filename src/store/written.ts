import { type Digest, splitDigest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'

/**
 * A leaf of another chunking that lies in the blob as it is: its block is `prefix`, then `length` bytes
 * of the blob from `offset`, then `suffix`.
 */
export interface ForeignLeaf {
  /** Multihash bytes of the block's CID. */
  readonly multihash: Uint8Array
  readonly offset: number
  readonly length: number
  readonly prefix: Uint8Array
  readonly suffix: Uint8Array
}

/** What a finished body turned out to be. */
export interface Written {
  readonly size: number
  /** 32 bytes. */
  readonly sha256: Uint8Array
  /** The sha256 of each {@link LEAF_SIZE} piece, in order; at least one. */
  readonly leaves: readonly Uint8Array[]
  readonly foreign: readonly ForeignLeaf[]
}

/**
 * Checks what a body turned out to be against what it was said to be.
 *
 * @param hex its digest, by the algorithm of `expected`
 * @throws {RegistryError} DIGEST_INVALID
 */
export function checkDigest(expected: Digest, hex: string): void {
  const { algorithm, hex: wanted } = splitDigest(expected)
  if (hex === wanted) return
  const actual = `${algorithm}:${hex}`
  throw new RegistryError(
    'DIGEST_INVALID',
    `the content is ${actual}, not ${expected}; nothing of it was kept`,
    {
      detail: { expected, actual }
    }
  )
}
