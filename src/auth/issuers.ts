import { createRemoteJWKSet, customFetch, decodeJwt, errors, type FetchImplementation, jwtVerify } from 'jose'
import { LRUCache } from 'lru-cache'
import { Agent, fetch as fetchBy } from 'undici'
import { type AllowDial, createPolicy } from '../ipfs/policy.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { BadToken } from './bearer.ts'
import type { IssuerSetting } from './rules.ts'
import type { Principal } from './types.ts'

/** Checks tokens of issuers that the rules file names. */
export interface Issuers {
  /**
   * Whom a token of one of `known` stands for.
   *
   * @throws {BadToken} when it is not theirs, wrong or expired
   * @throws {RegistryError} UNAVAILABLE when the issuer's keys can't be had
   */
  verify(token: string, known: readonly IssuerSetting[]): Promise<Principal & { kind: 'external' }>
}

/** Signatures by keys that the issuer keeps to itself. Neither `none` nor anything with a shared secret. */
const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519'
]

/** The largest answer of an issuer that is read, and the largest token, in bytes. */
const MAX_ANSWER = 256 * 1024
const MAX_TOKEN = 16 * 1024

/** How much of the claims is kept, in characters: of each, and of all, for they go into a header. */
const MAX_CLAIM = 255
const MAX_CLAIMS = 6000

/** How long keys are used without being asked for again, and how soon an unknown one asks, in milliseconds. */
const KEYS_MS = 600_000
const COOLDOWN = 30_000

/** By how much clocks may differ, in seconds. */
const TOLERANCE = 30

type KeySet = ReturnType<typeof createRemoteJWKSet>

/**
 * Makes {@link Issuers}.
 *
 * @param options.timeoutMs the deadline of each request to an issuer
 * @param options.allowDial where an issuer may say that its keys are, beside its own server; anywhere unless given
 */
export function createIssuers(options: { timeoutMs: number; allowDial?: AllowDial }): Issuers {
  const { timeoutMs } = options
  const policy = createPolicy(options.allowDial ?? 'any')
  const careful = new Agent({ connect: { lookup: policy.lookup }, keepAliveTimeout: 1000 })
  const sets = new LRUCache<string, Promise<KeySet>>({ max: 100, ttl: 24 * 3_600_000 })
  const get: FetchImplementation = (url, asked) =>
    limited(url, asked, timeoutMs, (signal) => fetch(url, { ...asked, redirect: 'manual', signal }))
  const getElsewhere: FetchImplementation = async (url, asked) => {
    const refused = policy.urlRefusal(new URL(url))
    if (refused !== undefined) throw new Error(`${url} is not dialled: ${refused}`)
    const headers = Object.fromEntries(asked.headers)
    return limited(url, asked, timeoutMs, (signal) =>
      fetchBy(url, { headers, redirect: 'manual', signal, dispatcher: careful })
    )
  }

  /** The keys of an issuer; where they are is found out once a day. */
  function keysOf({ issuer, jwks }: IssuerSetting): Promise<KeySet> {
    const key = `${issuer} ${jwks ?? ''}`
    const known = sets.get(key)
    if (known !== undefined) return known
    const made = locate(issuer, jwks).then((url) =>
      createRemoteJWKSet(url, {
        cacheMaxAge: KEYS_MS,
        cooldownDuration: COOLDOWN,
        timeoutDuration: timeoutMs,
        [customFetch]: jwks !== undefined || url.host === new URL(issuer).host ? get : getElsewhere
      })
    )
    sets.set(key, made)
    made.catch(() => sets.delete(key))
    return made
  }

  /** @see https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig */
  async function locate(issuer: string, jwks: string | undefined): Promise<URL> {
    if (jwks !== undefined) return new URL(jwks)
    const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
    const answer = await get(url, {
      method: 'GET',
      headers: new Headers(),
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs)
    })
    if (answer.status !== 200) throw new Error(`${url} answers ${answer.status}`)
    const found = (await answer.json()) as { issuer?: unknown; jwks_uri?: unknown }
    if (found.issuer !== issuer) throw new Error(`${url} is of another issuer`)
    const uri = String(found.jwks_uri)
    // keys over plain http only where the operator has said so of the issuer itself
    if (!URL.canParse(uri) || !(uri.startsWith('https:') || issuer.startsWith('http:')))
      throw new Error(`${url} names no https URL of keys`)
    return new URL(uri)
  }

  return {
    async verify(token, known) {
      const setting = token.length > MAX_TOKEN ? undefined : settingOf(token, known)
      if (setting === undefined) throw new BadToken('the token is of no issuer that is trusted here')
      try {
        const keys = await keysOf(setting)
        const { payload } = await jwtVerify(token, keys, {
          algorithms: ALGORITHMS,
          issuer: setting.issuer,
          audience: [...setting.audience],
          clockTolerance: TOLERANCE,
          requiredClaims: ['exp']
        })
        const claims = plainClaims(payload)
        const name = claims[setting.user]
        if (name === undefined || name === '')
          throw new BadToken(`the token has no claim '${setting.user}', which says who it is for`)
        return { kind: 'external', issuer: setting.name, name, claims }
      } catch (error) {
        if (error instanceof BadToken) throw error
        if (error instanceof errors.JWTExpired) throw new BadToken('the token has expired', { cause: error })
        if (error instanceof errors.JWTClaimValidationFailed)
          throw new BadToken(`the token's claim '${error.claim}' is not what is asked for here`, {
            cause: error
          })
        if (isRefusal(error)) throw new BadToken('the token is not one of its issuer', { cause: error })
        throw new RegistryError('UNAVAILABLE', `the keys of '${setting.name}' cannot be had; try again`, {
          cause: new Error(`${setting.issuer}: ${reason(failureOf(error))}`),
          headers: { 'Retry-After': '5' }
        })
      }
    }
  }
}

/** What a fetch failed with, which it hides. */
function failureOf(error: unknown): unknown {
  return error instanceof TypeError && error.cause !== undefined ? error.cause : error
}

/** Who a token says has issued it: nothing is proven yet. */
function settingOf(token: string, known: readonly IssuerSetting[]): IssuerSetting | undefined {
  try {
    const { iss } = decodeJwt(token)
    return known.find(({ issuer }) => issuer === iss)
  } catch {
    return undefined // no JWT at all
  }
}

/** Whether it is the token that is wrong, rather than the way to the keys. */
function isRefusal(error: unknown): boolean {
  return (
    error instanceof errors.JOSEError &&
    !(error instanceof errors.JWKSTimeout) &&
    !(error instanceof errors.JWKSInvalid) &&
    error.code !== 'ERR_JOSE_GENERIC'
  )
}

/** The claims that are texts, numbers or yes and no, as texts. */
function plainClaims(payload: Readonly<Record<string, unknown>>): Record<string, string> {
  const kept = Object.entries(payload).filter(
    ([name, value]) =>
      ['string', 'number', 'boolean'].includes(typeof value) &&
      String(value).length <= MAX_CLAIM &&
      name.length <= 64
  )
  let size = 0
  const fit = kept.filter(([name, value]) => (size += name.length + String(value).length) <= MAX_CLAIMS)
  return Object.fromEntries(fit.map(([name, value]) => [name, String(value)]))
}

/** What is used of an answer. */
interface Answer {
  readonly status: number
  readonly headers: Iterable<[string, string]>
  readonly body: AsyncIterable<Uint8Array> | null
}

/** Fetches by `ask`, which follows no redirects, and no more than {@link MAX_ANSWER}. */
async function limited(
  url: string,
  { signal }: Parameters<FetchImplementation>[1],
  timeoutMs: number,
  ask: (signal: AbortSignal) => Promise<unknown>
): Promise<Response> {
  const answer = (await ask(AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]))) as Answer
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of answer.body ?? []) {
    size += chunk.length
    if (size > MAX_ANSWER) throw new Error(`${url} answers with more than ${MAX_ANSWER} bytes`)
    chunks.push(chunk)
  }
  return new Response(Buffer.concat(chunks), { status: answer.status || 502, headers: [...answer.headers] })
}
