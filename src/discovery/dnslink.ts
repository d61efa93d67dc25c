import { base16, base16upper } from 'multiformats/bases/base16'
import { base32, base32upper } from 'multiformats/bases/base32'
import { base36, base36upper } from 'multiformats/bases/base36'
import { base58btc } from 'multiformats/bases/base58'
import { base64url } from 'multiformats/bases/base64'
import { CID } from 'multiformats/cid'
import { reason } from '../oci/errors.ts'
import { quote } from './failure.ts'
import { toDnsName } from './name.ts'

const PREFIX = 'dnslink='
// base58 costs the square of its length, so what cannot be a CID isn't decoded
const MAX_CID = 200
const MAX_SEGMENTS = 32
const LIBP2P_KEY = 0x72
const bases = base32.decoder
  .or(base58btc.decoder)
  .or(base36.decoder)
  .or(base16.decoder)
  .or(base64url.decoder)
  .or(base32upper.decoder)
  .or(base36upper.decoder)
  .or(base16upper.decoder)

/** Where a record leads: to content, to another domain's record, or to an IPNS name. */
export type Link =
  | { kind: 'ipfs'; root: CID; path: string }
  | { kind: 'domain'; domain: string; path: string }
  | { kind: 'key'; name: string; path: string }

/** The dnslink records among a name's TXT records. */
export interface DnslinkSet {
  /** The one that counts. */
  readonly link: Link | undefined
  /** Its text, as it stands in DNS. */
  readonly text: string | undefined
  /** Records that are broken, that lose against another, or that are nearly a dnslink, in words. */
  readonly problems: readonly string[]
  /** How many of `problems` are broken records, rather than well-formed ones for another namespace. */
  readonly broken: number
}

/**
 * Picks the dnslink among TXT records: in the order of their text, the first that is well-formed and leads
 * into `/ipfs/` or `/ipns/`. Broken ones don't stand in the way of a good one.
 *
 * @see https://dnslink.dev/#multiple-records
 */
export function pickDnslink(records: readonly string[], at: string): DnslinkSet {
  const problems: string[] = []
  let link: Link | undefined
  let text: string | undefined
  let broken = 0
  // by code units, not by locale: everyone has to pick the same one
  for (const record of records.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0))) {
    if (!record.startsWith(PREFIX)) {
      if (!/^\W*dnslink\s*[=:]/i.test(record)) continue
      broken += 1
      problems.push(`TXT ${at} ${quote(record)}: begins almost, but not exactly, with ${PREFIX}`)
      continue
    }
    try {
      const found = parseDnslink(record)
      if (typeof found === 'string')
        problems.push(`TXT ${at} ${quote(record)}: the namespace ${quote(found)} is none that is read here`)
      else if (link !== undefined)
        problems.push(`TXT ${at} ${quote(record)}: not used, ${quote(text ?? '')} comes first`)
      else [link, text] = [found, record]
    } catch (error) {
      broken += 1
      problems.push(`TXT ${at} ${quote(record)}: ${reason(error)}`)
    }
  }
  return { link, text, problems, broken }
}

/**
 * Reads one record `dnslink=/<namespace>/<identifier>`: a link, or for namespaces other than `ipfs` and
 * `ipns` the namespace's name.
 *
 * @throws Error that says what is wrong with it
 * @see https://dnslink.dev/#record-format
 */
export function parseDnslink(record: string): Link | string {
  const value = record.slice(PREFIX.length)
  if (!value.startsWith('/')) throw new Error('the value has to begin with /')
  if (!/^[ -~]*$/.test(value)) throw new Error('only printable ASCII characters are allowed')
  const slash = value.indexOf('/', 1)
  const namespace = value.slice(1, slash === -1 ? undefined : slash)
  if (namespace === '') throw new Error('the namespace is missing')
  const identifier = slash === -1 ? '' : value.slice(slash + 1)
  if (identifier === '') throw new Error('nothing follows the namespace')
  if (namespace !== 'ipfs' && namespace !== 'ipns') return namespace
  return parseContentPath(`/${namespace}/${identifier.trim()}`)
}

/**
 * Reads `/ipfs/<CID>[/path]`, `/ipns/<name>[/path]`. The path's segments are URL-decoded, since a record
 * has no other way to write what isn't ASCII.
 *
 * @throws Error that says what is wrong with it
 */
export function parseContentPath(text: string): Link {
  const [, namespace, first = '', ...rest] = text.split('/')
  const path = subpath(rest)
  if (namespace === 'ipfs') return { kind: 'ipfs', root: parseRoot(first), path }
  if (namespace !== 'ipns') throw new Error(`${quote(text)} is neither an /ipfs/ nor an /ipns/ path`)
  if (isKey(first)) return { kind: 'key', name: first, path }
  const domain = toDnsName(first)
  if (domain === undefined) throw new Error(`${quote(first)} is neither a domain nor an IPNS name`)
  return { kind: 'domain', domain, path }
}

/** Puts a path below another; both as in `Published.path`. */
export function joinPath(above: string, below: string): string {
  return [above, below].filter((part) => part !== '').join('/')
}

function parseRoot(text: string): CID {
  if (text.length > MAX_CID) throw new Error(`a CID of ${text.length} characters is none`)
  const cid = parseCid(text)
  if (cid === undefined) throw new Error(`${quote(text)} is not a CID`)
  if (cid.code === LIBP2P_KEY) throw new Error(`${quote(text)} is an IPNS name: write /ipns/${text}`)
  return cid
}

/** Whether the first component after `/ipns/` is a key: a CID of one, or its bare multihash in base58. */
function isKey(text: string): boolean {
  if (text.length > MAX_CID || text.includes('.')) return false
  if (text.startsWith('1')) return parseCid(`z${text}`, true) !== undefined
  const cid = parseCid(text)
  return cid !== undefined && (cid.code === LIBP2P_KEY || cid.version === 0)
}

function parseCid(text: string, bareHash = false): CID | undefined {
  try {
    if (!bareHash) return CID.parse(text, bases)
    const hash = base58btc.decode(text)
    return CID.decode(Uint8Array.from([1, LIBP2P_KEY, ...hash]))
  } catch {
    return undefined // every way to be no CID is the same to the callers, who say so themselves
  }
}

function subpath(segments: readonly string[]): string {
  const parts = segments.filter((part) => part !== '').map(decodeSegment)
  if (parts.length > MAX_SEGMENTS) throw new Error(`the path has more than ${MAX_SEGMENTS} parts`)
  // oxlint-disable-next-line no-control-regex -- a NUL is one of the things to refuse
  for (const part of parts)
    if (part === '.' || part === '..' || part.includes('/') || part.includes('\0'))
      throw new Error(`the path has a part ${quote(part)}`)
  return parts.join('/')
}

function decodeSegment(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // a percent sign that encodes nothing stands for itself
  }
}
