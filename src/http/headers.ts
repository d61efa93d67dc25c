import type { Context, Next } from 'koa'

/** What is answered is what it says it is: browsers must not guess. @see https://fetch.spec.whatwg.org/#x-content-type-options-header */
export function nosniff(ctx: Context, next: Next): Promise<void> {
  ctx.set('X-Content-Type-Options', 'nosniff')
  return next()
}
