import { createHmac, timingSafeEqual } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { reason } from '../oci/errors.ts'
import { quote } from './failure.ts'
import { encodeName, readRecords, type WireRecord } from './wire.ts'

const TSIG = 250
const ANY = 255
// How far the clocks of both sides may be apart (s): the value that RFC 8945 section 10 recommends.
const FUDGE = 300
const MAX_KEY_FILE = 64 * 1024

/** The algorithms that keys may have, with the names of their hashes; what RFC 8945 still calls sound. */
const ALGORITHMS: Readonly<Record<string, string>> = {
  'hmac-sha256': 'sha256',
  'hmac-sha384': 'sha384',
  'hmac-sha512': 'sha512'
}

/** The errors that a TSIG record can carry. */
const ERRORS: Readonly<Record<number, string>> = {
  16: 'BADSIG: the key of this name has another secret there',
  17: 'BADKEY: it has no key of this name, or one of another algorithm',
  18: 'BADTIME: the clocks of this machine and of the server are too far apart',
  22: 'BADTRUNC: it wants a longer signature'
}

/** A secret that is shared with a name server. */
export interface TsigKey {
  /** In lower case, without a trailing dot. */
  readonly name: string
  readonly algorithm: string
  readonly secret: Buffer
}

/** A signed message, and what its answer is checked with. */
export interface Signed {
  readonly bytes: Buffer
  readonly mac: Buffer
}

/**
 * Reads a key in BIND's format, as `tsig-keygen` writes it: `key "name" { algorithm hmac-sha256; secret
 * "…"; };`. Comments are passed over; of several keys the first counts.
 *
 * @throws Error that says what is wrong with it; never with the secret in it
 * @see https://bind9.readthedocs.io/en/latest/reference.html#key-block-grammar
 */
export function parseKey(text: string): TsigKey {
  // comments are cut where they don't stand in a string: a secret is base64 and may hold `//`
  const bare = text.replace(
    /("[^"]*")|\/\*[\s\S]*?\*\/|\/\/[^\n]*|#[^\n]*/g,
    (_, string?: string) => string ?? ' '
  )
  const block = /\bkey\s+("[^"]+"|[^\s{"]+)\s*\{([^}]*)\}/.exec(bare)
  if (block === null) throw new Error('it holds no `key "name" { algorithm …; secret "…"; };`')
  const value = (word: string): string | undefined =>
    new RegExp(`\\b${word}\\s+("[^"]*"|[^\\s;"]+)\\s*;`).exec(block[2] ?? '')?.[1]?.replaceAll('"', '')
  const name = (block[1] ?? '').replaceAll('"', '').toLowerCase().replace(/\.$/, '')
  const algorithm = (value('algorithm') ?? '').toLowerCase().replace(/\.$/, '')
  if (!Object.hasOwn(ALGORITHMS, algorithm)) {
    const allowed = Object.keys(ALGORITHMS).join(', ')
    throw new Error(`the key ${quote(name)} has the algorithm ${quote(algorithm)}; ${allowed} can be used`)
  }
  const secret = Buffer.from(value('secret') ?? '', 'base64')
  if (secret.length === 0) throw new Error(`the key ${quote(name)} has no secret in base64`)
  return { name, algorithm, secret }
}

/** Reads {@link parseKey}'s format out of a file. @throws Error that names the file */
export async function readKeyFile(path: string): Promise<TsigKey> {
  try {
    const text = await readFile(path)
    if (text.length > MAX_KEY_FILE) throw new Error(`it has ${text.length} bytes, which no key has`)
    return parseKey(text.toString())
  } catch (error) {
    throw new Error(`the key file ${path} is of no use: ${reason(error)}`, { cause: error })
  }
}

/**
 * Signs a message: appends a TSIG record. The message must have none yet.
 *
 * @see https://www.rfc-editor.org/rfc/rfc8945#section-5.1
 */
export function sign(message: Buffer, key: TsigKey, now: number): Signed {
  const time = Math.floor(now / 1000)
  const variables = { time, fudge: FUDGE, error: 0, other: Buffer.alloc(0) }
  const mac = macOf(key, [message, variablesOf(key, variables)])
  const rdata = Buffer.concat([
    encodeName(key.algorithm),
    timeOf(time),
    numbers(FUDGE, mac.length),
    mac,
    message.subarray(0, 2),
    numbers(0, 0)
  ])
  const record = Buffer.concat([encodeName(key.name), numbers(TSIG, ANY, 0, 0, rdata.length), rdata])
  const bytes = Buffer.concat([message, record])
  bytes.writeUInt16BE(message.readUInt16BE(10) + 1, 10)
  return { bytes, mac }
}

/**
 * Checks the answer to a signed message, and gives it back without its TSIG record.
 *
 * @throws Error that continues the server's name: `answered BADKEY…`, `did not sign its answer`
 * @see https://www.rfc-editor.org/rfc/rfc8945#section-5.3
 */
export function verify(answer: Buffer, request: Signed, key: TsigKey, now: number): Buffer {
  const records = readRecords(answer)
  const last = records.at(-1)
  const rcode = (answer[3] ?? 0) & 0xf
  if (last === undefined || last.type !== TSIG) {
    // a server that can't tell who asks can't sign what it says; nothing but a refusal may come so
    if (rcode !== 0) return answer
    throw new Error('did not sign its answer, so nothing proves that it is its own')
  }
  const tsig = readTsig(last)
  const problem = ERRORS[tsig.error]
  if (tsig.error === 16 || tsig.error === 17) throw new Error(`refused the key ${key.name}: ${problem}`)
  if (last.name !== key.name || tsig.algorithm !== key.algorithm)
    throw new Error(
      `signed its answer with ${quote(last.name)} (${quote(tsig.algorithm)}), not with ${key.name}`
    )
  const bare = Buffer.from(answer.subarray(0, last.start))
  bare.writeUInt16BE(answer.readUInt16BE(10) - 1, 10)
  bare.writeUInt16BE(tsig.id, 0)
  const expected = macOf(key, [numbers(request.mac.length), request.mac, bare, variablesOf(key, tsig)])
  if (expected.length !== tsig.mac.length || !timingSafeEqual(expected, tsig.mac))
    throw new Error('signed its answer wrongly: it was changed on its way, or is not its own')
  if (tsig.error !== 0) throw new Error(`refused the signature: ${problem ?? `TSIG error ${tsig.error}`}`)
  if (Math.abs(now / 1000 - tsig.time) > tsig.fudge) throw new Error(`refused the signature: ${ERRORS[18]}`)
  return bare
}

interface Tsig extends Variables {
  readonly algorithm: string
  readonly mac: Buffer
  readonly id: number
}

interface Variables {
  readonly time: number
  readonly fudge: number
  readonly error: number
  readonly other: Buffer
}

function readTsig({ data }: WireRecord): Tsig {
  try {
    let at = data.indexOf(0) + 1
    const labels: string[] = []
    for (let i = 0; i < at - 1; i += 1 + (data[i] ?? 0))
      labels.push(data.toString('latin1', i + 1, i + 1 + (data[i] ?? 0)))
    const algorithm = labels.join('.').toLowerCase()
    const time = data.readUIntBE(at, 6)
    const fudge = data.readUInt16BE(at + 6)
    const size = data.readUInt16BE(at + 8)
    at += 10
    const mac = data.subarray(at, at + size)
    at += size
    const [id, error, length] = [data.readUInt16BE(at), data.readUInt16BE(at + 2), data.readUInt16BE(at + 4)]
    return { algorithm, time, fudge, mac, id, error, other: data.subarray(at + 6, at + 6 + length) }
  } catch (cause) {
    throw new Error('sent a malformed TSIG record', { cause })
  }
}

function macOf(key: TsigKey, parts: readonly Buffer[]): Buffer {
  const mac = createHmac(ALGORITHMS[key.algorithm] as string, key.secret)
  for (const part of parts) mac.update(part)
  return mac.digest()
}

/** The parts of the TSIG record that its MAC covers, RFC 8945 section 4.3.3. */
function variablesOf(key: TsigKey, { time, fudge, error, other }: Variables): Buffer {
  return Buffer.concat([
    encodeName(key.name),
    numbers(ANY, 0, 0),
    encodeName(key.algorithm),
    timeOf(time),
    numbers(fudge, error, other.length),
    other
  ])
}

function timeOf(seconds: number): Buffer {
  const bytes = Buffer.alloc(6)
  bytes.writeUIntBE(seconds, 0, 6)
  return bytes
}

/** Numbers of two bytes each. */
function numbers(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(2 * values.length)
  for (const [i, value] of values.entries()) bytes.writeUInt16BE(value, 2 * i)
  return bytes
}
