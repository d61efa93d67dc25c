import { Router } from '@koa/router'
import Koa, { type Context } from 'koa'
import type { Access, Audit } from '../auth/index.ts'
import type { Log } from '../log.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import type { Registry } from '../registry/index.ts'
import type { Signatures } from '../signatures/index.ts'
import type { Admission } from './admission.ts'
import { errorMiddleware, isClientGone } from './errors.ts'
import { type ChallengeOptions, createGuard } from './guard.ts'
import { nosniff, refusePathless } from './headers.ts'
import { createLifetimes } from './lifetime.ts'
import { createClientMeter, repositoryIn } from './meter.ts'
import { metricsRoutes } from './metrics.ts'
import { nameRoutes } from './names.ts'
import { publishRoutes } from './publish.ts'
import { createPullHandlers } from './pull.ts'
import { createPushHandlers } from './push.ts'
import type { Naming } from './request.ts'
import { type Route, routeTable } from './routes.ts'
import { setServerTiming } from './timing.ts'
import { tokenRoutes } from './token-endpoint.ts'
import { type PeerTerms, trustlessRoutes } from './trustless.ts'

/** What the HTTP side needs to know. Times in milliseconds. */
export interface AppOptions {
  readonly registry: Registry
  readonly log: Log
  /** Domains that clients use as the gateway's host name. */
  readonly hosts: readonly string[]
  readonly pullTimeoutMs: number
  /** Who is let in, and with how much; everybody with anything unless given. */
  readonly admission?: Pick<Admission, 'middleware'>
  /** On what terms peers are served on this port; without any unless given. */
  readonly terms?: PeerTerms
  /** Who may do what; anybody anything unless given. */
  readonly auth?: AuthOptions | undefined
  /** What of it must be signed; nothing unless given. */
  readonly signatures?: Signatures | undefined
  /** Aborted at shutdown: waits for others end then. */
  readonly stopping: AbortSignal
}

/** Who may do what, and how clients are asked who they are. */
export interface AuthOptions {
  /** Not there where only the audit log is kept. */
  readonly access?: Access | undefined
  readonly audit?: Audit | undefined
  readonly challenge: ChallengeOptions
  /** Who everybody is in the audit log without `access`: anonymous, unless given. */
  readonly who?: string
}

/** All routes of the gateway's port: the registry's and the trustless gateway's. */
export function registryRoutes(
  options: Pick<AppOptions, 'registry' | 'hosts' | 'terms' | 'auth' | 'signatures'>
): readonly Route[] {
  const { registry, auth, signatures } = options
  const naming: Naming = { hosts: options.hosts, names: registry.names }
  return [
    ...routeTable(
      createPullHandlers(registry, naming, signatures),
      createPushHandlers(registry, naming, signatures)
    ),
    ...trustlessRoutes(registry.content, options.terms),
    ...metricsRoutes(registry),
    ...(registry.ipns === undefined ? [] : nameRoutes(registry.ipns)),
    ...(auth?.access === undefined
      ? []
      : [...publishRoutes(registry.publishing), ...tokenRoutes({ ...auth, access: auth.access, naming })])
  ]
}

/** Makes the Koa application. */
export function createApp(options: AppOptions): Koa {
  const { log } = options
  const app = new Koa()
  const router = new Router({ strict: false, sensitive: true })
  const lifetime = createLifetimes(options.stopping)
  const naming: Naming = { hosts: options.hosts, names: options.registry.names }
  const meter = createClientMeter(options.registry.meters)
  const guard = options.auth && createGuard({ ...options.auth, naming })
  for (const each of registryRoutes(options)) {
    const { method, path, deadline, handle } = each
    // Some clients leave the last slash out.
    const paths = path.endsWith('/') ? [path, path.slice(0, -1)] : path
    router.register(paths, method === 'GET' ? ['GET', 'HEAD'] : [method], async (ctx) => {
      const signal = lifetime(ctx.res, deadline ? options.pullTimeoutMs : undefined)
      // what peers get is counted where it is sent
      if (path.startsWith('/v2/')) meter.watch(ctx, repositoryIn(ctx, naming))
      try {
        if (guard === undefined) await handle({ ctx, signal })
        else await guard.run(ctx, each, () => handle({ ctx, signal }))
      } finally {
        if (path.startsWith('/v2/')) setServerTiming(ctx, signal)
      }
    })
  }
  app.use(accessLog(log))
  app.use(nosniff)
  app.use(errorMiddleware(log))
  app.use(refusePathless)
  if (options.admission !== undefined) app.use(options.admission.middleware)
  app.use(refuseHiddenSlashes)
  app.use(router.routes())
  app.use(refuseMethods(router))
  app.on('error', (error: unknown) => {
    if (isClientGone(error)) log.debug({ cause: reason(error) }, 'the client went away')
    else log.error({ err: error }, 'an answer broke off')
  })
  return app
}

function accessLog(log: Log) {
  return async (ctx: Context, next: () => Promise<void>): Promise<void> => {
    const start = performance.now()
    ctx.set('Docker-Distribution-Api-Version', 'registry/2.0')
    if (log.isLevelEnabled('info')) {
      // kept from now on, since a stream that has gone can't tell; a trusted proxy may say otherwise
      ctx.request.ip = ctx.ip
      ctx.res.once('close', () => {
        const { method, url, status } = ctx
        const complete = ctx.res.writableFinished
        log.info(
          { method, url, status, complete, ms: Math.round(performance.now() - start), client: ctx.ip },
          'request'
        )
      })
    }
    await next()
  }
}

/** An escaped slash or NUL would be unescaped into a name that looks like another. */
async function refuseHiddenSlashes(ctx: Context, next: () => Promise<void>): Promise<void> {
  if (/%(?:2f|5c|00)/i.test(ctx.path)) {
    throw new RegistryError(
      'NAME_INVALID',
      'the path has an escaped slash, backslash or NUL; write slashes as they are'
    )
  }
  await next()
}

/** A path that exists with other methods is 405 with `Allow`; anything else falls through to 404. */
function refuseMethods(router: Router) {
  return async (ctx: Context): Promise<void> => {
    const methods = new Set(router.match(ctx.path, ctx.method).path.flatMap((layer) => layer.methods))
    if (methods.size === 0) return
    const allowed = [...methods].join(', ')
    throw new RegistryError('UNSUPPORTED', `${ctx.method} is not possible here; ${allowed} are`, {
      headers: { Allow: allowed }
    })
  }
}
