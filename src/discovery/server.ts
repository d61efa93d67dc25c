import { Resolver as SystemResolver } from 'node:dns'
import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import { unlessAborted } from './failure.ts'

/** A name server and what was learnt about it. */
export interface Server {
  readonly host: string
  readonly port: number
  /** Where it is asked over HTTPS. */
  readonly url: URL | undefined
  /** `host:port` or the URL, as messages name it. */
  readonly label: string
  /** It was silent or unreachable lately: asked after the others until then (epoch ms). */
  penalisedUntil: number
  /** It changes the case of names, over TCP too, so case proves nothing with it. */
  foldsCase: boolean
  /** It refuses queries that carry EDNS. */
  refusesEdns: boolean
}

/** More servers than this are not asked. */
export const MAX_SERVERS = 8

/**
 * Reads `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address; the port is 53 unless given.
 *
 * @throws Error naming the value and what is allowed
 */
export function parseServer(text: string): Server {
  const bad = (): Error =>
    new Error(`DNS server ${JSON.stringify(text)}: expected host, host:port, [IPv6] or [IPv6]:port`)
  const trimmed = text.trim()
  const bare = isIP(trimmed) === 6 ? trimmed : undefined
  const parts = /^(?:\[([^\]]+)\]|([^:[\]\s/]+))(?::(\d{1,5}))?$/.exec(trimmed)
  const host = bare ?? parts?.[1] ?? parts?.[2]
  const port = Number(parts?.[3] ?? 53)
  if (host === undefined || port < 1 || port > 65535) throw bad()
  if (parts?.[1] !== undefined && isIP(host) !== 6) throw bad()
  const label = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
  return { host, port, url: undefined, label, penalisedUntil: 0, foldsCase: false, refusesEdns: false }
}

/**
 * Reads what {@link parseServer} does, or the URL of a server that is asked over HTTPS.
 *
 * @throws Error naming the value and what is allowed
 * @see https://www.rfc-editor.org/rfc/rfc8484
 */
export function parseResolver(text: string): Server {
  const trimmed = text.trim()
  if (!/^https:/i.test(trimmed)) return parseServer(trimmed)
  const url = parseHttps(trimmed)
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const port = Number(url.port === '' ? 443 : url.port)
  return { host, port, url, label: url.href, penalisedUntil: 0, foldsCase: true, refusesEdns: false }
}

/** @throws Error naming the value and what is allowed */
function parseHttps(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const plain = url !== undefined && !/[{}]|%7b/i.test(text) && url.username === '' && url.hash === ''
  if (!plain || url.port === '0')
    throw new Error(`DNS server ${JSON.stringify(text)}: expected https://host[:port]/dns-query`)
  return url
}

/**
 * The servers to ask. With none configured, the system's, read again at each call since a laptop changes
 * networks; what was learnt about a server that stays is kept.
 *
 * @throws Error for a value that is no server
 */
export function serverList(configured: readonly string[]): () => Server[] {
  const known = new Map<string, Server>()
  const fixed = configured.slice(0, MAX_SERVERS).map(parseResolver)
  if (fixed.length > 0) return () => fixed
  return () => {
    const current = new SystemResolver().getServers().slice(0, MAX_SERVERS).map(parseServer)
    const list = current.map((server) => known.get(server.label) ?? server)
    known.clear()
    for (const server of list) known.set(server.label, server)
    return list
  }
}

/** The servers in the order in which to ask them: the operator's, those that failed lately at the end. */
export function byHealth(servers: readonly Server[], now: number): Server[] {
  const penalty = (server: Server): number => (server.penalisedUntil > now ? server.penalisedUntil : 0)
  return servers.toSorted((a, b) => penalty(a) - penalty(b))
}

/** The server's IP address; a host name goes to the operating system's resolver. */
export async function addressOf(server: Server, signal: AbortSignal): Promise<string> {
  if (isIP(server.host) !== 0) return server.host
  return (await unlessAborted(lookup(server.host), signal)).address
}
