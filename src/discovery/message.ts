import { randomInt } from 'node:crypto'
import {
  AUTHENTIC_DATA,
  type DecodedPacket,
  decode,
  encode,
  type OptAnswer,
  RECURSION_DESIRED
} from 'dns-packet'
import { reason } from '../oci/errors.ts'
import { quote } from './failure.ts'
import { mixCase } from './name.ts'
import { readRecords } from './wire.ts'

/**
 * The largest UDP answer asked for: fits every path without fragments.
 *
 * @see https://www.dnsflagday.net/2020/
 */
export const UDP_SIZE = 1232

// A message of 64 KiB can claim far more records than it holds, each name a chain of pointers.
const MAX_RECORDS = 512
const HEADER = 12
// Encrypted queries are a multiple of so many bytes long.
const PADDED = 128
const EXTENDED_ERROR = 15

/** What a resolver may say about its failures, by the codes of the registry that RFC 8914 made. */
const EXTENDED_ERRORS: Readonly<Record<number, string>> = {
  1: 'unsupported DNSKEY algorithm',
  2: 'unsupported DS digest',
  5: 'DNSSEC indeterminate',
  6: 'DNSSEC bogus',
  7: 'signature expired',
  8: 'signature not yet valid',
  9: 'DNSKEY missing',
  10: 'RRSIGs missing',
  11: 'no zone key bit set',
  12: 'NSEC missing',
  15: 'blocked',
  16: 'censored',
  17: 'filtered',
  18: 'prohibited',
  20: 'not authoritative',
  22: 'no reachable authority',
  23: 'network error'
}

/** A question on its way: what an answer is checked against. */
export interface Query {
  readonly id: number
  readonly bytes: Buffer
  /** The question section as sent, name in its drawn case. */
  readonly question: Buffer
}

/** An answer's parts, with the response code in words (`NOERROR`, `NXDOMAIN`, …). */
export type Message = DecodedPacket & { rcode: string }

/** What became of a packet that arrived. */
export type Verdict =
  /** Not an answer to this query: noise, or somebody guessing. */
  | { kind: 'foreign' }
  /** The right question in other letters' case: a server that folds case, or a good guess. */
  | { kind: 'case'; message: Message | undefined }
  /** It says that there is more: ask over TCP. */
  | { kind: 'truncated' }
  | { kind: 'malformed'; why: string }
  | { kind: 'answer'; message: Message }

/**
 * Builds a TXT query: random id, recursion desired, and AD set, which asks a validating resolver to say
 * whether it validated.
 *
 * @see https://www.rfc-editor.org/rfc/rfc1035#section-4.1
 * @see https://www.rfc-editor.org/rfc/rfc6840#section-5.7
 */
export function makeQuery(name: string, options: { mixCase: boolean; edns: boolean }): Query {
  const asked = options.mixCase ? mixCase(name) : name
  return queryOf(randomInt(0x10000), asked, options.edns ? [opt()] : [])
}

/**
 * Builds the same query for an encrypted way, where nobody can forge an answer: id 0, so that HTTP caches see
 * equal questions as equal, and padded, so that its length doesn't tell the name.
 *
 * @see https://www.rfc-editor.org/rfc/rfc8484#section-4.1
 * @see https://www.rfc-editor.org/rfc/rfc8467#section-4.1
 */
export function makeSealedQuery(name: string): Query {
  const { bytes } = queryOf(0, name, [opt(0)])
  return queryOf(0, name, [opt((PADDED - (bytes.length % PADDED)) % PADDED)])
}

function queryOf(id: number, name: string, additionals: OptAnswer[]): Query {
  const bytes = encode({
    type: 'query',
    id,
    flags: RECURSION_DESIRED | AUTHENTIC_DATA,
    questions: [{ type: 'TXT', class: 'IN', name }],
    additionals
  })
  // the name in wire form is its text plus two bytes, then two of type and two of class
  return { id, bytes, question: bytes.subarray(HEADER, HEADER + name.length + 2 + 4) }
}

/**
 * Judges a packet: id, opcode and question first, as raw bytes, and only then its content, so that nothing
 * foreign is ever decoded.
 *
 * @see https://www.rfc-editor.org/rfc/rfc5452#section-9.1
 */
export function judge(bytes: Buffer, query: Query): Verdict {
  if (bytes.length < HEADER || bytes.readUInt16BE(0) !== query.id) return { kind: 'foreign' }
  const flags = bytes.readUInt16BE(2)
  const isAnswer = (flags & 0x8000) !== 0 && (flags & 0x7800) === 0
  if (!isAnswer) return { kind: 'foreign' }
  if (bytes.readUInt16BE(4) === 0) return headerOnly(bytes, flags)
  if (bytes.readUInt16BE(4) !== 1) return { kind: 'foreign' }
  const echoed = bytes.subarray(HEADER, HEADER + query.question.length)
  const exact = echoed.equals(query.question)
  // lengths of labels are below the letters, so folding case leaves them as they are
  if (!exact && fold(echoed) !== fold(query.question)) return { kind: 'foreign' }
  const content: Verdict = (flags & 0x0200) !== 0 ? { kind: 'truncated' } : open(bytes)
  if (exact) return content
  return { kind: 'case', message: content.kind === 'answer' ? content.message : undefined }
}

// Servers that don't understand a query may answer with nothing but the header; that can only say no.
function headerOnly(bytes: Buffer, flags: number): Verdict {
  const refusals = [1, 2, 4, 5]
  return refusals.includes(flags & 0xf) ? open(bytes) : { kind: 'foreign' }
}

function open(bytes: Buffer): Verdict {
  const records = bytes.readUInt16BE(6) + bytes.readUInt16BE(8) + bytes.readUInt16BE(10)
  if (records > MAX_RECORDS) return { kind: 'malformed', why: `it claims ${records} records` }
  try {
    readRecords(bytes) // dns-packet takes a record that ends behind the message for a shorter one
    const message = decode(bytes) as Message
    const extended = message.additionals?.find((record) => record.type === 'OPT')?.extendedRcode ?? 0
    // the header holds only the low four bits of these, NOERROR's among them
    if (extended !== 0) message.rcode = `extended code ${extended * 16 + (bytes.readUInt16BE(2) & 0xf)}`
    return { kind: 'answer', message }
  } catch (error) {
    return { kind: 'malformed', why: reason(error instanceof Error ? (error.cause ?? error) : error) }
  }
}

/**
 * Why a server failed, where it says so: `DNSSEC Bogus` and the like, which nothing else would tell.
 *
 * @see https://www.rfc-editor.org/rfc/rfc8914
 */
export function extendedError(message: Message): string | undefined {
  const options = message.additionals?.find((record): record is OptAnswer => record.type === 'OPT')?.options
  for (const option of options ?? []) {
    const { code, data } = option as { code: number; data?: Buffer }
    if (code !== EXTENDED_ERROR || data === undefined || data.length < 2) continue
    const info = data.readUInt16BE(0)
    const said = data.length > 2 ? ` ${quote(data.toString('utf8', 2))}` : ''
    return `${EXTENDED_ERRORS[info] ?? `extended error ${info}`}${said}`
  }
  return undefined
}

function fold(bytes: Buffer): string {
  return bytes.toString('latin1').toLowerCase()
}

function opt(padding?: number): OptAnswer {
  return {
    type: 'OPT' as const,
    name: '.',
    udpPayloadSize: UDP_SIZE,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: padding === undefined ? [] : [{ code: 12, type: 'PADDING', length: padding }]
  }
}
