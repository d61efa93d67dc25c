import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { type Config, ConfigError } from '../config.ts'
import { loginNamesOf } from '../upstream/registry-name.ts'

/** The file in which `docker login` keeps what registries know the user by; `undefined` where there is none. */
export function loginFile({ dockerConfig }: Pick<Config, 'dockerConfig'>): string | undefined {
  const file = join(dockerConfig, 'config.json')
  return existsSync(file) ? file : undefined
}

/** Somebody, as one server knows them. */
export interface Login {
  /** `registry.example:5000` */
  readonly host: string
  readonly user: string
  readonly password: string
}

/**
 * Reads `NAME`, or `NAME@HOST` where a command names several servers: a password is never shown to another one than is meant.
 *
 * @param hosts the servers that the command names by their addresses
 * @throws {ConfigError} where it isn't clear whose user it is
 */
export function userAt(text: string, hosts: readonly string[]): Pick<Login, 'host' | 'user'> {
  if (text === '') throw new ConfigError('--user names nobody')
  const at = text.lastIndexOf('@')
  const named = text.slice(at + 1)
  // what follows a colon would be shown to all who use the machine
  if (/^[^@]*:/.test(text))
    throw new ConfigError('--user is a name alone; the password is typed, or comes on stdin')
  // a name may have an @ in it
  const host = hosts.find((each) => at > 0 && loginNamesOf(new URL(`https://${each}`)).includes(named))
  if (host !== undefined) return { host, user: text.slice(0, at) }
  const [first, other] = hosts
  if (first === undefined)
    throw new ConfigError('--user is for a registry, or for a gateway at --gateway, and neither is named')
  if (other !== undefined)
    throw new ConfigError(
      `--user may be one of ${hosts.join(' or of ')}: write --user ${text}@${other}, and docker login for the rest`
    )
  return { host: first, user: text }
}
