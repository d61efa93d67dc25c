import { hasher, splitDigest } from '../oci/digest.ts'
import { type BlobId, type ImageSource, WrongContent } from './types.ts'

/**
 * Passes a blob's bytes on and checks them: the last piece is held back until the digest of the whole is right, so
 * wrong content is never passed on whole.
 *
 * @param hash one that has seen what comes before `source`, where that isn't the beginning
 * @throws {WrongContent} for another digest or length than the blob has
 */
export async function* verified(
  blob: BlobId,
  source: AsyncIterable<Uint8Array>,
  from: string,
  before: { hash?: ReturnType<typeof hasher>; size?: number } = {}
): AsyncGenerator<Uint8Array> {
  const { algorithm, hex } = splitDigest(blob.digest)
  const hash = before.hash ?? hasher(algorithm)
  let size = before.size ?? 0
  let held: Uint8Array | undefined
  for await (const chunk of source) {
    size += chunk.length
    if (size > blob.size)
      throw new WrongContent(
        `${from} gave more than the ${blob.size} bytes that ${blob.digest} has; it is damaged there`
      )
    hash.update(chunk)
    if (held !== undefined) yield held
    held = chunk
  }
  if (size < blob.size)
    throw new WrongContent(
      `${from} gave ${size} of the ${blob.size} bytes of ${blob.digest}; it is cut short there`
    )
  if (hash.digest('hex') !== hex)
    throw new WrongContent(`${from} gave content that is not ${blob.digest}; it is damaged there`)
  if (held !== undefined) yield held
}

/** All of a small blob, checked. */
export async function wholeBlob(
  source: Pick<ImageSource, 'name' | 'read'>,
  blob: BlobId,
  signal: AbortSignal
): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of verified(blob, source.read(blob, 0, signal), source.name)) chunks.push(chunk)
  return Buffer.concat(chunks)
}
