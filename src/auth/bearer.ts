import { randomUUID } from 'node:crypto'
import { decodeJwt, errors, jwtVerify, SignJWT } from 'jose'
import { z } from 'zod'
import type { ScopeAccess } from './scopes.ts'
import { ALGORITHM, type SigningKeys } from './signing-keys.ts'

/** Who a token of our own was given to. Rights are not in it: they are looked up when it is used. */
export type Subject =
  | { readonly kind: 'anonymous' }
  /** `password` is a mark of the stored hash, so that the token ends with the password. */
  | { readonly kind: 'user'; readonly name: string; readonly password: string }
  | { readonly kind: 'token'; readonly id: string }
  | {
      readonly kind: 'external'
      readonly issuer: string
      readonly name: string
      readonly claims: Readonly<Record<string, string>>
    }

/** What a token of our own says. */
export interface Claims {
  readonly subject: Subject
  /** What it may be used for at most; not there in one that only gets others (a refresh token). */
  readonly access: readonly ScopeAccess[]
  /** Epoch ms. */
  readonly expires: number
}

/** What a token is for: requests, or getting tokens for requests. */
export type TokenUse = 'access' | 'refresh'

/** Why a token was not taken. */
export class BadToken extends Error {
  override readonly name = 'BadToken'
}

/** Signing and checking of our own tokens. */
export interface Bearer {
  sign(use: TokenUse, subject: Subject, access: readonly ScopeAccess[], lifetimeMs: number): Promise<string>
  /** @throws {BadToken} */
  verify(use: TokenUse, token: string): Promise<Claims>
}

/** The `iss` of our own tokens. */
export const OWN_ISSUER = 'seaway'

/** Told apart in the header, so that one use can't stand for the other. @see https://www.rfc-editor.org/rfc/rfc8725#section-3.11 */
const TYPES: Readonly<Record<TokenUse, string>> = { access: 'at+jwt', refresh: 'rt+jwt' }

const CLAIMS = z.object({
  sea: z.discriminatedUnion('kind', [
    z.object({ kind: z.literal('anonymous') }),
    z.object({ kind: z.literal('user'), name: z.string(), password: z.string() }),
    z.object({ kind: z.literal('token'), id: z.string() }),
    z.object({
      kind: z.literal('external'),
      issuer: z.string(),
      name: z.string(),
      claims: z.record(z.string(), z.string())
    })
  ]),
  access: z.array(z.object({ type: z.string(), name: z.string(), actions: z.array(z.string()) })),
  exp: z.number()
})

/** Makes {@link Bearer}. `service` is the audience: a token of one gateway is nothing to another. */
export function createBearer(options: { keys: SigningKeys; service: string; now?: () => number }): Bearer {
  const { keys, service, now = Date.now } = options
  return {
    async sign(use, subject, access, lifetimeMs) {
      const key = await keys.current()
      const at = Math.floor(now() / 1000)
      return new SignJWT({ sea: subject, access })
        .setProtectedHeader({ alg: ALGORITHM, kid: key.id, typ: TYPES[use] })
        .setIssuer(OWN_ISSUER)
        .setAudience(service)
        .setIssuedAt(at)
        .setNotBefore(at)
        .setExpirationTime(at + Math.floor(lifetimeMs / 1000))
        .setJti(randomUUID())
        .sign(key.private)
    },
    async verify(use, token) {
      try {
        const { payload } = await jwtVerify(
          token,
          ({ kid }) => {
            const key = kid === undefined ? undefined : keys.find(kid)
            if (key === undefined) throw new BadToken('the token is signed by another key')
            return key.public
          },
          {
            algorithms: [ALGORITHM],
            issuer: OWN_ISSUER,
            audience: service,
            typ: TYPES[use],
            requiredClaims: ['exp', 'iat'],
            currentDate: new Date(now())
          }
        )
        const { sea, access, exp } = CLAIMS.parse(payload)
        return { subject: sea, access, expires: exp * 1000 }
      } catch (error) {
        if (error instanceof BadToken) throw error
        if (error instanceof errors.JWTExpired) throw new BadToken('the token has expired', { cause: error })
        throw new BadToken('the token is not one of this gateway', { cause: error })
      }
    }
  }
}

/** Whether a token says that it is one of ours, or nothing that can be read. Nothing is proven by that. */
export function isOwnToken(token: string): boolean {
  try {
    return decodeJwt(token).iss === OWN_ISSUER
  } catch {
    return true
  }
}
