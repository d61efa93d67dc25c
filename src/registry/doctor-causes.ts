import type { ProbeKind } from '../ipfs/index.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import type { Cause, Trouble } from './doctor-types.ts'

/** Makes a {@link Trouble}. */
export function trouble(cause: Cause, why: string, remedy: string): Trouble {
  return { cause, why, remedy }
}

/** No name server could be asked. */
export function serversDown(why: string): Trouble {
  return trouble(
    'servers-down',
    why,
    'check the network and the servers, or name others in SEAWAY_DNS_SERVERS (dig @SERVER TXT NAME shows what one says)'
  )
}

/** Why a domain's records lead nowhere. `detail` of NAME_UNKNOWN lists the records that were seen and are of no use. */
export function recordTrouble(domain: string, error: unknown): Trouble {
  const why = reason(error)
  const record = `_dnslink.${domain} TXT "dnslink=/ipfs/<root>"`
  const { code, detail } = error instanceof RegistryError ? error : { code: 'UNKNOWN', detail: undefined }
  const seen = (detail as { problems?: readonly string[] } | undefined)?.problems ?? []
  if (code === 'NAME_UNKNOWN' && seen.length === 0)
    return trouble(
      'no-record',
      why,
      `on the gateway that has the tree run 'seaway publish ${domain}', and put the records that it prints into the zone: ${record}`
    )
  if (code === 'SOURCE_TIMEOUT') return serversDown(why)
  return trouble(
    'unusable-record',
    why,
    `correct the record: ${record}; 'seaway publish ${domain}' prints it where the tree is`
  )
}

/** What to do about an address, by why it didn't do. */
const ADDRESS_REMEDIES: Record<ProbeKind, (domain: string) => string> = {
  policy: () =>
    'the publisher has to announce an address that the whole internet can reach (SEAWAY_ANNOUNCE); in a network of your own, set SEAWAY_ALLOW_DIAL to its range here, or SEAWAY_ALLOW_PRIVATE_PEERS=yes',
  unsupported: (domain) =>
    `the publisher has to publish an address over TCP, WebSocket or HTTP(S): 'seaway publish ${domain}' prints it`,
  malformed: (domain) => `correct the record: ${domain} TXT "ipfsnode=[\\"/ip4/…/tcp/4001/p2p/…\\"]"`,
  refused: (domain) =>
    `start the gateway at that address, or take the address out of the record at ${domain}: 'seaway publish ${domain}' prints the right ones`,
  timeout: (domain) =>
    `open the port in the firewalls on the way, or publish an address that can be reached (SEAWAY_ANNOUNCE, SEAWAY_RELAYS), then 'seaway publish ${domain}'`,
  'other-peer': (domain) =>
    `another gateway answers there, or it has a new data folder: 'seaway publish ${domain}' prints its peer id of now`,
  failed: (domain) => `look at the log of the gateway there; 'seaway publish ${domain}' prints its addresses`
}

/** None, or not all, of the published addresses can be reached. */
export function unreachable(domain: string, why: string, kind: ProbeKind): Trouble {
  return trouble('unreachable', why, ADDRESS_REMEDIES[kind](domain))
}

/** The records name nobody who could be asked. */
export function noPeers(domain: string, problems: readonly string[]): Trouble {
  return trouble(
    'no-peers',
    `${domain} has no usable ipfsnode= record that says who has its tree${problems.length === 0 ? '' : `: ${problems.join('; ')}`}`,
    `add the record: ${domain} TXT "ipfsnode=[\\"/ip4/…/tcp/4001/p2p/…\\"]", as 'seaway publish ${domain}' prints it where the tree is`
  )
}

/** A part of the tree could not be had from any peer. */
export function missing(cause: Cause, domain: string, why: string): Trouble {
  return trouble(
    cause,
    why,
    `on the gateway that publishes run 'seaway verify', which finds and mends what is damaged, or push the image again; then 'seaway publish ${domain}'`
  )
}
