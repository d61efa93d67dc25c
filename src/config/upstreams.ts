import { duration, list, plain, yesNo } from './values.ts'

/** What is set of one upstream registry. What isn't there is as its domain has it by itself. */
export interface UpstreamSetting {
  readonly off: boolean
  /** Its URLs in the order in which they are asked; the domain's own if there are none. */
  readonly urls: readonly string[]
  /** A file with certificates of authorities (PEM) that are trusted for it, beside the system's. */
  readonly ca?: string
  /** A file with `user:password`, or a docker `config.json`. */
  readonly auth?: string
  /** Milliseconds for which a tag is served without asking again. */
  readonly ttl?: number
  /** Whether the domain's local tree, and the tree that it publishes, are looked into first. */
  readonly local?: boolean
  readonly published?: boolean
  /** Serves what is here, and asks for nothing. */
  readonly offline?: boolean
  /** Whether its content is given to peers and had from them; unless said, where there are no credentials for it. */
  readonly peers?: boolean
  /** Other names that clients have for it, perhaps with a port. */
  readonly aliases?: readonly string[]
}

const UPSTREAM_OPTIONS = ['ca', 'auth', 'ttl', 'local', 'published', 'offline', 'peers', 'alias']

/** An `http://` or `https://` URL of a registry: nothing behind its host and port but a path. */
function registryUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '')
    throw new Error(`'${text}' is no URL like https://registry.example.com`)
  if (url.username !== '' || url.password !== '')
    throw new Error('credentials do not belong into a URL: put them into a file, and name that with auth=')
  return text.replace(/\/+$/, '')
}

function upstream(words: readonly string[]): UpstreamSetting {
  if (words.length === 1 && words[0] === 'off') return { off: true, urls: [] }
  const urls: string[] = []
  const aliases: string[] = []
  const more: { -readonly [K in keyof UpstreamSetting]?: UpstreamSetting[K] } = {}
  for (const word of words) {
    const [key = '', value] = /^[a-z]+=/.test(word) ? word.split(/=(.*)/s) : []
    if (value === undefined) urls.push(registryUrl(word))
    else if (key === 'ca' || key === 'auth') more[key] = value
    else if (key === 'ttl') more.ttl = duration(value)
    else if (key === 'local' || key === 'published' || key === 'offline' || key === 'peers')
      more[key] = yesNo(value)
    else if (key === 'alias') aliases.push(value.toLowerCase())
    else throw new Error(`'${key}' is no option of an upstream; ${UPSTREAM_OPTIONS.join(', ')} are`)
  }
  return { off: false, urls, ...more, ...(aliases.length > 0 && { aliases }) }
}

/**
 * Domains and the registries behind them: `DOMAIN=off` or `DOMAIN=URL URL … OPTION=VALUE …`, several parted by
 * commas, or, as the settings file has it, JSON of domains to such texts, or to objects with `url` and the options.
 * Throws an Error that says what is needed.
 */
export function upstreams(text: string): ReadonlyMap<string, UpstreamSetting> {
  const found = new Map<string, UpstreamSetting>()
  const add = (domain: string, words: readonly string[]) => {
    const name = domain.trim().toLowerCase().replace(/\.$/, '')
    if (!/^[a-z0-9]+(?:[.-][a-z0-9]+)*$/.test(name) || !(name.includes('.') || name === 'localhost'))
      throw new Error(`'${domain}' is not a domain`)
    found.set(name, upstream(words))
  }
  const wordsOf = (value: unknown) =>
    String(value)
      .split(/\s+/)
      .filter((word) => word !== '')
  if (text.startsWith('{')) {
    for (const [domain, value] of Object.entries(JSON.parse(text) as Record<string, unknown>)) {
      if (typeof value !== 'object' || value === null) add(domain, wordsOf(value === false ? 'off' : value))
      else {
        const { url = [], alias = [], ...rest } = value as Record<string, unknown>
        const options = Object.entries(rest).map(([key, each]) => {
          const word = typeof each === 'boolean' ? (each ? 'yes' : 'no') : String(each)
          return `${key}=${word}`
        })
        add(domain, [
          ...[url].flat().map(String),
          ...[alias].flat().map((each) => `alias=${String(each)}`),
          ...options
        ])
      }
    }
    return found
  }
  for (const part of list(plain)(text)) {
    const [domain = '', value] = part.split(/=(.*)/s)
    if (value === undefined) throw new Error(`'${part}' is not DOMAIN=URL or DOMAIN=off`)
    add(domain, wordsOf(value))
  }
  return found
}

/** Servers through which others are reached, as URLs, by the scheme of these; none where it is empty. */
export interface Proxies {
  readonly http: string
  readonly https: string
  /** Hosts that are reached without, as `NO_PROXY` lists them. */
  readonly none: string
}

/** A proxy's URL; a host and port alone is `http://`. Throws an Error that says what is needed. */
export function proxyUrl(text: string): string {
  const url = text === '' || text.includes('://') ? text : `http://${text}`
  if (url !== '' && !(URL.canParse(url) && /^(?:https?|socks5):$/.test(new URL(url).protocol)))
    throw new Error('it is no URL like http://proxy.example.com:3128')
  return url
}
