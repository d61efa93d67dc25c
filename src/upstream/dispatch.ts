import { isIP } from 'node:net'
import { getCACertificates } from 'node:tls'
import { Agent, type Dispatcher, EnvHttpProxyAgent } from 'undici'
import type { Proxies } from '../config/upstreams.ts'
import { inRanges, plainIp } from '../ipfs/addresses.ts'
import type { DialPolicy } from '../ipfs/policy.ts'

/** The connections of one upstream: straight ones, and those through a proxy. */
export interface Dispatchers {
  /** @param trusted whether the operator named that server; others are connected to only where the policy lets us */
  to(url: URL, trusted: boolean): Dispatcher
  close(): void
}

/** Connections to one host. */
const CONNECTIONS = 32

/** How long one that nobody uses stays open, in milliseconds. */
const KEEP_ALIVE_MS = 30_000

/**
 * Makes them. HTTP/1.1 alone: over HTTP/2 all layers of an image would share one connection, and its window.
 *
 * @param options.ca certificates of further authorities, PEM
 * @param options.timeoutMs for a connection
 */
export function createDispatchers(options: {
  ca: string | undefined
  timeoutMs: number
  policy: DialPolicy
  proxies: Proxies
}): Dispatchers {
  const { ca, timeoutMs, policy, proxies } = options
  const tls = ca === undefined ? {} : { ca: [...getCACertificates('default'), ca] }

  function make(connect: object) {
    const common = {
      allowH2: false,
      connections: CONNECTIONS,
      keepAliveTimeout: KEEP_ALIVE_MS,
      // silence is watched by who reads, who may rest longer
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: { timeout: timeoutMs, ...tls, ...connect }
    }
    const through = (httpProxy: string, httpsProxy: string) =>
      new EnvHttpProxyAgent({
        ...common,
        httpProxy,
        httpsProxy,
        noProxy: proxies.none,
        connectTimeout: timeoutMs,
        requestTls: tls
      })
    // Each scheme has a variable of its own; undici's agent takes HTTP_PROXY for https too where nothing else is set.
    return {
      straight: new Agent(common),
      'http:': through(proxies.http, ''),
      'https:': through('', proxies.https)
    }
  }

  const own = make({})
  const near = inRanges(rangesIn(proxies.none))
  const others = make({ lookup: policy.lookup })
  return {
    to(url, trusted) {
      const all = trusted ? own : others
      // as docker does: a proxy's loopback is not ours
      if (isLoopback(url) || near(hostOf(url))) return all.straight
      return url.protocol === 'https:' ? all['https:'] : all['http:']
    },
    close() {
      for (const all of [own, others])
        for (const each of Object.values(all)) void each.destroy().catch(() => undefined)
    }
  }
}

/** Connections to a Unix socket, whatever host a URL names. */
export function createSocketDispatchers(socketPath: string, timeoutMs: number): Dispatchers {
  const agent = new Agent({
    connections: CONNECTIONS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: { timeout: timeoutMs, socketPath }
  })
  return {
    to: () => agent,
    close: () => void agent.destroy().catch(() => undefined)
  }
}

/** The host of a URL; of an IPv6 address without its brackets. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '')
}

/** Whether a URL's host is this machine, as its name or address says; nothing is looked up. */
export function isLoopback(url: URL): boolean {
  const host = hostOf(url)
  const ip = plainIp(host)
  return /^localhost\.?$/.test(host) || ip === '::1' || ip === '::' || /^(?:127\.|0\.0\.0\.0$)/.test(ip ?? '')
}

/**
 * What `NO_PROXY` names by range (`10.0.0.0/8`), which undici's agent doesn't know. They are meant for URLs with an address
 * in them; names aren't looked up for that. What is no range is passed over, as curl and Go do.
 */
function rangesIn(noProxy: string): string[] {
  return noProxy.split(/[,\s]+/).filter((entry) => {
    const [, address = '', bits] = /^(.+)\/(\d{1,3})$/.exec(entry) ?? []
    return Number(bits) <= { 0: -1, 4: 32, 6: 128 }[isIP(address) as 0 | 4 | 6]
  })
}
