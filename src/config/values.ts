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
