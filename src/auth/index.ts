import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { AllowDial } from '../ipfs/policy.ts'
import type { Log } from '../log.ts'
import { type Access, createAccess } from './access.ts'
import { createBearer } from './bearer.ts'
import { createIssuers } from './issuers.ts'
import { createPasswords } from './passwords.ts'
import { MAX_RULES_FILE, parseRules, type Rule, standardRules } from './rules.ts'
import { openSigningKeys } from './signing-keys.ts'
import { createThrottle, type Throttle } from './throttle.ts'
import { openTokens, type Tokens } from './tokens.ts'
import { MAX_USERS_FILE, parseUsers } from './users.ts'
import { watchFile } from './watched-file.ts'

export type { Access, Credentials, Identity } from './access.ts'
export { type Audit, type AuditEvent, openAudit } from './audit.ts'
export { createPasswords, decoyOf } from './passwords.ts'
export { type Decision, decide, rightsName, type Subject } from './rights.ts'
export { type AccessRules, parseRules, type Rule, standardRules } from './rules.ts'
export { CATALOGUE, formatScope, parseScopes, type ScopeAccess } from './scopes.ts'
export { openTokens, TOKEN_PREFIX, type TokenInfo, type Tokens } from './tokens.ts'
export { ACTIONS, type Action, ANONYMOUS, type Grant, keyOf, nameOf, type Principal } from './types.ts'
export { checkUserName, parseUsers, writeUser } from './users.ts'
export { type Watched, watchFiles } from './watched-file.ts'

/** Where users, tokens and keys are, and how long things hold. Times in milliseconds. */
export interface AuthSettings {
  /** Of tokens and signing keys. */
  readonly folder: string
  /** An htpasswd file. */
  readonly users: string | undefined
  /** A YAML file; the standard rules unless given. */
  readonly rules: string | undefined
  readonly anonymousPull: boolean
  /** What our tokens are for: clients show it, nothing else depends on it. */
  readonly service: string
  readonly tokenLifetimeMs: number
  readonly refreshLifetimeMs: number
  readonly keyRotationMs: number
  /** The deadline of a request to an issuer. */
  readonly issuerTimeoutMs: number
  /** Where an issuer may say that its keys are; anywhere unless given. */
  readonly allowDial?: AllowDial
  /** Who slows down guesses; one of its own unless given. */
  readonly throttle?: Throttle
  /** How often files are looked at for changes. */
  readonly lookEveryMs?: number
}

/** Where the machine tokens of a data folder are. */
export function tokensOf(folder: string): Tokens {
  return openTokens(join(folder, 'tokens'))
}

/** Where the keys that sign tokens are: made as soon as users are asked for. */
export function keysOf(folder: string): string {
  return join(folder, 'keys')
}

/** What holds besides the rules file. */
export function standingRules(settings: Pick<AuthSettings, 'rules' | 'anonymousPull'>): readonly Rule[] {
  const { rules, anonymousPull } = settings
  return standardRules({ users: rules === undefined, anonymousPull })
}

/**
 * Opens who may do what.
 *
 * @throws Error that names the file which is wrong, and how
 */
export async function openAuth(settings: AuthSettings, log: Log): Promise<Access> {
  const { folder, users, rules, lookEveryMs, tokenLifetimeMs, refreshLifetimeMs } = settings
  const look = { log, ...(lookEveryMs !== undefined && { lookEveryMs }) }
  const keys = await openSigningKeys({
    folder: keysOf(folder),
    rotateMs: settings.keyRotationMs,
    keepMs: Math.max(tokenLifetimeMs, refreshLifetimeMs),
    log
  })
  return createAccess({
    users:
      users === undefined
        ? undefined
        : await watchFile({ ...look, path: users, parse: parseUsers, maxBytes: MAX_USERS_FILE }).catch(
            (error: unknown) => {
              throw existsSync(users)
                ? error
                : new Error(`there is no users file ${users}: make it with 'seaway login-user NAME'`, {
                    cause: error
                  })
            }
          ),
    tokens: tokensOf(folder),
    rules:
      rules === undefined
        ? { current: async () => ({ rules: [], issuers: [] }) }
        : await watchFile({ ...look, path: rules, parse: parseRules, maxBytes: MAX_RULES_FILE }),
    standing: standingRules(settings),
    bearer: createBearer({ keys, service: settings.service }),
    issuers: createIssuers({
      timeoutMs: settings.issuerTimeoutMs,
      ...(settings.allowDial !== undefined && { allowDial: settings.allowDial })
    }),
    passwords: createPasswords(),
    throttle: settings.throttle ?? createThrottle(),
    tokenLifetimeMs,
    refreshLifetimeMs,
    log
  })
}
