import { isIP, isIPv4 } from 'node:net'

/** A host and port to listen on or to ask. Port 0 picks a free one. */
export interface HostPort {
  readonly host: string
  readonly port: number
}

/** Any text. */
export function plain(text: string): string {
  return text
}

/** Items separated by commas; none for an empty text. */
export function list<T>(item: (text: string) => T): (text: string) => readonly T[] {
  return (text) =>
    text
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '')
      .map(item)
}

/** One of a few words. Throws an Error that says what is needed. */
export function oneOf<T extends string>(...allowed: readonly T[]): (text: string) => T {
  return (text) => {
    const found = allowed.find((value) => value === text)
    if (found === undefined) throw new Error(`only ${allowed.join(', ')} are allowed`)
    return found
  }
}

/** `yes` or `no`. Throws an Error that says what is needed. */
export function yesNo(text: string): boolean {
  return oneOf('yes', 'no')(text) === 'yes'
}

/** A host and a port to listen on; `[…]` for IPv6, no host for every address. Throws an Error that says what is needed. */
export function hostPort(text: string): HostPort {
  const match = /^(?:\[([^\]]+)\]|([^:]*)):(\d+)$/.exec(text)
  const host = match?.[1] ?? match?.[2] ?? ''
  const port = Number(match?.[3])
  if (match === null || port > 65535) throw new Error('a host and a port from 0 to 65535 are needed')
  if (match[1] !== undefined && isIP(host) !== 6) throw new Error('only an IPv6 address stands in brackets')
  return { host: host === '' ? '0.0.0.0' : host, port }
}

/** A name server, with or without a port, or its https URL. Throws an Error that says what is needed. */
export function dnsServer(text: string): string {
  if (/^https:/i.test(text)) {
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (url === undefined || url.username !== '' || url.hash !== '' || /[{}]/.test(text))
      throw new Error(`'${text}' is no URL like https://dns.example/dns-query`)
    return text
  }
  const match = /^(?:\[([^\]]+)\]|[^:[\]\s/]+)(?::(\d{1,5}))?$/.exec(text)
  const port = Number(match?.[2] ?? 53)
  const named = match !== null && (match[1] === undefined || isIP(match[1]) === 6)
  if (isIP(text) !== 6 && (!named || port < 1 || port > 65535))
    throw new Error(
      `'${text}' is no host, host:port, IPv6 address or [IPv6]:port with a port from 1 to 65535, and no https URL`
    )
  return text
}

/** The beginning of a multiaddr; libp2p checks the rest when it is used. Throws an Error that says what is needed. */
export function multiaddr(text: string): string {
  if (!/^\/[a-z0-9-]+\/./.test(text)) throw new Error('multiaddrs like /ip4/0.0.0.0/tcp/4001 are needed')
  return text
}

/** A multiaddr that names a peer. Throws an Error that says what is needed. */
export function peerAddress(text: string): string {
  if (!/\/p2p\/[A-Za-z0-9]+$/.test(multiaddr(text)))
    throw new Error('multiaddrs that end in /p2p/<peer id> are needed')
  return text
}

/** A time, in milliseconds. Throws an Error that says what is needed. */
export function duration(text: string): number {
  const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text)
  if (match === null) throw new Error('a time like 500ms, 30s, 5m, 24h or 7d is needed')
  return Number(match[1]) * (units[match[2] as string] as number)
}

/** A {@link duration} of a minute or more: no client asks for tokens more often. Throws an Error that says what is needed. */
export function atLeastMinute(text: string): number {
  const time = duration(text)
  if (time < 60_000) throw new Error('at least 1m is needed')
  return time
}

/** A size, in bytes. Throws an Error that says what is needed. */
export function size(text: string): number {
  const units: Record<string, number> = {
    B: 1,
    KB: 1e3,
    MB: 1e6,
    GB: 1e9,
    TB: 1e12,
    KiB: 2 ** 10,
    MiB: 2 ** 20,
    GiB: 2 ** 30,
    TiB: 2 ** 40
  }
  const match = /^(\d+(?:\.\d+)?)([KMGT]i?B|B)$/.exec(text)
  if (match === null) throw new Error('a size like 500MB, 64MiB or 10GB is needed')
  return Math.floor(Number(match[1]) * (units[match[2] as string] as number))
}

/** A rate in bytes a second, written as a {@link size}. Throws an Error that says what is needed. */
export function rate(text: string): number {
  const bytes = size(text)
  if (bytes < 65_536) throw new Error('a rate of at least 64KiB a second is needed')
  return bytes
}

/** A whole number from 1 on. Throws an Error that says what is needed. */
export function count(text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new Error('a whole number from 1 to 9999999 is needed')
  return Number(text)
}

/** A whole number, 0 included. Throws an Error that says what is needed. */
export function wholeNumber(text: string): number {
  if (!/^\d{1,7}$/.test(text)) throw new Error('a whole number from 0 to 9999999 is needed')
  return Number(text)
}

/** A whole number that may be left out; 0 for no limit. Throws an Error that says what is needed. */
export function limit(text: string): number | undefined {
  return text === '' ? undefined : wholeNumber(text)
}

/** A range of IP addresses, `10.0.0.0/8`, or a single one. Throws an Error that says what is needed. */
export function cidr(text: string): string {
  const [, ip = '', prefix] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  if (isIP(ip) === 0 || ip.includes('%') || Number(prefix ?? 0) > (isIPv4(ip) ? 32 : 128))
    throw new Error(`'${text}' is no range like 10.0.0.0/8 or fd00::/8, and no IP address`)
  return text
}

/** A glob of domains. Throws an Error that says what is needed. */
export function domainGlob(text: string): string {
  const glob = text.toLowerCase().replace(/\.$/, '')
  if (!/^[a-z0-9*?._-]+$/.test(glob))
    throw new Error(`'${text}' is no domain and no glob of domains, like *.example.com`)
  return glob
}

/** An http or https URL. Throws an Error that says what is needed. */
export function httpUrl(text: string): string {
  if (!/^https?:\/\//.test(text) || !URL.canParse(text))
    throw new Error('URLs like https://delegated-ipfs.dev are needed')
  return text
}

/** A name that a certificate can be had for by showing that one answers there. Throws an Error that says what is needed. */
export function acmeDomain(text: string): string {
  const name = text.toLowerCase().replace(/\.$/, '')
  if (name.startsWith('*.')) throw new Error(`'${text}' has a *, which only DNS could prove`)
  if (
    !/^(?=.{1,253}$)(?:(?!-)[a-z0-9-]{1,63}(?<!-)\.)+(?!-)[a-z0-9-]{2,63}(?<!-)$/.test(name) ||
    isIP(name) !== 0
  )
    throw new Error(`'${text}' is no domain like registry.example.com`)
  return name
}

/** A value that may be left out: `undefined` for an empty text. */
export function optional<T>(read: (text: string) => T): (text: string) => T | undefined {
  return (text) => (text === '' ? undefined : read(text))
}

/** The public network's entry points (https://docs.ipfs.tech/how-to/modify-bootstrap-list/). */
export const PUBLIC_BOOTSTRAP: readonly string[] = [
  '/dnsaddr/bootstrap.libp2p.io/p2p/QmNnooDu7bfjPFoTZYxMNLWUQJyrVwtbZg5gBMjTezGAJN',
  '/dnsaddr/bootstrap.libp2p.io/p2p/QmQCU2EcMqAqQPR2i9bChDtGNJchTbq5TbXJJ16u19uLTa',
  '/dnsaddr/bootstrap.libp2p.io/p2p/QmbLHAnMoJPWSCR5Zhtx6BHJX9KiKNN6tpvbUcqanj75Nb',
  '/dnsaddr/bootstrap.libp2p.io/p2p/QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt'
]

/** How a domain's records get into DNS: a way, and its options. */
export interface PublisherSetting {
  readonly way: string
  readonly options: Readonly<Record<string, string>>
}

/**
 * A way to publish: `rfc2136?server=ns.example.com&key=/etc/seaway/example.key`, values percent-encoded where
 * they hold `&`, `,` or `%`. Throws an Error that says what is needed.
 */
export function publisher(text: string): PublisherSetting {
  const [way = '', query = ''] = text.split(/\?(.*)/s)
  if (!/^[a-z0-9]+$/.test(way)) throw new Error(`'${text}' does not begin with a way to publish`)
  const options: Record<string, string> = {}
  for (const part of query.split('&').filter((each) => each !== '')) {
    const [key = '', value] = part.split(/=(.*)/s)
    if (key === '' || value === undefined) throw new Error(`'${part}' is not OPTION=VALUE`)
    try {
      options[key] = decodeURIComponent(value)
    } catch {
      throw new Error(`'${value}' has a % that encodes nothing (a % itself is %25)`)
    }
  }
  return { way, options }
}

/**
 * Domains and how they are published: `example.com=WAY?OPTION=VALUE&…`, several parted by commas, or, as the
 * settings file has it, JSON of domains to ways, or to objects with `dns` and the options. Throws an Error that
 * says what is needed.
 */
export function publishers(text: string): ReadonlyMap<string, PublisherSetting> {
  const found = new Map<string, PublisherSetting>()
  const add = (domain: string, setting: PublisherSetting) => {
    const name = domain.toLowerCase().replace(/\.$/, '')
    if (!name.includes('.')) throw new Error(`'${domain}' is not a domain`)
    found.set(name, setting)
  }
  if (text.startsWith('{')) {
    for (const [domain, value] of Object.entries(JSON.parse(text) as Record<string, unknown>)) {
      if (typeof value !== 'object' || value === null) add(domain, publisher(String(value)))
      else {
        const { dns = 'none', ...rest } = value as Record<string, unknown>
        const words = Object.entries(rest).map(([key, each]) => [
          key,
          typeof each === 'boolean' ? (each ? 'yes' : 'no') : String(each)
        ])
        add(domain, { way: String(dns), options: Object.fromEntries(words) })
      }
    }
    return found
  }
  for (const part of list(plain)(text)) {
    const [domain = '', value] = part.split(/=(.*)/s)
    if (value === undefined) throw new Error(`'${part}' is not DOMAIN=WAY`)
    add(domain, publisher(value))
  }
  return found
}

/** Which tags of the repositories that a glob matches stay. */
export interface RetentionRule {
  /** Of the repository as clients name it: `*` for anything within a component, `**` across them. */
  readonly repositories: string
  /** The last so many tags that were pushed stay. */
  readonly last: number
  /** What was pushed in the last so many milliseconds stays. */
  readonly newerMs: number
  /** Tags that one of these globs matches stay. */
  readonly match: readonly string[]
}

const RETENTION_EXAMPLE = 'example.com/app last=10 newer=30d match=v*'

/**
 * A rule, `GLOB [last=N] [newer=TIME] [match=GLOB]…`: a tag stays if one of its parts says so.
 *
 * Throws an Error that says what is needed.
 */
export function retentionRule(text: string): RetentionRule {
  const [repositories = '', ...parts] = text.trim().split(/\s+/)
  let last = 0
  let newerMs = 0
  const match: string[] = []
  for (const part of parts) {
    const [key = '', value = ''] = part.split(/=(.*)/s)
    if (key === 'last' && /^\d{1,6}$/.test(value)) last = Number(value)
    else if (key === 'newer') newerMs = duration(value)
    else if (key === 'match' && value !== '') match.push(value)
    else
      throw new Error(
        `'${part}' is none of last=NUMBER, newer=TIME and match=GLOB, as in '${RETENTION_EXAMPLE}'`
      )
  }
  // A rule that keeps nothing is surely a slip.
  if (parts.length === 0)
    throw new Error(`'${text}' says nothing of what stays: write it like '${RETENTION_EXAMPLE}'`)
  return { repositories, last, newerMs, match }
}

/** Sizes by domain, `DOMAIN=SIZE,…`; `*` for every domain that isn't named. Throws an Error that says what is needed. */
export function domainLimits(text: string): ReadonlyMap<string, number> {
  return new Map(
    list((part) => {
      const [domain = '', value] = part.split('=')
      if (!/^(\*|[a-z0-9.-]+)$/.test(domain) || value === undefined)
        throw new Error(`'${part}' is not DOMAIN=SIZE, like example.com=10GB or *=1GB`)
      return [domain, size(value)] as const
    })(text)
  )
}

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
