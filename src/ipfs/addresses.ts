import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net'

/**
 * IPv4 that isn't globally reachable
 * (https://www.iana.org/assignments/iana-ipv4-special-registry/). 169.254/16, 100.64/10 and 192.0.0/24 hold the
 * metadata services of clouds, and so does one address that looks like any other:
 * https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
 */
const NOT_PUBLIC_4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '168.63.129.16/32',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4'
]

/**
 * Inside global unicast 2000::/3, what isn't a host of its own: protocol assignments with Teredo, 6to4
 * (both carry an IPv4 address), documentation
 * (https://www.iana.org/assignments/iana-ipv6-special-registry/).
 */
const NOT_PUBLIC_6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20']

/** IPv4-mapped and NAT64: another way to write the IPv4 address at the end. */
const CARRIES_4 = ['::ffff:0:0/96', '64:ff9b::/96']

const notPublic = listOf([...NOT_PUBLIC_4, ...NOT_PUBLIC_6])
const global6 = listOf(['2000::/3'])
const carries4 = listOf(CARRIES_4)

/** Whether an IP address in text is one that the whole internet can reach. */
export function isPublic(ip: string): boolean {
  const plain = plainIp(ip)
  if (plain === undefined || ip.includes('%')) return false
  if (isIPv4(plain)) return !notPublic.check(plain, 'ipv4')
  return global6.check(plain, 'ipv6') && !notPublic.check(plain, 'ipv6')
}

/**
 * Whether an IP address lies in one of some ranges.
 *
 * @param cidrs `10.0.0.0/8`, `fd00::/8`, or single addresses
 */
export function inRanges(cidrs: readonly string[]): (ip: string) => boolean {
  if (cidrs.length === 0) return () => false
  const list = listOf(cidrs)
  return (ip) => {
    const plain = plainIp(ip)
    return plain !== undefined && list.check(plain, isIPv4(plain) ? 'ipv4' : 'ipv6')
  }
}

/**
 * An IP address without its zone; where it only carries an IPv4 address (::ffff:0:0/96, 64:ff9b::/96), that one.
 * `undefined` for what isn't one.
 */
export function plainIp(ip: string): string | undefined {
  const bare = ip.replace(/%.*$/, '')
  if (isIP(bare) !== 6) return isIPv4(bare) ? bare : undefined
  if (!carries4.check(bare, 'ipv6')) return bare
  // URL writes any spelling of an IPv6 address in one form, with hexadecimal groups at the end
  const groups = new URL(`http://[${bare}]`).hostname.slice(1, -1).split(':')
  const [high = 0, low = 0] = groups.slice(-2).map((group) => Number.parseInt(group || '0', 16))
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
}

/** An address as a socket tells it, without its zone; an IPv4-mapped one as IPv4, but a NAT64 one as it is. */
export function bareIp(address: string): string {
  return /^::ffff:/i.test(address) ? (plainIp(address) ?? address) : address.replace(/%.*$/, '')
}

/**
 * What of an address counts as one client: all of it, but of IPv6 the first 64 bits, since whoever has one has all the
 * rest of them.
 */
export function networkOf(address: string): string {
  const plain = bareIp(address)
  if (!isIPv6(plain)) return plain
  const [head = '', tail = ''] = plain.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === '' ? [] : tail.split(':')
  const zeros = Array.from({ length: Math.max(0, 8 - before.length - after.length) }, () => '0')
  const groups = [...before, ...zeros, ...after].slice(0, 4)
  return `${groups.map((group) => group.replace(/^0+(?=.)/, '').toLowerCase()).join(':')}::/64`
}

function listOf(cidrs: readonly string[]): BlockList {
  const list = new BlockList()
  for (const cidr of cidrs) {
    const [net = '', prefix] = cidr.split('/')
    const family = isIPv4(net) ? 'ipv4' : 'ipv6'
    list.addSubnet(net, prefix === undefined ? (family === 'ipv4' ? 32 : 128) : Number(prefix), family)
  }
  return list
}
