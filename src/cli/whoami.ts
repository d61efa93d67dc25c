import type { Config } from '../config.ts'
import { ConfigError, hasTls } from '../config.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { createCredentials } from '../upstream/credentials.ts'
import type { Command } from './command.ts'
import { loginFile } from './logins.ts'
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
    const headers = await headersOf(url, config, options)
    const signal = AbortSignal.timeout(config.dialTimeout)
    const answer = await request<Answer>(url, '/auth/whoami', { headers, signal })
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
  config: Config,
  { user, token }: Parameters<Command['run']>[2]
): Promise<Record<string, string>> {
  if (token === true) return { authorization: `Bearer ${await readSecret('Token')}` }
  if (typeof user === 'string') return basic(user, await readSecret('Password'))
  const file = loginFile(config)
  const signal = AbortSignal.timeout(config.dialTimeout)
  const kept = file === undefined ? undefined : await createCredentials(file).find([url.host], signal)
  if (kept === undefined) return {}
  if ('user' in kept) return basic(kept.user, kept.password)
  return { authorization: `Bearer ${await tokenFor(url, kept.identityToken, signal)}` }
}

const basic = (user: string, password: string) => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
})

/** What an identity token, which docker keeps in place of a password, is good for. */
async function tokenFor(url: URL, identityToken: string, signal: AbortSignal): Promise<string> {
  const body = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: identityToken })
  const { access_token: token } = await request<{ access_token: string }>(url, '/auth/token', {
    method: 'POST',
    body,
    signal
  })
  return token
}

async function request<T>(url: URL, path: string, init: RequestInit): Promise<T> {
  const fail = (message: string, cause?: unknown) =>
    new RegistryError('UNAVAILABLE', `${url.host}: ${message}`, { cause })
  let answer: Response
  try {
    answer = await fetch(new URL(path, url), { ...init, redirect: 'error' })
  } catch (error) {
    throw fail(`no answer: ${reason((error as Error).cause ?? error)}`, error)
  }
  const text = (await answer.text()).slice(0, 1_000_000)
  if (answer.status === 404) throw fail('nobody is asked who they are there')
  try {
    const body = JSON.parse(text) as T & { errors?: { message: string }[] }
    if (answer.status === 200) return body
    throw fail(body.errors?.[0]?.message ?? `status ${answer.status}`)
  } catch (error) {
    if (error instanceof RegistryError) throw error
    throw fail(`status ${answer.status}, and no answer of a Seaway`, error)
  }
}
