import { randomUUID } from 'node:crypto'
import type { Digest } from '../oci/digest.ts'
import { type BlobInfo, INLINE_LIMIT, type IndexWrite, type Store } from '../store/index.ts'
import type { Content } from '../tree/index.ts'

/** A manifest's bytes as content, with the rows that will make them a blob: small ones in one sync with the tree. */
export async function keepManifest(
  store: Store,
  bytes: Uint8Array,
  digest: Digest,
  also: { isPrivate?: boolean } = {}
): Promise<{ content: Content; rows: readonly IndexWrite[] }> {
  const contentOf = (blob: BlobInfo): Content => ({ digest, link: { cid: blob.cid, size: blob.dagSize } })
  if (bytes.length <= INLINE_LIMIT) {
    const { info, rows } = await store.blobs.stage(bytes, digest, also)
    return { content: contentOf(info), rows }
  }
  const writer = store.incoming.create(`manifest-${randomUUID()}`)
  await writer.append(bytes)
  return { content: contentOf(await store.blobs.commit(writer, digest, also)), rows: [] }
}
