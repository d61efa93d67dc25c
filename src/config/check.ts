import { existsSync } from 'node:fs'
import { isIPv4 } from 'node:net'
import { join } from 'node:path'
import { type Config, ConfigError } from './table.ts'

/** Whether an address to listen on is reachable from this machine alone. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))
}

/** Where the data folder has what is about users: tokens, signing keys, and the users if no other file is named. */
export function authFolderOf({ data }: Pick<Config, 'data'>): string {
  return join(data, 'auth')
}

/** The users file that `seaway login-user` writes. */
export function usersFileOf({ authUsers, data }: Pick<Config, 'authUsers' | 'data'>): string {
  return authUsers ?? join(authFolderOf({ data }), 'users')
}

/** Whether this gateway asks who somebody is, by users or by rules. */
export function asksForUsers({ authUsers, authRules }: Pick<Config, 'authUsers' | 'authRules'>): boolean {
  return authUsers !== undefined || authRules !== undefined
}

/** Puts in what follows from other settings. */
function complete(given: Config): Config {
  const authUsers = given.authUsers ?? [usersFileOf(given)].find(existsSync)
  const open = !asksForUsers({ ...given, authUsers }) || given.authAnonymousPull
  const seed = (given.seed as string) === '' ? (open ? 'all' : 'none') : given.seed
  return { ...given, authUsers, seed }
}

/**
 * Puts in what follows from other settings, and looks whether they agree.
 *
 * @throws {ConfigError}
 */
export function check(given: Config): Config {
  const config = complete(given)
  const fault = tlsFault(config)
  if (fault !== undefined) throw new ConfigError(fault)
  if (asksForUsers(config) && config.allowAnonymousPush) {
    throw new ConfigError(
      `SEAWAY_ALLOW_ANONYMOUS_PUSH is yes, but users are asked for (${config.authUsers ?? config.authRules}): take one out`
    )
  }
  if (!isLoopback(config.listen.host) && !config.allowAnonymousPush && !asksForUsers(config)) {
    throw new ConfigError(
      `SEAWAY_LISTEN is '${config.listen.host}:${config.listen.port}', which others can reach, and anyone could push there: ` +
        "listen on 127.0.0.1, make a user with 'seaway login-user', or set SEAWAY_ALLOW_ANONYMOUS_PUSH=yes if that is meant"
    )
  }
  const local = config.allowPrivatePeers || config.allowDial.length > 0
  if (config.mdns && !isLoopback(config.listen.host) && !local) {
    throw new ConfigError(
      'SEAWAY_MDNS is yes, but this gateway listens beyond loopback and so dials public addresses only: ' +
        'set SEAWAY_ALLOW_DIAL to the addresses of the local network, or SEAWAY_ALLOW_PRIVATE_PEERS=yes for all private ones'
    )
  }
  return config
}

/** Whether the registry speaks TLS. */
export function hasTls(config: Pick<Config, 'tlsCert' | 'tlsAcmeDomains'>): boolean {
  return config.tlsCert !== '' || config.tlsAcmeDomains.length > 0
}

/** Which of the settings of TLS lacks another, or contradicts it. */
function tlsFault(config: Config): string | undefined {
  const { tlsCert, tlsKey, tlsAcmeDomains } = config
  if (tlsCert !== '' && tlsKey === '')
    return 'SEAWAY_TLS_CERT is set, but not SEAWAY_TLS_KEY: both are needed'
  if (tlsCert === '' && tlsKey !== '')
    return 'SEAWAY_TLS_KEY is set, but not SEAWAY_TLS_CERT: both are needed'
  if (tlsCert !== '' && tlsAcmeDomains.length > 0)
    return 'SEAWAY_TLS_CERT and SEAWAY_TLS_ACME_DOMAINS are both set: the certificate comes from one of them'
  if (hasTls(config)) return undefined
  const needs =
    'is set, but there is no TLS: set SEAWAY_TLS_CERT and SEAWAY_TLS_KEY, or SEAWAY_TLS_ACME_DOMAINS'
  if (config.tlsPlainListen !== undefined) return `SEAWAY_TLS_PLAIN_LISTEN ${needs}`
  if (config.seedTls) return `SEAWAY_SEED_TLS ${needs}`
  return undefined
}
