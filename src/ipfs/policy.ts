import { type LookupAddress, lookup as systemLookup } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import type { Multiaddr } from '@multiformats/multiaddr'
import { inRanges, isPublic } from './addresses.ts'

/** Which addresses may be dialled, where it isn't simply all of them or the public ones. */
export interface DialRules {
  readonly base: 'any' | 'public'
  /** Ranges (CIDR) that may be dialled though they aren't public. */
  readonly allow: readonly string[]
  /** Ranges that may not be, whatever else says so. */
  readonly deny: readonly string[]
}

/**
 * Which addresses the gateway may be pointed at by what others say (records, peers, redirects): `public` keeps it
 * out of the operator's own network.
 */
export type AllowDial = 'any' | 'public' | DialRules

/** What is allowed before single ranges are. */
export function dialBase(allow: AllowDial): 'any' | 'public' {
  return typeof allow === 'string' ? allow : allow.base
}

/**
 * The one judge of outbound addresses: for libp2p's transports, for peers' HTTP addresses, for other registries and
 * where they redirect to. Whoever connects asks {@link DialPolicy.urlRefusal} or {@link DialPolicy.refusal} for each
 * address or URL, and hands {@link DialPolicy.lookup} to what connects.
 */
export interface DialPolicy {
  /**
   * Why `address` may not be dialled, or `undefined` if it may. Names are looked up: one address that
   * isn't public is enough to refuse, as there is no saying which one the system would take.
   */
  refusal(address: Multiaddr): Promise<string | undefined>
  /** Why `host` (an IP address, or a name that `lookup` will judge) may not be connected to. */
  hostRefusal(host: string): string | undefined
  /** The same of a URL's host; `URL` has made dotted ones of decimal, octal and hexadecimal addresses already. */
  urlRefusal(url: URL): string | undefined
  /** For `net.connect` and `http.request`: looks a name up and refuses at the moment of connecting, so
   * that an answer that changes after {@link DialPolicy.refusal} gains nothing. */
  lookup: LookupFunction
}

/** Whether an address leads to this machine only. */
export function isLoopback(address: Multiaddr): boolean {
  const { name, value = '' } = address.getComponents()[0] ?? {}
  return (
    (name === 'ip4' && value.startsWith('127.')) ||
    (name === 'ip6' && value === '::1') ||
    value === 'localhost'
  )
}

/**
 * Makes the policy. Unix sockets are refused by both: a record from the network has no business with
 * them, and libp2p's TCP transport would dial them.
 */
export function createPolicy(
  allow: AllowDial,
  resolve: (name: string) => Promise<string[]> = systemAddresses
): DialPolicy {
  const {
    base,
    allow: ranges,
    deny
  } = typeof allow === 'string' ? { base: allow, allow: [], deny: [] } : allow
  const anything = base === 'any' && deny.length === 0
  const allowed = inRanges(ranges)
  const denied = inRanges(deny)

  const hostRefusal = (host: string) => {
    if (anything || isIP(host) === 0) return undefined
    if (denied(host)) return `${host} is in a range that is denied here (SEAWAY_DENY_DIAL)`
    return base === 'any' || isPublic(host) || allowed(host) ? undefined : `${host} isn't a public address`
  }

  return {
    hostRefusal,

    urlRefusal: ({ hostname }) => hostRefusal(hostname.replace(/^\[|\]$/g, '')),

    async refusal(address) {
      const [first] = address.getComponents()
      if (first === undefined || first.name === 'unix') return 'not a network address'
      if (anything || first.name === 'p2p' || first.name === 'dnsaddr') return undefined
      const host = first.value ?? ''
      if (first.name === 'ip4' || first.name === 'ip6') return hostRefusal(host)
      if (!['dns', 'dns4', 'dns6'].includes(first.name)) return `/${first.name} addresses aren't dialled`
      for (const ip of await resolve(host)) {
        const refused = hostRefusal(ip)
        if (refused !== undefined) return `${host}: ${refused}`
      }
      return undefined
    },

    lookup(name, options, callback) {
      systemLookup(name, { ...options, all: true }, (error, found: LookupAddress[]) => {
        const refused = found?.map(({ address }) => hostRefusal(address)).find((why) => why !== undefined)
        const failure = error ?? (refused === undefined ? null : new Error(`${name}: ${refused}`))
        const [one] = found ?? []
        if (failure !== null || one === undefined)
          callback(failure ?? new Error(`${name} has no address`), '')
        else if (options.all === true) callback(null, found)
        else callback(null, one.address, one.family)
      })
    }
  }
}

async function systemAddresses(name: string): Promise<string[]> {
  return new Promise((resolve, reject) => {
    systemLookup(name, { all: true }, (error, found) => {
      if (error === null) resolve(found.map(({ address }) => address))
      else reject(error)
    })
  })
}
