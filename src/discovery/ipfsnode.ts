import { multiaddr } from '@multiformats/multiaddr'
import { base58btc } from 'multiformats/bases/base58'
import { CID } from 'multiformats/cid'
import { decode as decodeMultihash } from 'multiformats/hashes/digest'
import { reason } from '../oci/errors.ts'
import { quote } from './failure.ts'
import { toDnsName } from './name.ts'

/** More addresses of one domain than this are not used. */
export const MAX_PROVIDERS = 16

const PREFIX = 'ipfsnode='
const MAX_RECORD = 16 * 1024
const MAX_ADDRESS = 1024
const MAX_PROBLEMS = 32
const LIBP2P_KEY = 0x72
// where an address leads over a network; sockets and memory of this machine are nobody else's to name
const PLACES = new Set(['ip4', 'ip6', 'dns', 'dns4', 'dns6', 'dnsaddr', 'p2p'])
const LOCAL = new Set(['unix', 'memory'])

/** The peers that a domain names. */
export interface ProviderSet {
  /** Multiaddrs in normal form, in the order of the records, each once. */
  readonly providers: readonly string[]
  /** What did not parse, in words. */
  readonly problems: readonly string[]
}

/**
 * Reads the `ipfsnode=` records of a domain: a JSON array of multiaddrs (the original form), or plain
 * multiaddrs parted by commas or spaces, in one record or several.
 *
 * @see https://github.com/multiformats/multiaddr
 */
export function pickProviders(records: readonly string[], at: string): ProviderSet {
  const providers = new Set<string>()
  const problems: string[] = []
  const complain = (text: string, what: string): void => {
    if (problems.length < MAX_PROBLEMS) problems.push(`TXT ${at} ${quote(text)}: ${what}`)
  }
  for (const record of records) {
    if (!record.startsWith(PREFIX)) {
      if (/^\W*ipfsnode\s*[=:]/i.test(record))
        complain(record, `begins almost, but not exactly, with ${PREFIX}`)
      continue
    }
    try {
      for (const address of entries(record.slice(PREFIX.length).trim())) {
        try {
          const normal = parseAddress(address)
          if (providers.size < MAX_PROVIDERS) providers.add(normal)
          else if (!providers.has(normal)) complain(normal, `not used, it is past the ${MAX_PROVIDERS}th`)
        } catch (error) {
          complain(String(address), reason(error))
        }
      }
    } catch (error) {
      complain(record, reason(error))
    }
  }
  return { providers: [...providers], problems }
}

function entries(value: string): unknown[] {
  if (value === '') throw new Error('it names no address')
  if (value.length > MAX_RECORD) throw new Error(`it is longer than ${MAX_RECORD} characters`)
  if (!value.startsWith('[') && !value.startsWith('"'))
    return value.split(/[\s,]+/).filter((part) => part !== '')
  let parsed: unknown
  try {
    parsed = JSON.parse(value)
  } catch (error) {
    throw new Error(`it is not valid JSON (${reason(error)})`, { cause: error })
  }
  return Array.isArray(parsed) ? parsed : [parsed]
}

/** The address in normal form. The library checks its syntax; the rest is what a dial would stumble over. */
function parseAddress(text: unknown): string {
  if (typeof text !== 'string') throw new Error('an address has to be a string')
  if (!text.startsWith('/')) throw new Error('not a multiaddr, which begins with /')
  if (text.length > MAX_ADDRESS) throw new Error(`longer than ${MAX_ADDRESS} characters`)
  const address = multiaddr(text)
  const parts = address.getComponents()
  for (const { name, value = '' } of parts) {
    if (LOCAL.has(name)) throw new Error(`/${name} is no address on a network`)
    if (name.startsWith('dns') && toDnsName(value) === undefined)
      throw new Error(`${quote(value)} is no name`)
    if ((name === 'tcp' || name === 'udp') && Number(value) === 0) throw new Error('port 0 cannot be dialled')
    if (name === 'p2p' && !isPeerId(value)) throw new Error(`${quote(value)} is not a peer id`)
  }
  if (!parts.some(({ name }) => PLACES.has(name))) throw new Error('it leads to no host and no peer')
  return address.toString()
}

/** @see https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md#string-representation */
function isPeerId(text: string): boolean {
  try {
    if (!/^(Qm|1)/.test(text)) return CID.parse(text).code === LIBP2P_KEY
    decodeMultihash(base58btc.decode(`z${text}`))
    return true
  } catch {
    return false // whatever the reason, the caller says that it is none
  }
}
