import { RegistryError } from '../oci/errors.ts'
import { createCloudflarePublisher } from './cloudflare.ts'
import { quote } from './failure.ts'
import type { Publisher } from './publish.ts'
import { createExecPublisher } from './publish-exec.ts'
import { createUpdatePublisher } from './update.ts'

/** How a domain's records get into DNS: a way, and what it needs to know. */
export interface PublisherSetting {
  readonly way: string
  readonly options: Readonly<Record<string, string>>
}

/** What each way can be told; those with an exclamation mark it must be told. */
const WAYS: Readonly<Record<string, readonly string[]>> = {
  none: [],
  rfc2136: ['key!', 'server', 'zone', 'transport'],
  cloudflare: ['token!', 'zone', 'api'],
  exec: ['command!', 'folder']
}

/** Options that every way has: `ipns=yes` publishes by an IPNS name, `ttl` is that of the records in seconds. */
const COMMON = ['ipns', 'ttl']

/** What all ways need; times in milliseconds. */
export interface PublisherNeeds {
  /** Name servers, as the settings have them. */
  readonly servers: readonly string[]
  /** For a question, an update or a request. */
  readonly timeoutMs: number
  /** For a program of the operator's. */
  readonly execMs: number
}

/**
 * Makes the publisher that a setting describes; `undefined` for `none`, whose records somebody else carries.
 *
 * @throws RegistryError REQUEST_INVALID naming what is wrong with the setting
 */
export function createPublisher(setting: PublisherSetting, needs: PublisherNeeds): Publisher | undefined {
  const { way, options } = setting
  const known = Object.hasOwn(WAYS, way) ? WAYS[way] : undefined
  const invalid = (what: string): RegistryError => new RegistryError('REQUEST_INVALID', what)
  if (known === undefined)
    throw invalid(`${quote(way)} is no way to publish; ${Object.keys(WAYS).join(', ')} are`)
  const allowed = [...known.map((option) => option.replace('!', '')), ...COMMON]
  for (const option of Object.keys(options)) {
    if (!allowed.includes(option))
      throw invalid(`publishing by ${way} has no option ${quote(option)}; ${allowed.join(', ')} are`)
  }
  for (const option of known.filter((each) => each.endsWith('!')).map((each) => each.slice(0, -1))) {
    if ((options[option] ?? '') === '') throw invalid(`publishing by ${way} needs ${option}=`)
  }
  const { ttl, ipns = 'no' } = options
  if (ttl !== undefined && !/^[1-9]\d{0,6}$/.test(ttl))
    throw invalid(`ttl is ${quote(ttl)}, but must be a number of seconds`)
  if (!['yes', 'no'].includes(ipns)) throw invalid(`ipns is ${quote(ipns)}, but must be yes or no`)
  if (way === 'rfc2136') {
    const { transport = 'tcp' } = options
    if (transport !== 'tcp' && transport !== 'udp')
      throw invalid(`transport is ${quote(transport)}, but must be tcp or udp`)
    return createUpdatePublisher(
      { server: options['server'], zone: options['zone'], keyFile: options['key'] as string, transport },
      needs
    )
  }
  if (way === 'cloudflare')
    return createCloudflarePublisher(
      { tokenFile: options['token'] as string, zone: options['zone'], api: options['api'] },
      needs
    )
  if (way === 'exec')
    return createExecPublisher(options['command'] as string, {
      folder: options['folder'],
      timeoutMs: needs.execMs
    })
  return undefined
}
