import { type LookupAddress, lookup as systemLookup } from 'node:dns'
import { BlockList, isIP, isIPv4, type LookupFunction } from 'node:net'
import type { Multiaddr } from '@multiformats/multiaddr'

/** Which addresses the node may be pointed at: `public` keeps it out of the operator's own network. */
export type AllowDial = 'any' | 'public'

/** The one judge of outbound addresses, for libp2p and for plain HTTP. */
export interface DialPolicy {
  /**
   * Why `address` may not be dialled, or `undefined` if it may. Names are looked up: one address that
   * isn't public is enough to refuse, as there is no saying which one the system would take.
   */
  refusal(address: Multiaddr): Promise<string | undefined>
  /** Why `host` (an IP address, or a name that `lookup` will judge) may not be connected to. */
  hostRefusal(host: string): string | undefined
  /** For `net.connect` and `http.request`: looks a name up and refuses at the moment of connecting, so
   * that an answer that changes after {@link DialPolicy.refusal} gains nothing. */
  lookup: LookupFunction
}

/**
 * IPv4 that isn't globally reachable
 * (https://www.iana.org/assignments/iana-ipv4-special-registry/). 169.254/16 holds the metadata
 * services of the clouds.
 */
const NOT_PUBLIC_4 = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4]
] as const

/**
 * Inside global unicast 2000::/3, what isn't a host of its own: protocol assignments with Teredo, 6to4
 * (both carry an IPv4 address), documentation
 * (https://www.iana.org/assignments/iana-ipv6-special-registry/).
 */
const NOT_PUBLIC_6 = [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20]
] as const

const notPublic4 = new BlockList()
for (const [net, prefix] of NOT_PUBLIC_4) notPublic4.addSubnet(net, prefix, 'ipv4')
const notPublic6 = new BlockList()
for (const [net, prefix] of NOT_PUBLIC_6) notPublic6.addSubnet(net, prefix, 'ipv6')
const global6 = new BlockList()
global6.addSubnet('2000::', 3, 'ipv6')
const carries4 = new BlockList()
carries4.addSubnet('::ffff:0:0', 96, 'ipv6')
carries4.addSubnet('64:ff9b::', 96, 'ipv6')

/** Whether an IP address in text is one that the whole internet can reach. */
export function isPublic(ip: string): boolean {
  if (isIPv4(ip)) return !notPublic4.check(ip, 'ipv4')
  if (isIP(ip) !== 6 || ip.includes('%')) return false
  const mapped = embedded4(ip)
  if (mapped !== undefined) return isPublic(mapped)
  return global6.check(ip, 'ipv6') && !notPublic6.check(ip, 'ipv6')
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

/** The IPv4 address inside an IPv4-mapped (::ffff:0:0/96) or NAT64 (64:ff9b::/96) address. */
function embedded4(ip: string): string | undefined {
  if (!carries4.check(ip, 'ipv6')) return undefined
  // URL writes any spelling of an IPv6 address in one form, with hexadecimal groups at the end
  const groups = new URL(`http://[${ip}]`).hostname.slice(1, -1).split(':')
  const low = groups.slice(-2).map((group) => Number.parseInt(group || '0', 16))
  const [high = 0, tail = 0] = low
  return `${high >> 8}.${high & 255}.${tail >> 8}.${tail & 255}`
}

/**
 * Makes the policy. Unix sockets are refused by both: a record from the network has no business with
 * them, and libp2p's TCP transport would dial them.
 */
export function createPolicy(
  allow: AllowDial,
  resolve: (name: string) => Promise<string[]> = systemAddresses
): DialPolicy {
  const hostRefusal = (host: string) =>
    allow === 'public' && isIP(host) !== 0 && !isPublic(host) ? `${host} isn't a public address` : undefined

  return {
    hostRefusal,

    async refusal(address) {
      const [first] = address.getComponents()
      if (first === undefined || first.name === 'unix') return 'not a network address'
      if (allow === 'any' || first.name === 'p2p' || first.name === 'dnsaddr') return undefined
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
