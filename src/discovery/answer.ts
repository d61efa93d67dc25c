import type { Answer, SoaAnswer, StringAnswer } from 'dns-packet'
import { RegistryError } from '../oci/errors.ts'
import { quote } from './failure.ts'
import type { Message } from './message.ts'
import { toDnsName } from './name.ts'

/** Longer chains of CNAMEs are given up. */
export const MAX_CNAMES = 16

/** Negative answers are kept at most this long (s); RFC 2308 section 5 allows hours. */
export const MAX_NEGATIVE_TTL = 300

/** What one message says about the TXT records of a name. */
export interface Reading {
  /** `elsewhere`: the chain of CNAMEs ends at `name`, about which this message says nothing. */
  readonly status: 'found' | 'nodata' | 'nxdomain' | 'elsewhere'
  /** The name at the end of the chain. */
  readonly name: string
  /** Each record's strings joined. */
  readonly records: readonly string[]
  /** How long it holds (s), by the shortest of the chain; not yet within bounds. */
  readonly ttl: number
}

/**
 * Reads an answer from `name` along its CNAMEs. `visited` holds the names of the chain so far, `name` the
 * last of them, and grows by those met here.
 *
 * @throws RegistryError SOURCE_FAILED for a loop, a chain that is too long, or a target that is no name
 * @see https://www.rfc-editor.org/rfc/rfc1034#section-3.6.2
 * @see https://www.rfc-editor.org/rfc/rfc2308#section-5
 */
export function readTxt(message: Message, name: string, visited: string[]): Reading {
  const answers = (message.answers ?? []).filter((record) => record.type !== 'OPT' && record.class === 'IN')
  let ttl = Number.POSITIVE_INFINITY
  let current = name
  for (;;) {
    const own = answers.filter((record) => toDnsName(record.name) === current)
    const records = own.filter((record) => record.type === 'TXT')
    if (records.length > 0) {
      ttl = Math.min(ttl, ...records.map(ttlOf))
      return { status: 'found', name: current, records: records.map((record) => joined(record.data)), ttl }
    }
    const alias = own.find((record): record is StringAnswer => record.type === 'CNAME')
    if (alias === undefined) break
    ttl = Math.min(ttl, ttlOf(alias))
    current = step(alias.data, visited)
  }
  // RFC 6604: the code is about the end of the chain
  if (message.rcode === 'NXDOMAIN') return negative('nxdomain', message, current, ttl)
  const elsewhere = current !== name && soaOf(message) === undefined
  if (elsewhere) return { status: 'elsewhere', name: current, records: [], ttl }
  return negative('nodata', message, current, ttl)
}

function negative(status: 'nodata' | 'nxdomain', message: Message, name: string, chain: number): Reading {
  const soa = soaOf(message)
  // without a SOA it says nothing about how long: RFC 2308 section 5, not to be kept
  const own = soa === undefined ? 0 : Math.min(ttlOf(soa), soa.data.minimum ?? 0)
  return { status, name, records: [], ttl: Math.min(chain, own, MAX_NEGATIVE_TTL) }
}

/** Takes one step of the chain and answers where it leads. */
function step(target: string, visited: string[]): string {
  const chain = (): string => `${[...visited, target].join(' → ')}; the owner of ${visited[0]} has to mend it`
  const name = toDnsName(target)
  if (name === undefined)
    throw new RegistryError(
      'SOURCE_FAILED',
      `the CNAME at ${visited.at(-1)} points to ${quote(target)}, no name; its owner has to mend it`
    )
  if (visited.includes(name)) throw new RegistryError('SOURCE_FAILED', `CNAME loop: ${chain()}`)
  if (visited.length > MAX_CNAMES)
    throw new RegistryError('SOURCE_FAILED', `more than ${MAX_CNAMES} CNAMEs in a row: ${chain()}`)
  visited.push(name)
  return name
}

function soaOf(message: Message) {
  return (message.authorities ?? []).find((record): record is SoaAnswer => record.type === 'SOA')
}

function ttlOf(record: Answer): number {
  const ttl = 'ttl' in record ? (record.ttl ?? 0) : 0
  return ttl > 0x7fffffff ? 0 : ttl // RFC 2181 section 8: with the top bit set it is zero
}

/** A record's strings, put together with nothing between them (RFC 7208 section 3.3 has the same rule). */
function joined(data: unknown): string {
  const strings = (Array.isArray(data) ? data : [data]) as (string | Buffer)[]
  return Buffer.concat(strings.map((part) => Buffer.from(part))).toString('utf8')
}
