import { isIP } from 'node:net'
import Koa from 'koa'
import type { Log } from '../log.ts'
import { RegistryError } from '../oci/errors.ts'
import type { Identity } from '../tls/index.ts'
import { errorMiddleware } from './errors.ts'

/** Where an authority looks for what it has asked for. @see https://www.rfc-editor.org/rfc/rfc8555#section-8.3 */
const PROOFS = '/.well-known/acme-challenge/'

/**
 * An application for a plain port beside one with TLS: it answers an authority (ACME HTTP-01), and sends everybody
 * else to `https://` on `port` of the host that they asked for. What would be sent with a body is refused instead:
 * it went over the wire in the clear, and whoever sent it should know.
 */
export function createRedirectApp(options: { identity: Identity; port: () => number; log: Log }): Koa {
  const { identity, log } = options
  const app = new Koa()
  app.use(errorMiddleware(log))
  app.use((ctx) => {
    const proof = ctx.path.startsWith(PROOFS) ? identity.httpProof(ctx.path.slice(PROOFS.length)) : undefined
    if (proof !== undefined) {
      ctx.type = 'application/octet-stream'
      ctx.body = proof
      return
    }
    const { hostname } = ctx
    const known = isIP(hostname.replace(/^\[|\]$/g, '')) !== 0 || /^[a-z0-9.-]{1,253}$/i.test(hostname)
    if ((ctx.method !== 'GET' && ctx.method !== 'HEAD') || !known)
      throw new RegistryError('REQUEST_INVALID', 'this port only sends clients to https://; use that')
    const port = options.port()
    ctx.redirect(`https://${hostname}${port === 443 ? '' : `:${port}`}${ctx.url}`)
    ctx.status = 308
  })
  app.on('error', (error: Error) => log.debug({ cause: error.message }, 'the client went away'))
  return app
}
