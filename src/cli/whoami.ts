import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Config } from '../config.ts'
import { ConfigError, hasTls } from '../config.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import type { Command } from './command.ts'
import { readSecret } from './secret-input.ts'
import { formatJson, formatTable } from './terminal.ts'

/** What a gateway says of somebody; see http/token-endpoint.ts. */
interface Answer {
  readonly name: string
  readonly kind: string
  readonly rights: readonly { readonly repositories: readonly string[]; readonly can: readonly string[] }[]
}

/** `seaway whoami [URL]` */
export const whoami: Command = {
  name: 'whoami',
  arguments: '[url]',
  summary: 'asks a gateway whom your credentials stand for, and what they give',
  examples: [
    ['seaway whoami', 'with what docker login has kept for the gateway of the settings'],
    ['seaway whoami https://registry.example.com --user alice', 'asks for the password'],
    ['seaway whoami --token < token.txt', 'a token, from stdin']
  ],
  json: true,
  options: [
    { flags: '--user <name>', about: 'this user, whose password is typed or comes on stdin' },
    { flags: '--token', about: 'a token, which is typed or comes on stdin' }
  ],
  async run({ config, print, screen }, [given], options) {
    const url = urlOf(given, config)
    const headers = await headersOf(url, options['user'], options['token'] === true)
    const answer = await ask(url, headers, config.dialTimeout)
    if (options.json === true) {
      print(formatJson(answer))
      return
    }
    print(`${answer.name} (${answer.kind}) at ${url.host}`)
    if (answer.rights.length === 0) print('has no rights')
    else {
      const rows = answer.rights.map(({ repositories, can }) => [can.join(', '), repositories.join(', ')])
      for (const line of formatTable(['MAY', 'REPOSITORIES'], rows, [], screen)) print(line)
    }
  }
}

function urlOf(given: string | undefined, config: Config): URL {
  const { listen, authUrl, tlsAcmeDomains } = config
  const host = tlsAcmeDomains[0] ?? (listen.host.includes(':') ? `[${listen.host}]` : listen.host)
  const text = given ?? authUrl ?? `${hasTls(config) ? 'https' : 'http'}://${host}:${listen.port}`
  if (!/^https?:\/\//.test(text) || !URL.canParse(text))
    throw new ConfigError(`'${text}' is no URL like https://registry.example.com`)
  return new URL(text)
}

async function headersOf(
  url: URL,
  user: Parameters<Command['run']>[2][string],
  token: boolean
): Promise<Record<string, string>> {
  if (token) return { authorization: `Bearer ${await readSecret('Token')}` }
  if (typeof user === 'string') {
    const pair = `${user}:${await readSecret('Password')}`
    return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` }
  }
  const kept = await dockerLogin(url.host)
  return kept === undefined ? {} : { authorization: `Basic ${kept}` }
}

/** What `docker login` has kept in its file: name and password in base64. Credential helpers aren't asked. */
async function dockerLogin(host: string): Promise<string | undefined> {
  try {
    const file = JSON.parse(await readFile(join(homedir(), '.docker/config.json'), 'utf8')) as {
      auths?: Record<string, { auth?: string }>
    }
    return file.auths?.[host]?.auth
  } catch {
    return undefined // not logged in
  }
}

async function ask(url: URL, headers: Record<string, string>, timeoutMs: number): Promise<Answer> {
  const fail = (message: string, cause?: unknown) =>
    new RegistryError('UNAVAILABLE', `${url.host}: ${message}`, { cause })
  let answer: Response
  try {
    answer = await fetch(new URL('/auth/whoami', url), { headers, signal: AbortSignal.timeout(timeoutMs) })
  } catch (error) {
    throw fail(`no answer: ${reason((error as Error).cause ?? error)}`, error)
  }
  const text = (await answer.text()).slice(0, 1_000_000)
  if (answer.status === 404) throw fail('nobody is asked who they are there')
  try {
    const body = JSON.parse(text) as Answer & { errors?: { message: string }[] }
    if (answer.status === 200) return body
    throw fail(body.errors?.[0]?.message ?? `status ${answer.status}`)
  } catch (error) {
    if (error instanceof RegistryError) throw error
    throw fail(`status ${answer.status}, and no answer of a Seaway`, error)
  }
}
