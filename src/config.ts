import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { ACCESS } from './config/access.ts'
import { check } from './config/check.ts'
import { CONTENT } from './config/content.ts'
import { NETWORK } from './config/network.ts'
import { POLICY } from './config/policy.ts'
import { type Config, ConfigError, type Setting } from './config/table.ts'
import { type Proxies, proxyUrl } from './config/upstreams.ts'
import { WAITS } from './config/waits.ts'

export { asksForUsers, authFolderOf, hasTls, isLoopback, usersFileOf } from './config/check.ts'
export { type Config, ConfigError, type LogLevel, type Setting } from './config/table.ts'

/**
 * The settings table: each has a flag (`--dns-servers`), an environment variable (`SEAWAY_DNS_SERVERS`)
 * and a key in the settings file (`dnsServers`). README's table is generated from it.
 */
export const SETTINGS: readonly Setting[] = [...NETWORK, ...POLICY, ...ACCESS, ...CONTENT, ...WAITS]

/** The command-line flag of a setting. */
export function flagOf(setting: Setting): string {
  return `--${setting.key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`
}

/** The environment variable of a setting. */
export function variableOf(setting: Setting): string {
  return `SEAWAY_${setting.key.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()}`
}

/** The environment variable that names the settings file. */
export const FILE_VARIABLE = 'SEAWAY_CONFIG'

/**
 * Reads the settings: flags before environment before file before defaults. This is the only reader of
 * the environment.
 *
 * @param flags values by the setting's key
 * @throws {ConfigError}
 */
export function readConfig(options: {
  flags: Partial<Record<string, string>>
  env: NodeJS.ProcessEnv
  file?: string
}): Config {
  const { flags, env } = options
  const file = readFile(options.file ?? env[FILE_VARIABLE])
  const variables = new Set([FILE_VARIABLE, ...SETTINGS.map(variableOf)])
  for (const name of Object.keys(env)) {
    if (name.startsWith('SEAWAY_') && !variables.has(name)) {
      throw new ConfigError(`${name} is not a setting; the settings are ${[...variables].join(', ')}`)
    }
  }
  for (const key of Object.keys(file)) {
    if (!SETTINGS.some((setting) => setting.key === key)) {
      throw new ConfigError(
        `'${key}' in the settings file is not a setting; the keys are ${SETTINGS.map((s) => s.key).join(', ')}`
      )
    }
  }
  const config: Record<string, unknown> = {}
  for (const setting of SETTINGS) {
    const sources: [string, string | undefined][] = [
      [flagOf(setting), flags[setting.key]],
      [variableOf(setting), env[variableOf(setting)]],
      [`${setting.key} in the settings file`, file[setting.key]],
      [setting.also ?? '', setting.also === undefined ? undefined : env[setting.also] || undefined],
      ['the default', setting.standard]
    ]
    const [source, text] = sources.find(([, value]) => value !== undefined) as [string, string]
    try {
      config[setting.key] = setting.read(text)
    } catch (error) {
      throw new ConfigError(`${source} is '${text}', but ${(error as Error).message} (${setting.form})`)
    }
  }
  return check({ ...config, proxies: proxiesIn(env) } as unknown as Config)
}

/** Variables that have no prefix, since all programs read them; in small letters first, as with curl. */
function proxiesIn(env: NodeJS.ProcessEnv): Proxies {
  const valueOf = (name: string) => env[name.toLowerCase()] ?? env[name] ?? ''
  const proxyOf = (name: string) => {
    try {
      return proxyUrl(valueOf(name))
    } catch (error) {
      throw new ConfigError(`${name} cannot be used: ${(error as Error).message}`)
    }
  }
  return { http: proxyOf('HTTP_PROXY'), https: proxyOf('HTTPS_PROXY'), none: valueOf('NO_PROXY') }
}

function readFile(path: string | undefined): Record<string, string> {
  if (path === undefined || path === '') return {}
  let parsed: unknown
  try {
    // loaded here because most have no such file
    const { parse } = createRequire(import.meta.url)('yaml') as typeof import('yaml')
    parsed = parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new ConfigError(`the settings file ${path} cannot be read: ${(error as Error).message}`)
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new ConfigError(`the settings file ${path} must hold keys and values`)
  }
  return Object.fromEntries(Object.entries(parsed).map(([key, value]) => [key, asText(value)]))
}

function asText(value: unknown): string {
  if (Array.isArray(value)) return value.map(asText).join(',')
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (typeof value === 'object' && value !== null) return JSON.stringify(value)
  return String(value)
}
