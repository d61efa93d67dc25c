import type { CID } from 'multiformats/cid'
import { RegistryError } from '../oci/errors.ts'
import { quote } from './failure.ts'
import { MAX_NAME, toDnsName } from './name.ts'

/** The TTL to publish with (s): short, so that a new root is seen soon (https://dnslink.dev advises 60). */
export const PUBLISH_TTL = 60

// A TXT record is a row of strings of at most 255 bytes (RFC 1035 section 3.3.14).
const MAX_STRING = 255

/** One TXT record to publish, in the forms in which people and programs want it. */
export interface TxtRecord {
  /** `_dnslink.example.com` */
  readonly name: string
  readonly type: 'TXT'
  /** Seconds. */
  readonly ttl: number
  /** The whole value, as it is typed into a form: no quotes around it, nothing escaped. */
  readonly value: string
  /** The value in pieces of at most 255 bytes, as it goes over the wire. */
  readonly strings: readonly string[]
  /** A line for a zone file: `_dnslink.example.com. 60 IN TXT "dnslink=…"`. */
  readonly zone: string
  /** The line to read and to copy: `_dnslink.example.com TXT "dnslink=…"`. */
  readonly plain: string
}

/**
 * The records that publish `root` as `domain`'s registry, at the peers with these multiaddrs: `dnslink=`,
 * and `ipfsnode=` unless there are none.
 *
 * @throws RegistryError NAME_INVALID when `domain` cannot have records
 * @see https://dnslink.dev/#record-format
 * @example
 * ```ts
 * for (const { zone } of formatRecords({ domain: 'example.com', root, addresses })) console.log(zone)
 * ```
 */
export function formatRecords(options: {
  domain: string
  root: CID
  addresses: readonly string[]
  ttl?: number
  /** The IPNS name that leads to the root: then the link says that, and need never change again. */
  ipns?: string | undefined
}): readonly TxtRecord[] {
  const { root, addresses, ttl = PUBLISH_TTL, ipns } = options
  const domain = toDnsName(options.domain)
  if (domain === undefined || domain.length > MAX_NAME - '_dnslink.'.length)
    throw new RegistryError('NAME_INVALID', `${quote(options.domain)} is not a domain that can have records`)
  const records = [
    txtRecord(
      `_dnslink.${domain}`,
      `dnslink=${ipns === undefined ? `/ipfs/${root.toString()}` : `/ipns/${ipns}`}`,
      ttl
    )
  ]
  if (addresses.length > 0) records.push(txtRecord(domain, `ipfsnode=${JSON.stringify(addresses)}`, ttl))
  return records
}

/** One TXT record in all its forms; `name` without a trailing dot, `ttl` in seconds. */
export function txtRecord(name: string, value: string, ttl: number = PUBLISH_TTL): TxtRecord {
  const strings = splitStrings(value)
  const quoted = strings.map((part) => `"${escapeString(part)}"`).join(' ')
  return {
    name,
    type: 'TXT',
    ttl,
    value,
    strings,
    zone: `${name}. ${ttl} IN TXT ${quoted}`,
    plain: `${name} TXT ${quoted}`
  }
}

/** Cuts a value into strings of at most 255 bytes of UTF-8, never within a character. */
export function splitStrings(value: string): string[] {
  const strings: string[] = []
  let current = ''
  let size = 0
  for (const letter of value) {
    const bytes = Buffer.byteLength(letter)
    if (size + bytes > MAX_STRING) {
      strings.push(current)
      current = ''
      size = 0
    }
    current += letter
    size += bytes
  }
  return [...strings, current]
}

/**
 * A string as it stands between quotes in a zone file: quotes and backslashes escaped, other bytes than
 * printable ASCII as `\DDD`.
 *
 * @see https://www.rfc-editor.org/rfc/rfc1035#section-5.1
 */
export function escapeString(text: string): string {
  let out = ''
  for (const byte of Buffer.from(text)) {
    const letter = String.fromCharCode(byte)
    if (letter === '"' || letter === '\\') out += `\\${letter}`
    else out += byte >= 0x20 && byte < 0x7f ? letter : `\\${String(byte).padStart(3, '0')}`
  }
  return out
}
