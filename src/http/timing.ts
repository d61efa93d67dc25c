import type { Context } from 'koa'
import { timingsOf } from '../registry/index.ts'

/**
 * Says what a request waited for, as the header `Server-Timing: resolve;dur=12.3, dial;dur=40.1`, in milliseconds.
 * A request that waited for nothing has none.
 *
 * @see https://www.w3.org/TR/server-timing/
 */
export function setServerTiming(ctx: Context, signal: AbortSignal): void {
  const timings = timingsOf(signal)
  if (timings === undefined || timings.length === 0 || ctx.headerSent) return
  ctx.set('Server-Timing', timings.map(({ name, ms }) => `${name};dur=${ms.toFixed(1)}`).join(', '))
}
