import type { Context } from 'koa'
import {
  ACTIONS,
  type Access,
  type Action,
  type Audit,
  CATALOGUE,
  formatScope,
  type Identity,
  nameOf,
  type Principal,
  parseScopes,
  rightsName,
  type ScopeAccess
} from '../auth/index.ts'
import { RegistryError } from '../oci/errors.ts'
import { claimedBy, credentialsOf } from './credentials.ts'
import { clientOf, TOKEN_PATH } from './guard.ts'
import { type Naming, queryOf, readBody, repositoryNamed } from './request.ts'
import { type Route, route } from './routes.ts'

/** The largest form that is read, in bytes: an identity token of an issuer may be in it. */
const MAX_FORM = 64 * 1024

/** What a request for a token says. */
interface TokenRequest {
  readonly scopes: readonly ScopeAccess[]
  /** Whether a token that gets others is wanted. */
  readonly offline: boolean
}

/** Rights that a client can ask for by scope: the others have no place in what clients do. */
const GRANTABLE: readonly Action[] = ['pull', 'push', 'delete']

/** The routes by which clients get tokens, and ask who they are. */
export function tokenRoutes(options: {
  access: Access
  audit?: Audit | undefined
  naming: Naming
}): readonly Route[] {
  const { access, audit, naming } = options

  /** What of a scope somebody may have; `undefined` for nothing. */
  async function granted(
    ctx: Context,
    principal: Principal,
    scope: ScopeAccess
  ): Promise<ScopeAccess | undefined> {
    // Lists hold what may be seen, so whoever asks may have one.
    if (scope.type === CATALOGUE.type && scope.name === CATALOGUE.name) return CATALOGUE
    if (scope.type !== 'repository') return undefined
    let name: string
    try {
      name = rightsName(repositoryNamed(ctx, naming, scope.name))
    } catch (error) {
      if (error instanceof RegistryError) return undefined // there is no such repository, nor can there be
      throw error
    }
    const asked = scope.actions.includes('*')
      ? GRANTABLE
      : GRANTABLE.filter((action) => scope.actions.includes(action))
    const actions: Action[] = []
    for (const action of asked)
      if ((await access.decide(principal, action, { repository: name })).allowed) actions.push(action)
    return actions.length === 0 ? undefined : { type: 'repository', name, actions }
  }

  async function answer(
    ctx: Context,
    { principal, fresh }: Identity,
    request: TokenRequest,
    refresh?: string
  ) {
    const kept: ScopeAccess[] = []
    for (const scope of request.scopes) {
      const part = await granted(ctx, principal, scope)
      if (part !== undefined) kept.push(part)
    }
    const { token, expiresIn } = await access.issue(principal, kept)
    const refreshToken = refresh ?? (request.offline ? await access.issueRefresh(principal) : undefined)
    if (fresh) audit?.write({ event: 'login', who: nameOf(principal), client: clientOf(ctx) })
    ctx.set('Cache-Control', 'no-store')
    ctx.body = {
      token,
      access_token: token,
      token_type: 'Bearer',
      scope: kept.map(formatScope).join(' '),
      expires_in: expiresIn,
      issued_at: new Date().toISOString(),
      ...(refreshToken !== undefined && { refresh_token: refreshToken })
    }
  }

  /** Tells of a refusal, and how to ask instead. */
  async function identified(ctx: Context, who: string, identify: () => Promise<Identity>): Promise<Identity> {
    try {
      return await identify()
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error
      audit?.write({
        event: 'refused',
        who,
        client: clientOf(ctx),
        code: error.code,
        why: error.message,
        path: TOKEN_PATH
      })
      if (error.code !== 'UNAUTHORIZED') throw error
      const headers = { 'WWW-Authenticate': 'Basic realm="Seaway", charset="UTF-8"' }
      throw new RegistryError('UNAUTHORIZED', error.message, { headers, cause: error })
    }
  }

  const byHeader = (ctx: Context): Promise<Identity> =>
    identified(ctx, claimedBy(ctx), async () => access.identify(credentialsOf(ctx), clientOf(ctx)))

  /** @see https://distribution.github.io/distribution/spec/auth/token/ */
  async function getToken(ctx: Context): Promise<void> {
    const scopes = parseScopes([ctx.query['scope'] ?? []].flat())
    const offline = queryOf(ctx, 'offline_token') === 'true' || queryOf(ctx, 'access_type') === 'offline'
    await answer(ctx, await byHeader(ctx), { scopes, offline })
  }

  /** @see https://distribution.github.io/distribution/spec/auth/oauth/ */
  async function postToken(ctx: Context): Promise<void> {
    if (ctx.get('Content-Type').split(';')[0]?.trim().toLowerCase() !== 'application/x-www-form-urlencoded') {
      throw new RegistryError(
        'REQUEST_INVALID',
        'a token is asked for with a form (application/x-www-form-urlencoded)',
        {
          status: 415
        }
      )
    }
    const form = new URLSearchParams(Buffer.from(await readBody(ctx, MAX_FORM)).toString())
    const request = {
      scopes: parseScopes(form.getAll('scope')),
      offline: form.get('access_type') === 'offline'
    }
    const address = clientOf(ctx)
    switch (form.get('grant_type')) {
      case 'password': {
        const user = form.get('username') ?? ''
        const password = form.get('password') ?? ''
        const shown = { kind: 'password', user, password } as const
        await answer(ctx, await identified(ctx, user, () => access.identify(shown, address)), request)
        return
      }
      case 'refresh_token': {
        const refresh = form.get('refresh_token') ?? ''
        const identity = await identified(ctx, 'unknown', () => access.refresh(refresh, address))
        await answer(ctx, identity, request, refresh)
        return
      }
      default:
        throw new RegistryError('REQUEST_INVALID', "grant_type must be 'password' or 'refresh_token'")
    }
  }

  /** Says whom the credentials stand for, and what they give. */
  async function whoAmI(ctx: Context): Promise<void> {
    const { principal } = await byHeader(ctx)
    const grants = await access.grants(principal)
    ctx.set('Cache-Control', 'no-store')
    ctx.body = {
      name: nameOf(principal),
      kind: principal.kind,
      rights: grants.map(({ repositories, can }) => ({
        repositories,
        can: ACTIONS.filter((action) => can.includes(action))
      }))
    }
  }

  return [
    route(
      'GET',
      TOKEN_PATH,
      'a token for the scopes asked for, by name and password, or anonymous (`scope`, `service`, `offline_token`); where users are asked for',
      true,
      'open',
      ({ ctx }) => getToken(ctx)
    ),
    route(
      'POST',
      TOKEN_PATH,
      'the same as an OAuth2 form (`grant_type` `password` or `refresh_token`)',
      true,
      'open',
      ({ ctx }) => postToken(ctx)
    ),
    route(
      'GET',
      '/auth/whoami',
      'whom the credentials stand for, and what they give',
      true,
      'open',
      ({ ctx }) => whoAmI(ctx)
    )
  ]
}
