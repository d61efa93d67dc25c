import { finished } from 'node:stream/promises'
import type { Context } from 'koa'
import { type Limiter, metered } from '../ipfs/limits.ts'
import { hasBody } from './http2.ts'

/** How much of a refused body is read on so that its connection can be used again, in bytes. */
const SHORT = 64 * 1024

/** How long the rest of a longer one is read and thrown away, in milliseconds: time to hear the answer and stop. */
const LINGER = 5000

/** The body of a request, as it comes, and no faster than its client may send it. Who stops reading it in the middle can still answer. */
export function bodyOf(ctx: Context): AsyncIterable<Uint8Array> {
  const body = ctx.req.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>
  const pace = ctx.state['incoming'] as Limiter | undefined
  return pace === undefined ? body : metered(body, pace)
}

/**
 * Sends the answer that `ctx` holds, though the client may still be sending its body. Closing at once would
 * reset the connection under what the client sends, and with it the answer that it has not read yet; so the
 * answer says that the connection will close, and that waits for the end of the body, or {@link LINGER}. With HTTP/2
 * the answer is whole at once, and only the request's stream is closed afterwards.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9112#section-9.6
 */
export async function answerEarly(ctx: Context): Promise<void> {
  const { req, res } = ctx
  if (req.complete || !mayBeLong(ctx)) {
    req.resume()
    return
  }
  const body = Buffer.from(JSON.stringify(ctx.body))
  ctx.respond = false
  ctx.length = body.length
  const shared = req.httpVersionMajor > 1
  if (shared) res.end(ctx.method === 'HEAD' ? undefined : body)
  else {
    ctx.set('Connection', 'close')
    res.flushHeaders()
    res.write(body)
  }
  req.resume()
  // However the body ends: the answer is out.
  await finished(req, { writable: false, signal: AbortSignal.timeout(LINGER) }).catch(() => undefined)
  if (!shared) res.end()
  else if (!req.complete) req.destroy()
}

function mayBeLong({ req }: Context): boolean {
  return hasBody(req) && !(Number(req.headers['content-length']) <= SHORT)
}
