/** Content of a crash test: everything follows from a seed, so that a wrong byte is found by its digest alone. */
import { randomBytes } from '../e2e/support/tar.ts'
import type { Random } from '../fuzz/random.ts'
import { digestOf, manifest, OCI_CONFIG, OCI_INDEX, OCI_LAYER } from '../support/oci-client.ts'
import type { Made } from './model.ts'

const KiB = 1024

/** A blob: bytes and their digest. */
export interface Piece {
  readonly bytes: Buffer
  readonly digest: string
}

/** The bytes that follow from `seed`. */
export function pieceOf(size: number, seed: string): Piece {
  const bytes = Buffer.concat([...randomBytes(size, seed)])
  return { bytes, digest: digestOf(bytes) }
}

/** A size that takes one of the store's ways: in the index, a file of a part of a leaf, of a leaf and more. */
export function sizeOf(random: Random): number {
  const kind = random.below(10)
  if (kind < 6) return 1 + random.below(100 * KiB)
  if (kind < 9) return 128 * KiB + random.below(300 * KiB)
  return KiB * KiB + random.below(KiB * KiB)
}

/** A layer; one of a few that all clients push at once now and then. */
export function layerOf(random: Random, salt: string, round: number): Piece {
  if (random.oneIn(4)) return pieceOf(200 * KiB, `${salt} shared ${round} ${random.below(3)}`)
  return pieceOf(sizeOf(random), `${salt} ${random.below(2 ** 30)}`)
}

const typed = (mediaType: string, { digest, bytes }: Piece) => ({ mediaType, digest, size: bytes.length })

/** An image of `layers`; `mark` makes its manifest another one. */
export function imageOf(config: Piece, layers: readonly Piece[], mark: string, subject?: Made): Made {
  const about =
    subject === undefined
      ? {}
      : {
          artifactType: 'application/vnd.seaway.test',
          subject: { mediaType: subject.mediaType, digest: subject.digest, size: subject.bytes.length }
        }
  const made = manifest({
    config: typed(OCI_CONFIG, config),
    layers: layers.map((layer) => typed(OCI_LAYER, layer)),
    annotations: { mark },
    ...about
  })
  const { digest, mediaType, bytes } = made
  return { digest, mediaType, bytes, children: [], subject: subject?.digest }
}

/** An index of images. */
export function indexOf(children: readonly Made[], mark: string): Made {
  const { digest, mediaType, bytes } = manifest(
    {
      manifests: children.map((child) => ({
        mediaType: child.mediaType,
        digest: child.digest,
        size: child.bytes.length
      })),
      annotations: { mark }
    },
    OCI_INDEX
  )
  return { digest, mediaType, bytes, children: children.map((child) => child.digest), subject: undefined }
}
