import type { TokenInfo } from '../auth/index.ts'
import { ACTIONS, type Action } from '../auth/types.ts'
import { duration } from '../config/values.ts'
import { asksForUsers, authFolderOf, ConfigError } from '../config.ts'
import type { Command } from './command.ts'
import type { Screen } from './screen.ts'
import { formatJson, formatTable } from './terminal.ts'

const WORDS = ['create', 'list', 'revoke'] as const

type Options = Parameters<Command['run']>[2]

/** `seaway token create|list|revoke` */
export const token: Command = {
  name: 'token',
  arguments: '<action> [token]',
  words: WORDS,
  summary: 'manages tokens for machines: create, list, revoke; a running gateway sees it at once',
  examples: [
    ['seaway token create --repo example.com/app --can push --expires 30d', 'prints it, once'],
    ['docker login --username token --password-stdin HOST', 'any name will do'],
    ['seaway token list', 'what each may do, and until when'],
    ['seaway token revoke 0123456789abcdef', 'by its id or its name']
  ],
  json: true,
  options: [
    {
      flags: '--repo <globs>',
      about: 'create: the repositories that it is for, parted by commas; !GLOB takes out'
    },
    {
      flags: '--can <actions>',
      about: `create: ${ACTIONS.join(', ')}, parted by commas; push holds pull, admin all`
    },
    { flags: '--expires <time>', about: 'create: 12h, 30d…, or never; default 30d' },
    { flags: '--name <name>', about: 'create: what it is for; default the repositories' }
  ],
  async run({ config, print, screen }, [action = '', which], options) {
    if (!(WORDS as readonly string[]).includes(action))
      throw new ConfigError(`'${action}' is no action; ${WORDS.join(', ')} are`)
    // loaded here, as for all that few commands need
    const { tokensOf } = await import('../auth/index.ts')
    const tokens = tokensOf(authFolderOf(config))
    const json = options.json === true
    if (action === 'list') {
      const all = await tokens.list()
      if (json) print(formatJson(all))
      else for (const line of table(all, screen)) print(line)
      return
    }
    if (action === 'revoke') {
      if (which === undefined)
        throw new ConfigError("token revoke needs an id or a name; see 'seaway token list'")
      const revoked = await tokens.revoke(which)
      print(json ? formatJson(revoked) : `${revoked.id} (${revoked.name}) is revoked`)
      return
    }
    if (which !== undefined) throw new ConfigError('token create takes options only, see seaway token --help')
    const made = await tokens.create(requestOf(options))
    print(json ? formatJson(made) : made.secret)
    if (!json && !asksForUsers(config))
      process.stderr.write(
        'nobody is asked for tokens here yet: see seaway login-user, and SEAWAY_AUTH_RULES\n'
      )
  }
}

function requestOf(options: Options): {
  name: string
  repositories: string[]
  can: Action[]
  expires?: number
} {
  const repositories = words(options['repo'])
  const can = words(options['can'])
  if (repositories.every((glob) => glob.startsWith('!')))
    throw new ConfigError('--repo must name the repositories that the token is for, as example.com/app')
  const wrong = can.find((word) => !(ACTIONS as readonly string[]).includes(word))
  if (can.length === 0 || wrong !== undefined)
    throw new ConfigError(`--can is '${can.join()}', but must be of ${ACTIONS.join(', ')}`)
  const name = String(options['name'] ?? repositories.join())
  if (!/^[\x20-\x7e]{1,200}$/.test(name))
    throw new ConfigError('--name must be plain text of at most 200 characters')
  const expires = expiryOf(options['expires'] === undefined ? '30d' : String(options['expires']))
  return { name, repositories, can: can as Action[], ...(expires !== undefined && { expires }) }
}

const words = (value: Options[string]): string[] =>
  String(value ?? '')
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')

function expiryOf(text: string): number | undefined {
  if (text === 'never') return undefined
  try {
    return Date.now() + duration(text)
  } catch (error) {
    throw new ConfigError(`--expires is '${text}', but ${(error as Error).message}, or never`)
  }
}

function table(all: readonly TokenInfo[], screen: Screen): string[] {
  const day = (time: number) => new Date(time).toISOString().slice(0, 16).replace('T', ' ')
  const rows = all.map(({ id, name, repositories, can, created, expires }) => [
    id,
    name,
    can.join(','),
    repositories.join(','),
    day(created),
    expires === undefined ? 'never' : expires <= Date.now() ? 'expired' : day(expires)
  ])
  return formatTable(['ID', 'NAME', 'CAN', 'REPOSITORIES', 'CREATED', 'EXPIRES'], rows, [], screen)
}
