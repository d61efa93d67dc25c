import type { Context, Next } from 'koa'
import { RegistryError } from '../oci/errors.ts'

/** What is answered is what it says it is: browsers must not guess. @see https://fetch.spec.whatwg.org/#x-content-type-options-header */
export function nosniff(ctx: Context, next: Next): Promise<void> {
  ctx.set('X-Content-Type-Options', 'nosniff')
  return next()
}

/** A request's target may be a whole URL, and that one without a path: nothing here is named so. @see https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2 */
export function refusePathless(ctx: Context, next: Next): Promise<void> {
  if (typeof (ctx.path as unknown) !== 'string')
    throw new RegistryError('REQUEST_INVALID', 'the request names a URL without a path; ask for /v2/…')
  return next()
}
