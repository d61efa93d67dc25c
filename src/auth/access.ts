import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Log } from '../log.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { BadToken, type Bearer, type Claims, isOwnToken, type Subject as TokenSubject } from './bearer.ts'
import type { Issuers } from './issuers.ts'
import { decoyOf, type Passwords } from './passwords.ts'
import { type Decision, decide, ownRules, type Subject } from './rights.ts'
import type { AccessRules, Rule } from './rules.ts'
import type { ScopeAccess } from './scopes.ts'
import type { Throttle } from './throttle.ts'
import { TOKEN_PREFIX, type Tokens } from './tokens.ts'
import { type Action, ANONYMOUS, type Grant, keyOf, type Principal } from './types.ts'
import type { Watched } from './watched-file.ts'

/** What a client shows. */
export type Credentials =
  | { readonly kind: 'none' }
  | { readonly kind: 'password'; readonly user: string; readonly password: string }
  | { readonly kind: 'bearer'; readonly token: string }

/** Who a client is, as far as it has shown. */
export interface Identity {
  readonly principal: Principal
  /** What it may use at most, where it shows a token that was made for something; everything else has its rights alone. */
  readonly limit: readonly ScopeAccess[] | undefined
  /** Whether these are the first credentials of its own that it has shown from there in ten minutes: it has logged in. */
  readonly fresh: boolean
}

/** Who may do what. */
export interface Access {
  /**
   * Who shows these credentials. `address` is where from, for slowing down who guesses.
   *
   * @throws {RegistryError} UNAUTHORIZED when they are wrong; TOOMANYREQUESTS; UNAVAILABLE
   */
  identify(credentials: Credentials, address: string): Promise<Identity>
  /** Whether somebody may do something, by the rules as they are now. */
  decide(principal: Principal, action: Action, subject: Subject): Promise<Decision>
  /** What somebody may do by the rules as they are now. */
  grants(principal: Principal): Promise<readonly Grant[]>
  /** A token for requests, of which those parts of `access` are left that the principal has a right to. */
  issue(principal: Principal, access: readonly ScopeAccess[]): Promise<{ token: string; expiresIn: number }>
  /** A token that gets others without a password; only users of the users file have those. */
  issueRefresh(principal: Principal): Promise<string | undefined>
  /** Whom such a token belongs to. @throws {RegistryError} UNAUTHORIZED */
  refresh(token: string, address: string): Promise<Identity>
  stop(): Promise<void>
}

/** How many of our own tokens are remembered as checked; each is signed, and a check costs a tenth of a millisecond. */
const CHECKED = 5000

/** How long those may be together, in characters: one that is for many repositories is as long as a header may be. */
const CHECKED_SIZE = 4 * 1024 * 1024

/** For how long after its last request with a token somebody counts as logged in, in milliseconds. */
const LOGIN_MS = 600_000

/** Where there is no file of users. */
const NOBODY: ReadonlyMap<string, string> = new Map()

/** Puts {@link Access} together. */
export function createAccess(options: {
  users: Watched<ReadonlyMap<string, string>> | undefined
  tokens: Tokens
  rules: Pick<Watched<AccessRules>, 'current'>
  /** What holds besides the rules file. */
  standing: readonly Rule[]
  bearer: Bearer
  issuers: Issuers
  passwords: Passwords
  throttle: Throttle
  tokenLifetimeMs: number
  refreshLifetimeMs: number
  log: Log
}): Access {
  const { tokens, rules, standing, bearer, issuers, passwords, throttle, log } = options
  const checked = new LRUCache<string, Claims>({
    max: CHECKED,
    maxSize: CHECKED_SIZE,
    sizeCalculation: (_, token) => token.length
  })
  const recent = new LRUCache<string, true>({ max: CHECKED, ttl: LOGIN_MS })

  const hashOf = async (user: string) => (await options.users?.current())?.get(user)

  function slow(address: string, user: string): void {
    const wait = Math.ceil(throttle.wait(address, user) / 1000)
    if (wait <= 0) return
    throw new RegistryError(
      'TOOMANYREQUESTS',
      `too many wrong passwords or tokens came from this address, or for this user: try again in ${wait} s`,
      { headers: { 'Retry-After': String(wait) } }
    )
  }

  async function byPassword(user: string, password: string, address: string): Promise<Identity> {
    const seen = (await options.users?.current()) ?? NOBODY
    const isKnown = passwords.known(password, seen.get(user) ?? '') === true
    // who was made a moment ago, or has another password since, neither waits nor counts as one who guesses
    const users = isKnown ? seen : ((await options.users?.latest()) ?? NOBODY)
    // made for those who are there too: it takes its time
    const decoy = decoyOf(user, users)
    const stored = users.get(user)
    // What is known tells a guesser nothing new: a client that shows one wrong password with each of its requests has
    // guessed once. Nothing is awaited in between.
    if (passwords.known(password, stored ?? decoy) === undefined) slow(address, user)
    const end = throttle.begin(address, user)
    const wrong = () => throttle.failed(address, user)
    const right = await passwords.check(password, stored ?? decoy, wrong).finally(end)
    if (right && stored !== undefined) {
      throttle.succeeded(address, user)
      const principal = { kind: 'user', name: user } as const
      return { principal, limit: undefined, fresh: isNew(principal, address) }
    }
    throw refused('the user name or the password is wrong')
  }

  async function byToken(token: string, address: string): Promise<Identity> {
    if (token.startsWith(TOKEN_PREFIX)) {
      const principal = await tokens.find(token)
      // Nobody guesses 256 bits, so it isn't counted: machines go on showing tokens that have expired.
      if (principal === undefined) throw refused('the token is wrong, was revoked, or has expired')
      return { principal, limit: undefined, fresh: isNew(principal, address) }
    }
    const { issuers: known } = await rules.current()
    try {
      if (known.length === 0 || isOwnToken(token))
        return { ...(await byOwnToken('access', token)), fresh: false }
      const principal = await issuers.verify(token, known)
      return { principal, limit: undefined, fresh: isNew(principal, address) }
    } catch (error) {
      if (!(error instanceof BadToken)) throw error
      log.debug({ cause: reason(error.cause ?? error) }, 'a token was refused')
      throw refused(error.message, error)
    }
  }

  /** Whether somebody shows a token from an address for the first time in a while. */
  function isNew(principal: Principal, address: string): boolean {
    const key = `${address} ${keyOf(principal)}`
    const known = recent.has(key)
    recent.set(key, true)
    return !known
  }

  async function byOwnToken(use: 'access' | 'refresh', token: string) {
    const known = use === 'access' ? checked.get(token) : undefined
    if (known !== undefined && known.expires <= Date.now()) {
      checked.delete(token)
      throw new BadToken('the token has expired')
    }
    const claims = known ?? (await bearer.verify(use, token))
    if (use === 'access') checked.set(token, claims)
    const principal = await principalOf(claims.subject)
    if (principal === undefined) throw new BadToken('whom the token was given to is not known any more')
    return { principal, limit: claims.access }
  }

  /** Who a token of ours was given to, if it is still so. */
  async function principalOf(subject: TokenSubject): Promise<Principal | undefined> {
    if (subject.kind === 'anonymous') return ANONYMOUS
    if (subject.kind === 'external') return subject
    if (subject.kind === 'token') return tokens.byId(subject.id)
    const hash = await hashOf(subject.name)
    return hash !== undefined && markOf(hash) === subject.password
      ? { kind: 'user', name: subject.name }
      : undefined
  }

  async function subjectOf(principal: Principal): Promise<TokenSubject> {
    if (principal.kind === 'token') return { kind: 'token', id: principal.id }
    if (principal.kind !== 'user') return principal
    const hash = await hashOf(principal.name)
    if (hash === undefined) throw refused('this user is not known any more')
    return { kind: 'user', name: principal.name, password: markOf(hash) }
  }

  const allRules = async () => [...standing, ...(await rules.current()).rules]

  return {
    async identify(credentials, address) {
      if (credentials.kind === 'none') return { principal: ANONYMOUS, limit: undefined, fresh: false }
      if (credentials.kind === 'bearer') return byToken(credentials.token, address)
      const { user, password } = credentials
      // A token stands for a password wherever a client only knows passwords.
      if (password.startsWith(TOKEN_PREFIX) || /^ey[\w-]+\.[\w-]+\.[\w-]*$/.test(password))
        return byToken(password, address)
      return byPassword(user, password, address)
    },

    decide: async (principal, action, subject) => decide(await allRules(), principal, action, subject),

    async grants(principal) {
      return ownRules(await allRules(), principal).map(({ repositories, can }) => ({ repositories, can }))
    },

    async issue(principal, access) {
      const token = await bearer.sign('access', await subjectOf(principal), access, options.tokenLifetimeMs)
      return { token, expiresIn: Math.floor(options.tokenLifetimeMs / 1000) }
    },

    async issueRefresh(principal) {
      if (principal.kind !== 'user') return undefined
      return bearer.sign('refresh', await subjectOf(principal), [], options.refreshLifetimeMs)
    },

    async refresh(token, address) {
      try {
        const { principal } = await byOwnToken('refresh', token)
        return { principal, limit: undefined, fresh: isNew(principal, address) }
      } catch (error) {
        if (!(error instanceof BadToken)) throw error
        throw refused(`${error.message}: log in again`, error)
      }
    },

    stop: () => passwords.stop()
  }
}

/** A mark of a stored password, which tells nothing of it. */
function markOf(hash: string): string {
  return createHash('sha256').update(`seaway password mark\0${hash}`).digest('base64url').slice(0, 16)
}

function refused(message: string, cause?: unknown): RegistryError {
  return new RegistryError('UNAUTHORIZED', message, cause === undefined ? {} : { cause })
}
