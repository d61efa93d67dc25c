import { isIP } from 'node:net'
import type { Address } from './listening.ts'
import { type Identity, namesOf } from './tls/index.ts'

/**
 * Addresses to publish, with those of the seed port: one beside each IP address that peers can reach, or, with TLS,
 * for each name of the certificate. Announced addresses are the operator's own list, so nothing is added to them when
 * they name an HTTP address already.
 */
export function withSeed(
  addresses: readonly string[],
  seed: Address | undefined,
  identity: Identity | undefined
): readonly string[] {
  if (seed === undefined || addresses.some((address) => /\/https?(\/|$)/.test(address))) return addresses
  const peer = addresses[0]?.split('/p2p/').at(-1)
  if (identity !== undefined) {
    const { dns, ip } = identity.pair === undefined ? { dns: [], ip: [] } : namesOf(identity.pair)
    const named = dns.filter((name) => !name.startsWith('*')).map((name) => `/dns/${name}`)
    const numbered = ip.map((address) => `/ip${isIP(address) === 6 ? 6 : 4}/${address}`)
    return [
      ...[...named, ...numbered].map((host) => `${host}/tcp/${seed.port}/tls/http/p2p/${peer}`),
      ...addresses
    ]
  }
  const anywhere = seed.host === '0.0.0.0' || seed.host === '::'
  const hosts = anywhere
    ? // a relay's address is not ours
      addresses
        .filter((address) => !address.includes('/p2p-circuit'))
        .map((address) => /^\/(?:ip4|ip6|dns[46]?)\/[^/]+/.exec(address)?.[0] ?? '')
    : [`/${seed.host.includes(':') ? 'ip6' : 'ip4'}/${seed.host}`]
  const extra = [...new Set(hosts)]
    .filter((host) => host !== '')
    .map((host) => `${host}/tcp/${seed.port}/http/p2p/${peer}`)
  return [...extra, ...addresses]
}
