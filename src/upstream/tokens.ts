import { LRUCache } from 'lru-cache'
import { type Challenge, parseChallenges } from './challenge.ts'
import type { Credential } from './credentials.ts'
import { retryAfterMs, UpstreamError } from './failure.ts'
import { createShared } from './shared.ts'
import type { Wire } from './wire.ts'

/** What is wanted of a registry. */
export interface Access {
  /** Empty for what belongs to none: the catalogue. */
  readonly repository: string
  /** Whether something is put there; else it is only read. */
  readonly push?: boolean
  /** Another one that is read from at the same time. */
  readonly from?: string | undefined
}

/** It as token services have it. @see https://distribution.github.io/distribution/spec/auth/scope/ */
export function scopeOf({ repository, push = false, from }: Access): string {
  if (repository === '') return 'registry:catalog:*'
  const own = `repository:${repository}:${push ? 'pull,push' : 'pull'}`
  return from === undefined ? own : `${own} repository:${from}:pull`
}

/** What one registry is shown so that it lets us in, by the scope of what is wanted: {@link scopeOf}. */
export interface Tokens {
  /** The Authorization header that worked last for a scope, if it still holds. */
  known(scope: string): string | undefined
  /**
   * Answers a 401: fetches a token, or shows the credentials. Those who ask for the same at the same time share it.
   *
   * @throws {UpstreamError} `denied` when there is nothing (more) to show, and as {@link Wire.send}
   */
  challenged(scope: string, header: string | undefined, signal: AbortSignal): Promise<string>
  /** What was shown isn't taken: it is forgotten. */
  refused(scope: string): void
}

/** How long a token holds that doesn't say so, and how much earlier it is given up, in milliseconds. */
const STANDARD_MS = 60_000
const EARLY_MS = 10_000

/** The largest answer of a token service, in bytes: tokens of large organisations have some 10 KB. */
const MAX_ANSWER = 1024 * 1024

/**
 * The token flow of registries, and Basic.
 *
 * @param options.home the registry's URL: what is shown to it in the clear was never meant for others
 * @see https://distribution.github.io/distribution/spec/auth/token/
 */
export function createTokens(options: {
  wire: Wire
  home: URL
  credential: (signal: AbortSignal) => Promise<Credential | undefined>
}): Tokens {
  const { wire, home } = options
  const cache = new LRUCache<string, { header: string }>({ max: 2000 })
  const share = createShared<string>()

  async function answer(wanted: string, header: string | undefined, signal: AbortSignal): Promise<string> {
    const challenges = parseChallenges(header ?? '')
    const bearer = challenges.find(({ scheme }) => scheme === 'bearer')
    if (bearer !== undefined) return token(wanted, bearer, signal)
    const credential = await options.credential(signal)
    if (
      challenges.some(({ scheme }) => scheme === 'basic') &&
      credential !== undefined &&
      'user' in credential
    ) {
      const shown = basicHeader(credential)
      cache.set(wanted, { header: shown }, { ttl: 0 })
      return shown
    }
    throw new UpstreamError('denied', `${home.host} asks for a login`)
  }

  async function token(wanted: string, { parameters }: Challenge, signal: AbortSignal): Promise<string> {
    const { realm = '', service, scope } = parameters
    const url = URL.canParse(realm, home.href) ? new URL(realm, home) : undefined
    if (url === undefined || !/^https?:$/.test(url.protocol))
      throw new UpstreamError('wrong', `${home.host} names no token service`)
    if (home.protocol === 'https:' && url.protocol === 'http:')
      throw new UpstreamError('wrong', `${home.host} names a token service without TLS, which is refused`)
    const credential = await options.credential(signal)
    const asked = scope ?? wanted
    const reply =
      credential !== undefined && 'identityToken' in credential
        ? await wire.send({
            method: 'POST',
            url,
            headers: { 'content-type': 'application/x-www-form-urlencoded' },
            content: new URLSearchParams({
              grant_type: 'refresh_token',
              client_id: 'seaway',
              scope: asked,
              refresh_token: credential.identityToken,
              ...(service !== undefined && { service })
            }).toString(),
            signal
          })
        : await wire.send({
            method: 'GET',
            url: withQuery(url, service, asked),
            headers: credential === undefined ? {} : { authorization: basicHeader(credential) },
            signal
          })
    const text = (await wire.read(reply, MAX_ANSWER)).toString()
    if (reply.status !== 200) {
      const fault =
        reply.status === 401 || reply.status === 403 ? 'denied' : reply.status === 429 ? 'busy' : 'down'
      const service = url.host === home.host ? home.host : `the token service of ${home.host} (${url.host})`
      const what =
        reply.status === 401 && credential !== undefined
          ? `${service} refuses the user or password that it was shown (401)`
          : `${service} answered ${reply.status} when asked for a token`
      throw new UpstreamError(fault, what, { retryAfterMs: retryAfterMs(reply.headers['retry-after']) })
    }
    const { value, ms } = tokenIn(text, url)
    const header = `Bearer ${value}`
    if (ms > EARLY_MS) cache.set(wanted, { header }, { ttl: ms - EARLY_MS })
    return header
  }

  return {
    known: (scope) => cache.get(scope)?.header,
    refused: (scope) => void cache.delete(scope),
    challenged: (scope, header, signal) =>
      share(`${scope}\n${header ?? ''}`, signal, (shared) => answer(scope, header, shared))
  }
}

function withQuery(realm: URL, service: string | undefined, scope: string): URL {
  const url = new URL(realm)
  if (service !== undefined) url.searchParams.set('service', service)
  for (const one of scope.split(' ')) url.searchParams.append('scope', one)
  return url
}

function tokenIn(text: string, url: URL): { value: string; ms: number } {
  let json: { token?: unknown; access_token?: unknown; expires_in?: unknown }
  try {
    json = JSON.parse(text) as typeof json
  } catch (error) {
    throw new UpstreamError('wrong', `the token service ${url.host} answered with what is no JSON`, {
      cause: error
    })
  }
  const value = json?.token ?? json?.access_token
  // it becomes a header
  if (typeof value !== 'string' || !/^[\x21-\x7e]+$/.test(value))
    throw new UpstreamError('wrong', `the token service ${url.host} answered without a token`)
  const seconds = Number(json.expires_in)
  return { value, ms: seconds > 0 ? seconds * 1000 : STANDARD_MS }
}

/** The Authorization header of a user with a password. */
export function basicHeader({ user, password }: { user: string; password: string }): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}
