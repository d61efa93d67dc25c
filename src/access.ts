import { readdir, readFile } from 'node:fs/promises'
import {
  type Audit,
  type AuditEvent,
  type AuthSettings,
  keysOf,
  openAudit,
  openAuth,
  parseRules,
  type Rule,
  rightsName
} from './auth/index.ts'
import type { Call, Operations } from './cli/index.ts'
import { asksForUsers, authFolderOf, type Config, hasTls, isLoopback, usersFileOf } from './config.ts'
import type { AuthOptions } from './http/app.ts'
import type { Log } from './log.ts'
import { RegistryError, reason } from './oci/errors.ts'
import type { Registry } from './registry/index.ts'
import { createSignatures, type Signatures, watchPolicy } from './signatures/index.ts'
import { dialRules } from './terms.ts'

/** What of the settings is about users. */
export function authSettings(config: Config): AuthSettings {
  return {
    folder: authFolderOf(config),
    users: config.authUsers,
    rules: config.authRules,
    anonymousPull: config.authAnonymousPull,
    service: config.authService,
    tokenLifetimeMs: config.authTokenLifetime,
    refreshLifetimeMs: config.authRefreshLifetime,
    keyRotationMs: config.authKeyRotation,
    issuerTimeoutMs: config.authIssuerTimeout,
    allowDial: dialRules(config)
  }
}

/** Operations that change a tree, what is kept of it, or a key: how the audit log calls each, and what it says of it. */
const AUDITED: {
  readonly [K in keyof Operations]?: {
    readonly event: AuditEvent['event']
    of(args: Parameters<Operations[K]>[0], result: Awaited<ReturnType<Operations[K]>>): AuditDetails[]
  }
} = {
  rm: {
    event: 'delete',
    of: ({ dryRun }, { removed }) => (dryRun ? [] : removed.map((reference) => ({ reference })))
  },
  restore: { event: 'restore', of: (_, { domain, root }) => [{ domain, root }] },
  sync: {
    event: 'sync',
    of: (_, { domain, root, outcome }) => (outcome === 'synced' ? [{ domain, root }] : [])
  },
  pin: { event: 'pin', of: (_, { root }) => [{ root }] },
  unpin: { event: 'unpin', of: (_, { root }) => [{ root }] },
  createKey: { event: 'key create', of: ({ domain }) => [{ domain }] },
  importKey: { event: 'key import', of: ({ domain }) => [{ domain }] },
  exportKey: { event: 'key export', of: ({ domain }) => [{ domain }] },
  rotateKey: { event: 'key rotate', of: ({ domain }) => [{ domain }] }
}

type AuditDetails = Readonly<Record<string, string | undefined>>

/** The operations that commands have, with what they change in the audit log: whoever runs one is the operator. */
export function audited(operations: Operations, audit: Audit | undefined): Operations {
  if (audit === undefined) return operations
  const log = <A, R>(
    { event, of }: { event: AuditEvent['event']; of: (args: A, result: R) => AuditDetails[] },
    run: (args: A, call: Call) => Promise<R>
  ) =>
    async function (args: A, call: Call): Promise<R> {
      const result = await run(args, call)
      for (const details of of(args, result))
        audit.write({ event, who: 'operator', client: 'local', ...details })
      return result
    }
  const wrapped = Object.entries(AUDITED).map(([name, row]) => [
    name,
    log(row as never, operations[name as keyof Operations] as never)
  ])
  return { ...operations, ...(Object.fromEntries(wrapped) as Partial<Operations>) }
}

/**
 * Opens who may do what, and the audit log, and has `stack` close them; `undefined` where neither is wanted.
 *
 * @throws Error that names the file which is wrong, and how
 */
export async function openAccess(
  config: Config,
  registry: Pick<Registry, 'publishing' | 'names'>,
  log: Log,
  stack: AsyncDisposableStack
): Promise<AuthOptions | undefined> {
  if (!asksForUsers(config) && !config.allowAnonymousPush) await checkNobodyWasAsked(config)
  const audit = openAuditLog(config, registry, log, stack)
  if (asksForUsers(config) && overheard(config))
    log.warn(
      'users are asked for, and this gateway can be reached without TLS: their passwords cross the network as they are. Set SEAWAY_TLS_CERT or SEAWAY_TLS_ACME_DOMAINS, or SEAWAY_TRUSTED_PROXIES if a proxy does it'
    )
  const access = asksForUsers(config) ? await openAuth(authSettings(config), log) : undefined
  if (access !== undefined) stack.defer(() => access.stop())
  if (config.authRules !== undefined && registry.names !== undefined) {
    const { rules } = parseRules(await readFile(config.authRules, 'utf8'))
    for (const problem of misnamed(rules, registry.names)) log.warn({ path: config.authRules }, problem)
  }
  if (access === undefined && audit === undefined) return undefined
  return { access, audit, challenge: challengeSettings(config) }
}

/**
 * Opens what must be signed; `undefined` where nothing need be.
 *
 * @throws Error that names the file which is wrong, and how
 */
export async function openSignatures(
  config: Config,
  registry: Registry,
  log: Log
): Promise<Signatures | undefined> {
  if (config.verifySignature === undefined) return undefined
  const policy = await watchPolicy(config.verifySignature, log)
  return createSignatures({ policy, registry, timeoutMs: config.pullTimeout })
}

/**
 * A data folder whose users file has got lost, in a move or out of a backup, would be everybody's: behind a proxy on this
 * machine, the whole world's.
 */
async function checkNobodyWasAsked(config: Config): Promise<void> {
  const keys = keysOf(authFolderOf(config))
  const made = await readdir(keys).catch(() => [])
  if (made.length === 0) return
  throw new RegistryError(
    'UNAVAILABLE',
    `users were asked for here before, but there are no ${usersFileOf(config)} and no SEAWAY_AUTH_RULES now: bring them back, or, if everybody may do everything, set SEAWAY_ALLOW_ANONYMOUS_PUSH=yes or remove ${keys}`
  )
}

/**
 * What to tell of globs that nothing is called by, since rules know a repository of another registry by its one name: a
 * rule that takes `!docker.io/app` out would take out nothing.
 */
export function misnamed(
  rules: readonly Pick<Rule, 'what' | 'repositories'>[],
  names: Pick<NonNullable<Registry['names']>, 'canonical' | 'domainOf'>
): string[] {
  return rules.flatMap(({ what, repositories }) =>
    repositories.flatMap((glob) => {
      const [, not = '', domain = '', below = ''] = /^(!?)([^/*?]+)\/(.+)$/.exec(glob) ?? []
      const known = names.domainOf(domain)
      if (known === undefined) return []
      const place = { kind: 'domain', domain: known } as const
      const name = rightsName(
        /[*?]/.test(below)
          ? { asked: '', place, repository: below }
          : names.canonical({ asked: '', place, repository: below })
      )
      return `${not}${name}` === glob
        ? []
        : `${what} says ${glob}, which nothing is called by: write ${not}${name}`
    })
  )
}

/** How clients are asked who they are, as the settings have it. */
export function challengeSettings(config: Config): AuthOptions['challenge'] {
  return { scheme: config.authScheme, service: config.authService, url: config.authUrl }
}

/** Opens the audit log, if one is wanted, has what is published written to it, and has `stack` close it. */
export function openAuditLog(
  config: Config,
  registry: Pick<Registry, 'publishing'>,
  log: Log,
  stack: AsyncDisposableStack
): Audit | undefined {
  if (config.auditLog === 'none') return undefined
  const audit = openAudit(config.auditLog, {
    trouble: (error) =>
      log.error(
        { path: config.auditLog, cause: reason(error) },
        'the audit log cannot be written: who does what meanwhile may be missing from it'
      )
  })
  stack.defer(() => audit.stop())
  registry.publishing.onPublished((domain, root) => {
    audit.write({ event: 'publish', who: 'gateway', client: 'none', domain, root: root.toString() })
  })
  return audit
}

/** Whether clients come over a network, and nothing is known that would hide what they show. */
function overheard(config: Config): boolean {
  return !isLoopback(config.listen.host) && !hasTls(config) && config.trustedProxies.length === 0
}
