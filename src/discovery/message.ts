import { randomInt } from 'node:crypto'
import { AUTHENTIC_DATA, type DecodedPacket, decode, encode, RECURSION_DESIRED } from 'dns-packet'
import { reason } from '../oci/errors.ts'
import { mixCase } from './name.ts'

/**
 * The largest UDP answer asked for: fits every path without fragments.
 *
 * @see https://www.dnsflagday.net/2020/
 */
export const UDP_SIZE = 1232

// A message of 64 KiB can claim far more records than it holds, each name a chain of pointers.
const MAX_RECORDS = 512
const HEADER = 12

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
  const id = randomInt(0x10000)
  const bytes = encode({
    type: 'query',
    id,
    flags: RECURSION_DESIRED | AUTHENTIC_DATA,
    questions: [{ type: 'TXT', class: 'IN', name: options.mixCase ? mixCase(name) : name }],
    additionals: options.edns ? [opt()] : []
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
    const message = decode(bytes) as Message
    const extended = message.additionals?.find((record) => record.type === 'OPT')?.extendedRcode ?? 0
    // the header holds only the low four bits of these, NOERROR's among them
    if (extended !== 0) message.rcode = `extended code ${extended * 16 + (bytes.readUInt16BE(2) & 0xf)}`
    return { kind: 'answer', message }
  } catch (error) {
    return { kind: 'malformed', why: reason(error) }
  }
}

function fold(bytes: Buffer): string {
  return bytes.toString('latin1').toLowerCase()
}

function opt() {
  return {
    type: 'OPT' as const,
    name: '.',
    udpPayloadSize: UDP_SIZE,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: []
  }
}
