import type { Config } from '../config.ts'
import { ConfigError, hasTls } from '../config.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { UpstreamError } from '../upstream/failure.ts'
import type { Command } from './command.ts'
import { loginFile } from './logins.ts'
import { readSecret } from './secret-input.ts'
import { connections } from './stores.ts'
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
    [
      'seaway whoami',
      'with what docker login has kept for the gateway of the settings, in its file or a helper'
    ],
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
    const answer = await ask(url, config, options)
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

type Options = Parameters<Command['run']>[2]

/** How much of an answer is read, in bytes: rights of a user. */
const MAX_ANSWER = 1024 * 1024

async function ask(url: URL, config: Config, options: Options): Promise<Answer> {
  const [{ openServer }, { loginHeader }] = await Promise.all([
    import('../upstream/server.ts'),
    connections()
  ])
  const { dialTimeout: timeoutMs, proxies, pullTimeout, trustedCa: ca } = config
  const typed = await typedHeader(options)
  const server = openServer({ url: url.href, timeoutMs, proxies, ca })
  const { wire } = server
  const signal = AbortSignal.timeout(pullTimeout)
  const fail = (message: string, cause?: unknown) =>
    new RegistryError('UNAVAILABLE', `${url.host}: ${message}`, { cause })
  try {
    const shown = typed ?? (await kept(() => loginHeader(server, loginFile(config), signal), fail))
    const headers: Record<string, string> = shown === undefined ? {} : { authorization: shown }
    const reply = await wire.send({ method: 'GET', url: new URL('/auth/whoami', url), headers, signal })
    const text = (await wire.read(reply, MAX_ANSWER)).toString()
    if (reply.status === 404) throw fail('nobody is asked who they are there')
    const body = JSON.parse(text) as Answer & { errors?: { message: string }[] }
    if (reply.status === 200) return body
    const why = body.errors?.[0]?.message ?? `status ${reply.status}`
    throw fail(reply.status === 401 ? `${why}; docker login ${url.host} lets you in, if you may` : why)
  } catch (error) {
    if (error instanceof RegistryError) throw error
    if (error instanceof SyntaxError) throw fail('no answer of a Seaway', error)
    // it says which server it is about
    throw new RegistryError('UNAVAILABLE', reason(error), { cause: error })
  } finally {
    wire.close()
  }
}

/** What was typed, or came on stdin; nothing where `docker login` is to be asked. */
async function typedHeader({ user, token }: Options): Promise<string | undefined> {
  if (token === true) return `Bearer ${await readSecret('Token')}`
  if (typeof user !== 'string') return undefined
  return `Basic ${Buffer.from(`${user}:${await readSecret('Password')}`).toString('base64')}`
}

/** What `docker login` has kept, with messages for its own user, who may hear of files and helpers. */
async function kept<T>(look: () => Promise<T>, fail: (message: string, cause: unknown) => Error): Promise<T> {
  try {
    return await look()
  } catch (error) {
    if (error instanceof UpstreamError && error.fault === 'denied')
      throw fail("what 'docker login' has kept is not taken any more: log in again", error)
    if (error instanceof RegistryError) throw fail(reason(error.cause ?? error), error)
    throw error
  }
}
