import type { Context } from 'koa'
import { MAX_ASKED } from '../ipfs/mappings.ts'
import { parseDigest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import type { Content } from '../registry/index.ts'
import { queryOf } from './request.ts'

/**
 * Answers which of the blobs that are asked for are offered, as `ipfs/mappings.ts` asks it. A blob that isn't
 * offered and one that isn't here look the same.
 *
 * @throws {RegistryError} DIGEST_INVALID, REQUEST_INVALID
 */
export async function mappings(ctx: Context, content: Pick<Content, 'mapped'>): Promise<void> {
  const asked = (queryOf(ctx, 'digests') ?? '').split(',').filter((text) => text !== '')
  if (asked.length === 0 || asked.length > MAX_ASKED) {
    throw new RegistryError(
      'REQUEST_INVALID',
      `digests names ${asked.length} blobs: ask for 1 to ${MAX_ASKED}, as digests=sha256:…,sha256:…`
    )
  }
  const found = await Promise.all(
    [...new Set(asked)].map(async (text) => content.mapped?.(parseDigest(text)))
  )
  const blobs = found.flatMap((one) =>
    one === undefined ? [] : [{ digest: one.digest, cid: one.cid.toString(), size: one.size }]
  )
  // it may be here a moment later, and gone the moment after
  ctx.set('Cache-Control', 'no-store')
  ctx.type = 'application/json'
  ctx.body = JSON.stringify({ blobs })
}
