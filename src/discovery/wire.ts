/**
 * The wire form of DNS messages, as far as dns-packet doesn't go: dynamic updates need empty record data and
 * the class NONE, and a signature needs to know where a record begins.
 *
 * @see https://www.rfc-editor.org/rfc/rfc1035#section-4
 */

/** Classes and types by their numbers. */
export const CLASS = { IN: 1, NONE: 254, ANY: 255 } as const
export const TYPE = { CNAME: 5, SOA: 6, TXT: 16 } as const

const HEADER = 12
const MAX_RECORDS = 512
const MAX_POINTERS = 64

/** One record of a message. */
export interface WireRecord {
  /** In lower case, without a trailing dot. */
  readonly name: string
  readonly type: number
  readonly class: number
  readonly ttl: number
  readonly data: Buffer
  readonly section: 'answer' | 'authority' | 'additional'
  /** Where in the message it begins, in bytes. */
  readonly start: number
}

/** A name in wire form, in lower case and not compressed. @throws Error for what is no name */
export function encodeName(name: string): Buffer {
  const labels = name === '' ? [] : name.toLowerCase().split('.')
  const parts = labels.map((label) => {
    const bytes = Buffer.from(label, 'latin1')
    if (bytes.length === 0 || bytes.length > 63) throw new Error(`'${name}' is not a DNS name`)
    return Buffer.concat([Buffer.from([bytes.length]), bytes])
  })
  return Buffer.concat([...parts, Buffer.from([0])])
}

/** A record in wire form; without `data` its data is empty, as updates use it. */
export function encodeRecord(record: {
  name: string
  type: number
  class: number
  ttl: number
  data?: Buffer
}): Buffer {
  const data = record.data ?? Buffer.alloc(0)
  const fixed = Buffer.alloc(10)
  fixed.writeUInt16BE(record.type, 0)
  fixed.writeUInt16BE(record.class, 2)
  fixed.writeUInt32BE(record.ttl, 4)
  fixed.writeUInt16BE(data.length, 8)
  return Buffer.concat([encodeName(record.name), fixed, data])
}

/** Strings as the data of a TXT record. */
export function encodeTxt(strings: readonly string[]): Buffer {
  return Buffer.concat(
    strings.map((text) => {
      const bytes = Buffer.from(text)
      return Buffer.concat([Buffer.from([bytes.length]), bytes])
    })
  )
}

/** The strings of a TXT record's data, put together. */
export function decodeTxt(data: Buffer): string {
  const parts: Buffer[] = []
  for (let at = 0; at < data.length; at += 1 + (data[at] ?? 0))
    parts.push(data.subarray(at + 1, at + 1 + (data[at] ?? 0)))
  return Buffer.concat(parts).toString()
}

/** A message: header, one question (in an update the zone), and the other sections. */
export function encodeMessage(message: {
  id: number
  opcode: number
  name: string
  type: number
  answers?: readonly Buffer[]
  authorities?: readonly Buffer[]
}): Buffer {
  const { answers = [], authorities = [] } = message
  const header = Buffer.alloc(HEADER)
  header.writeUInt16BE(message.id, 0)
  header.writeUInt16BE(message.opcode << 11, 2)
  header.writeUInt16BE(1, 4)
  header.writeUInt16BE(answers.length, 6)
  header.writeUInt16BE(authorities.length, 8)
  const kind = Buffer.alloc(4)
  kind.writeUInt16BE(message.type, 0)
  kind.writeUInt16BE(CLASS.IN, 2)
  return Buffer.concat([header, encodeName(message.name), kind, ...answers, ...authorities])
}

/** All records of a message, in order. @throws Error `sent a malformed answer` */
export function readRecords(bytes: Buffer): WireRecord[] {
  try {
    let at = HEADER
    for (let i = bytes.readUInt16BE(4); i > 0; i--) at = readName(bytes, at).end + 4
    const found: WireRecord[] = []
    const sections = [
      ['answer', bytes.readUInt16BE(6)],
      ['authority', bytes.readUInt16BE(8)],
      ['additional', bytes.readUInt16BE(10)]
    ] as const
    for (const [section, count] of sections) {
      for (let i = 0; i < count; i++) {
        if (found.length >= MAX_RECORDS) throw new Error('too many records')
        const { name, end } = readName(bytes, at)
        const length = bytes.readUInt16BE(end + 8)
        if (end + 10 + length > bytes.length) throw new Error('a record is longer than the message')
        found.push({
          name,
          type: bytes.readUInt16BE(end),
          class: bytes.readUInt16BE(end + 2),
          ttl: bytes.readUInt32BE(end + 4),
          data: bytes.subarray(end + 10, end + 10 + length),
          section,
          start: at
        })
        at = end + 10 + length
      }
    }
    return found
  } catch (cause) {
    throw new Error('sent a malformed answer', { cause })
  }
}

/** A name, which may end in a pointer to another one, and where what follows it begins. */
export function readName(bytes: Buffer, from: number): { name: string; end: number } {
  const labels: string[] = []
  let at = from
  let end = -1
  for (let pointers = 0; ; ) {
    const length = bytes.readUInt8(at)
    if (length >= 0xc0) {
      if (end < 0) end = at + 2
      pointers += 1
      if (pointers > MAX_POINTERS) throw new Error('a name that does not end')
      at = bytes.readUInt16BE(at) & 0x3fff
    } else {
      at += 1
      if (length === 0) break
      if (at + length > bytes.length) throw new Error('a name is longer than the message')
      labels.push(bytes.toString('latin1', at, at + length))
      at += length
    }
  }
  return { name: labels.join('.').toLowerCase(), end: end < 0 ? at : end }
}

/** The name at the beginning of a record's data: the target of a CNAME, the primary of a SOA. */
export function nameIn(message: Buffer, record: WireRecord): string {
  return readName(message, record.data.byteOffset - message.byteOffset).name
}
