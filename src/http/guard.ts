import type { Context } from 'koa'
import {
  type Access,
  type Action,
  type Audit,
  type AuditEvent,
  CATALOGUE,
  formatScope,
  type Identity,
  keyOf,
  nameOf,
  rightsName,
  type ScopeAccess
} from '../auth/index.ts'
import { bareIp } from '../ipfs/addresses.ts'
import { RegistryError } from '../oci/errors.ts'
import { parseDomain } from '../oci/reference.ts'
import { UnsignedError } from '../signatures/index.ts'
import { claimedBy, credentialsOf } from './credentials.ts'
import { setPermit } from './permit.ts'
import { cataloguePlace, type Naming, repositoryOf } from './request.ts'
import type { Route } from './routes.ts'

/** How clients are asked who they are. */
export interface ChallengeOptions {
  /** `bearer`: by a token from the token endpoint; `basic`: by name and password with each request. Both are taken. */
  readonly scheme: 'bearer' | 'basic'
  /** What tokens are for. */
  readonly service: string
  /** Where clients reach this gateway, as `https://registry.example.com`; as they came unless given. */
  readonly url: string | undefined
}

/** Lets requests in, or refuses them, and writes down what became of them. */
export interface Guard {
  /**
   * Runs `handle` for a request that may go in.
   *
   * @throws {RegistryError} UNAUTHORIZED with what to show instead; DENIED; TOOMANYREQUESTS; what `handle` throws
   */
  run(ctx: Context, route: Pick<Route, 'access' | 'path'>, handle: () => Promise<void>): Promise<void>
}

/** The path of the token endpoint. */
export const TOKEN_PATH = '/auth/token'

/** The address of a client as it is written down, and counted when it guesses; `local` by the control socket. */
export const clientOf = (ctx: Context): string => bareIp(ctx.ip) || 'local'

/** What a route asks for, of those that are about one repository. */
const NEEDS = {
  pull: ['pull'],
  push: ['pull', 'push'],
  delete: ['delete'],
  publish: ['publish']
} as const

/** Makes the guard. Without `access` everybody may do everything; `audit` is written either way, where there is one. */
export function createGuard(options: {
  access?: Access | undefined
  audit?: Audit | undefined
  challenge: ChallengeOptions
  who?: string
  naming: Naming
}): Guard {
  const { access, audit, naming } = options

  /** Who it is, and whether that is enough. */
  async function enter(ctx: Context, route: Pick<Route, 'access'>, by: Access): Promise<Identity> {
    const identity = await whoIs(ctx, by)
    const { principal, limit } = identity
    const anonymous = principal.kind === 'anonymous'
    const allows = async (
      scope: ScopeAccess,
      action: Action,
      subject: Parameters<Access['decide']>[2],
      what = scope.name
    ) => {
      const decision = await by.decide(principal, action, subject)
      if (!decision.allowed) {
        if (anonymous) throw unauthorized(ctx, 'log in first: this is not for everybody', scope)
        refusal(ctx, nameOf(principal), 'DENIED', decision.why)
        throw new RegistryError(
          'DENIED',
          `${nameOf(principal)} may not ${action} ${what}; the operator can see why with 'seaway access check'`,
          { cause: new Error(decision.why) }
        )
      }
      // a client that asks for more than it needs here may still hold a token for just that
      if (!limited(limit, scope.type === 'repository' ? { ...scope, actions: [action] } : scope))
        throw unauthorized(
          ctx,
          scope.type === 'domain'
            ? "the token is for repositories alone: show a password, or a token of 'seaway token create'"
            : `the token is not for this: get one with scope ${formatScope(scope)}`,
          scope,
          'insufficient_scope'
        )
    }
    switch (route.access) {
      case 'open':
        break
      case 'ping':
        if (anonymous && limit === undefined)
          throw unauthorized(ctx, 'log in first, or get an anonymous token')
        break
      case 'list': {
        if (anonymous && limit === undefined)
          throw unauthorized(ctx, 'log in first, or get an anonymous token', CATALOGUE)
        const { place } = cataloguePlace(ctx, naming)
        // who can see nothing there doesn't have it looked up, nor hears whether there is anything
        const within = place === undefined ? '' : rightsName({ asked: '', place, repository: '' })
        await allows(CATALOGUE, 'pull', { within }, `anything of ${within || 'what is here'}`)
        break
      }
      case 'publish': {
        const domain = parseDomain(String(ctx['params']?.domain ?? ''))
        // no client has scopes for this: tokens that were made for something are not for it
        await allows({ type: 'domain', name: domain, actions: ['publish'] }, 'publish', { domain })
        break
      }
      case 'admin':
        await allows({ type: 'domain', name: 'everything', actions: ['admin'] }, 'admin', {
          everything: true
        })
        break
      default: {
        const name = rightsName(repositoryOf(ctx, naming))
        const scope = { type: 'repository', name, actions: NEEDS[route.access] }
        await allows(scope, route.access, { repository: name })
      }
    }
    setPermit(ctx, {
      owner: keyOf(principal),
      async may(name, action) {
        const repository = rightsName(name)
        const scope = { type: 'repository', name: repository, actions: [action] }
        // lists tell of more than one repository, so their tokens name none
        const within = route.access === 'list' || limited(limit, scope)
        return within && (await by.decide(principal, action, { repository })).allowed
      },
      async hasRight(name, action) {
        return (await by.decide(principal, action, { repository: rightsName(name) })).allowed
      },
      async readsAll(domain) {
        return (await by.decide(principal, 'pull', { domain })).allowed
      },
      async mayEverywhere(action) {
        return limit === undefined && (await by.decide(principal, action, { everything: true })).allowed
      }
    })
    return identity
  }

  async function whoIs(ctx: Context, by: Access): Promise<Identity> {
    try {
      return await by.identify(credentialsOf(ctx), clientOf(ctx))
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error
      refusal(ctx, claimedBy(ctx), error.code, error.message)
      if (error.code !== 'UNAUTHORIZED') throw error
      throw unauthorized(ctx, error.message, undefined, 'invalid_token', error)
    }
  }

  function refusal(ctx: Context, who: string, code: string, why: string): void {
    audit?.write({ event: 'refused', who, client: clientOf(ctx), code, why, ...detailsOf(ctx) })
  }

  function unauthorized(ctx: Context, message: string, scope?: ScopeAccess, error?: string, cause?: unknown) {
    const headers = { 'WWW-Authenticate': challengeOf(ctx, options.challenge, scope, error) }
    return new RegistryError('UNAUTHORIZED', message, { headers, cause })
  }

  return {
    async run(ctx, route, handle) {
      if (route.access === 'open') return handle()
      const identity = access && (await enter(ctx, route, access))
      const who = identity === undefined ? (options.who ?? 'anonymous') : nameOf(identity.principal)
      if (identity?.fresh === true) audit?.write({ event: 'login', who, client: clientOf(ctx) })
      await handle().catch((error: unknown) => {
        // who may come at all hears here alone that what they want is not for anybody
        if (error instanceof UnsignedError) refusal(ctx, who, error.code, error.message)
        throw error
      })
      const event = eventOf(route)
      if (event !== undefined) audit?.write({ event, who, client: clientOf(ctx), ...detailsOf(ctx) })
    }
  }
}

/** Whether a token that is for `limit` alone is for `scope` too. */
function limited(limit: readonly ScopeAccess[] | undefined, { type, name, actions }: ScopeAccess): boolean {
  if (limit === undefined) return true
  const granted = limit.find((each) => each.type === type && each.name === name)
  // as rights do: who pushes reads what is there
  return (
    granted !== undefined &&
    actions.every(
      (action) => granted.actions.includes(action) || (action === 'pull' && granted.actions.includes('push'))
    )
  )
}

/** The WWW-Authenticate header. @see https://distribution.github.io/distribution/spec/auth/token/ */
export function challengeOf(
  ctx: Context,
  { scheme, service, url }: ChallengeOptions,
  scope?: ScopeAccess,
  error?: string
): string {
  if (scheme === 'basic') return 'Basic realm="Seaway", charset="UTF-8"'
  // what a client calls us goes back to that client alone, but not into the middle of a header
  const host = /^[\w.:[\]-]+$/.test(ctx.host) ? ctx.host : 'localhost'
  const parts = [`realm="${url ?? `${ctx.protocol}://${host}`}${TOKEN_PATH}"`, `service="${service}"`]
  if (scope !== undefined && scope.type !== 'domain') parts.push(`scope="${formatScope(scope)}"`)
  if (error !== undefined) parts.push(`error="${error}"`)
  return `Bearer ${parts.join(',')}`
}

/** What a request was about. */
function detailsOf(ctx: Context): Record<string, string | undefined> {
  const { name, reference, digest, domain } = (ctx['params'] ?? {}) as Record<string, string | undefined>
  const sent = (header: string) => ctx.response.get(header) || undefined
  return {
    method: ctx.method,
    repository: name,
    reference: reference ?? digest,
    domain,
    digest: sent('Docker-Content-Digest'),
    root: ctx.state['root'] as string | undefined
  }
}

/** What is written of a request that was done. A push is its manifest: blobs alone are in no image. */
function eventOf({ access, path }: Pick<Route, 'access' | 'path'>): AuditEvent['event'] | undefined {
  if (access === 'delete' || access === 'publish') return access
  return access === 'push' && path.includes('/manifests/') ? 'push' : undefined
}
