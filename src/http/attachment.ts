import type { Context } from 'koa'
import { queryOf } from './request.ts'

/** The longest name of a file that a client may wish for, in characters. */
const MAX_NAME = 100

/**
 * Has what is answered saved as a file, under the name that the client wishes (`filename=…`) or under `standard`. It
 * sets a Content-Type by that name, too: call it before yours is set.
 *
 * @see https://www.rfc-editor.org/rfc/rfc6266
 */
export function attach(ctx: Context, standard: string): void {
  const wanted = queryOf(ctx, 'filename') ?? ''
  const fits = wanted !== '' && wanted.length <= MAX_NAME && !/[\p{Cc}/\\]/u.test(wanted)
  const name = fits ? wanted : standard
  ctx.attachment(name, { fallback: name.replace(/[^\w.() +-]/g, '_') })
}
