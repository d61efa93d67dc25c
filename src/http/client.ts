import { type IncomingMessage } from 'node:http'
import { isIP, Socket } from 'node:net'
import type { Context, Next } from 'koa'
import { bareIp, inRanges } from '../ipfs/addresses.ts'
import type { Log } from '../log.ts'

/** Who makes a request, as far as that is believed. */
export interface Client {
  /** An IP address, without the zone, and IPv4 as IPv4. */
  readonly address: string
  /** How the client has asked, where a trusted proxy says it. */
  readonly protocol?: 'http' | 'https'
  /** The host that the client has asked for, where a trusted proxy says it. */
  readonly host?: string
}

/** Proxies on the way that are looked at. */
const MAX_HOPS = 32

/**
 * Tells who makes a request. What `X-Forwarded-For`, `-Proto` and `-Host` or `Forwarded` say counts only where the
 * connection comes from one of `trusted`, and of a list of addresses only what trusted proxies have added: whatever
 * stands before that was sent by the client. Where both headers are there and don't name the same client, neither is
 * believed, for proxies pass on the one that they don't write.
 *
 * @param options.trusted ranges (CIDR) of the operator's own reverse proxies
 * @see https://www.rfc-editor.org/rfc/rfc7239
 */
export function createClients(options: {
  trusted: readonly string[]
  log: Log
}): ((request: IncomingMessage) => Client) & { isProxy(address: string): boolean } {
  const { log } = options
  const isProxy = inRanges(options.trusted)
  let told = false

  /** The last one that isn't a trusted proxy. */
  function last(hops: readonly string[], from: string): string {
    let client = from
    for (const hop of hops.slice(-MAX_HOPS).toReversed()) {
      const address = addressIn(hop)
      if (address === undefined) break
      client = address
      if (!isProxy(address)) break
    }
    return client
  }

  function ignored(from: string): void {
    if (told) return
    told = true
    log.warn(
      { from },
      'requests come with forwarding headers from an address that is not among SEAWAY_TRUSTED_PROXIES; they are ignored'
    )
  }

  const find = (request: IncomingMessage): Client => {
    const { socket, headers } = request
    const from = bareIp(socket.remoteAddress ?? '')
    const list = textOf(headers['x-forwarded-for'])
    const forwarded = parseForwarded(textOf(headers['forwarded']))
    // a stream of a peer has an address, too, and may come from where a proxy is
    if (!(socket instanceof Socket) || !isProxy(from)) {
      if (list !== '' || forwarded.length > 0) ignored(from)
      return { address: from }
    }
    const byList = list === '' ? undefined : last(list.split(','), from)
    const hops = forwarded.flatMap((hop) => hop.get('for') ?? [])
    const byForwarded = hops.length === 0 ? undefined : last(hops, from)
    if (byList !== undefined && byForwarded !== undefined && byList !== byForwarded) {
      log.debug(
        { from, byList, byForwarded },
        'X-Forwarded-For and Forwarded do not agree: neither is believed'
      )
      return { address: from }
    }
    const nearest = forwarded.at(-1)
    const protocol = lastOf(headers['x-forwarded-proto']) ?? nearest?.get('proto')
    const host = lastOf(headers['x-forwarded-host']) ?? nearest?.get('host')
    return {
      address: byList ?? byForwarded ?? from,
      ...((protocol === 'http' || protocol === 'https') && { protocol }),
      ...(host !== undefined && isHost(host) && { host })
    }
  }
  return Object.assign(find, { isProxy })
}

/** Has Koa tell of the client what {@link createClients} believes: `ctx.ip`, `host`, `hostname`, `protocol`, `origin`. */
export function introduce(find: (request: IncomingMessage) => Client) {
  return async (ctx: Context, next: Next): Promise<void> => {
    const { address, protocol, host } = find(ctx.req)
    ctx.request.ip = address
    if (protocol !== undefined) Object.defineProperty(ctx.request, 'protocol', { value: protocol })
    if (host !== undefined) Object.defineProperty(ctx.request, 'host', { value: host })
    await next()
  }
}

/** The address of a hop: `192.0.2.1`, `192.0.2.1:1234`, `[2001:db8::1]:1234`. */
function addressIn(hop: string): string | undefined {
  const text = hop.trim()
  const match = /^\[([^\]]+)\](?::\d+)?$/.exec(text) ?? /^(\d+\.\d+\.\d+\.\d+)(?::\d+)?$/.exec(text)
  const address = match?.[1] ?? text
  return isIP(address) === 0 ? undefined : bareIp(address)
}

/** The parameters of each hop in a Forwarded header; none where it can't be read. */
function parseForwarded(header: string): Map<string, string>[] {
  const hops: Map<string, string>[] = []
  const pair = /\s*([a-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;]*))\s*(;|,|$)/iy
  let hop = new Map<string, string>()
  while (pair.lastIndex < header.length) {
    const match = pair.exec(header)
    if (match === null) return []
    const [, name = '', quoted, plain = '', end] = match
    hop.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, '$1') ?? plain)
    if (end === ';') continue
    hops.push(hop)
    hop = new Map()
  }
  return hops
}

const textOf = (value: string | string[] | undefined): string => [value ?? ''].flat().join(',')

/** What the nearest proxy has written. */
function lastOf(value: string | string[] | undefined): string | undefined {
  const text = textOf(value).split(',').at(-1)?.trim().toLowerCase()
  return text === '' ? undefined : text
}

/** Whether a text can stand in a URL as a host, with or without a port. */
function isHost(text: string): boolean {
  return /^(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]+\])(?::\d{1,5})?$/i.test(text)
}
