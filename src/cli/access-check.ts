import { readFile } from 'node:fs/promises'
import {
  ACTIONS,
  type AccessRules,
  type Action,
  ANONYMOUS,
  type Decision,
  decide,
  type Principal,
  parseRules,
  parseUsers,
  rightsName,
  type Subject,
  standingRules,
  tokensOf
} from '../auth/index.ts'
import { asksForUsers, authFolderOf, type Config, ConfigError } from '../config.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { parseRepository } from '../oci/reference.ts'
import { createNames } from '../upstream/names.ts'
import type { Command } from './command.ts'
import { formatJson } from './terminal.ts'

/** Runs `seaway access check`. */
export const check: Command['run'] = async (
  { config, print },
  [word, who = '', repository = '', action = ''],
  options
) => {
  if (word !== 'check') throw new ConfigError(`'${word}' is no action; check is`)
  if (!(ACTIONS as readonly string[]).includes(action))
    throw new ConfigError(`'${action}' is nothing that can be allowed; ${ACTIONS.join(', ')} are`)
  const { upstreams, defaultUpstream } = config
  const names = createNames({ settings: upstreams, standard: defaultUpstream })
  const subject: Subject =
    action === 'publish'
      ? { domain: repository }
      : { repository: rightsName(names.canonical(parseRepository(repository))) }
  const decision = await decided(config, who, action as Action, subject, String(options['claim'] ?? ''))
  if (options.json === true) print(formatJson(decision))
  if (!decision.allowed) throw new RegistryError('DENIED', decision.why)
  if (options.json !== true) print(decision.why)
}

async function decided(
  config: Config,
  who: string,
  action: Action,
  subject: Subject,
  claims: string
): Promise<Decision> {
  if (!asksForUsers(config)) {
    const why =
      'nobody is asked who they are here (no users file and no SEAWAY_AUTH_RULES), so anyone may do anything'
    return { allowed: true, why }
  }
  const rules = await read<AccessRules>(config.authRules, parseRules, { rules: [], issuers: [] })
  const principal = await principalOf(config, who, rules, claims)
  if (typeof principal === 'string') return { allowed: false, why: principal }
  const standing = standingRules({ rules: config.authRules, anonymousPull: config.authAnonymousPull })
  return decide([...standing, ...rules.rules], principal, action, subject)
}

/** Who is meant; a sentence where there is nobody. */
async function principalOf(
  config: Config,
  who: string,
  rules: AccessRules,
  claims: string
): Promise<Principal | string> {
  if (who === 'anonymous') return ANONYMOUS
  const [kind = '', name = ''] = who.split(/:(.*)/s)
  if (kind === 'token' && who.includes(':')) {
    const tokens = tokensOf(authFolderOf(config))
    const found = (await tokens.list()).find((each) => each.id === name || each.name === name)
    if (found === undefined) return `there is no token '${name}'`
    return (await tokens.byId(found.id)) ?? `the token '${name}' has expired`
  }
  if (who.includes(':')) {
    if (!rules.issuers.some((issuer) => issuer.name === kind)) return `there is no issuer '${kind}'`
    return { kind: 'external', issuer: kind, name, claims: readClaims(claims) }
  }
  const users = await read(config.authUsers, parseUsers, new Map<string, string>())
  return users.has(who) ? { kind: 'user', name: who } : `there is no user '${who}'`
}

function readClaims(text: string): Record<string, string> {
  const pairs = text.split(',').filter((part) => part !== '')
  return Object.fromEntries(
    pairs.map((part) => {
      const [name = '', value] = part.split(/=(.*)/s)
      if (value === undefined) throw new ConfigError(`--claim has '${part}', which is not NAME=VALUE`)
      return [name, value]
    })
  )
}

async function read<T>(path: string | undefined, parse: (text: string) => T, none: T): Promise<T> {
  if (path === undefined) return none
  try {
    return parse(await readFile(path, 'utf8'))
  } catch (error) {
    throw new RegistryError('REQUEST_INVALID', `${path}: ${reason(error)}`, { cause: error })
  }
}
