import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { parseKey, sign, verify } from '../../src/discovery/tsig.ts'
import { encodeMessage, encodeName, readRecords } from '../../src/discovery/wire.ts'

const KEY = parseKey('key "k.example" { algorithm hmac-sha256; secret "c2VjcmV0IHNlY3JldCBzZWNyZXQh"; };')
const NOW = 1_700_000_000_000

const query = (): Buffer => encodeMessage({ id: 4711, opcode: 0, name: 'a.example', type: 16 })

/** An answer to `request` as a server would sign it; `change` spoils the message or the record's fields. */
function answerTo(
  request: { bytes: Buffer; mac: Buffer },
  change: {
    time?: number
    error?: number
    rcode?: number
    key?: typeof KEY
    spoil?: (bytes: Buffer) => void
  } = {}
): Buffer {
  const { time = NOW / 1000, error = 0, rcode = 0, key = KEY } = change
  const message = query()
  message.writeUInt16BE(0x8400 | rcode, 2)
  const word = (...values: number[]): Buffer => {
    const bytes = Buffer.alloc(values.length * 2)
    for (const [i, value] of values.entries()) bytes.writeUInt16BE(value, i * 2)
    return bytes
  }
  const at = Buffer.alloc(6)
  at.writeUIntBE(time, 0, 6)
  const signed = Buffer.concat([word(request.mac.length), request.mac, message])
  const variables = [
    encodeName(key.name),
    word(255, 0, 0),
    encodeName(key.algorithm),
    at,
    word(300, error, 0)
  ]
  const mac = createHmac('sha256', key.secret)
    .update(Buffer.concat([signed, ...variables]))
    .digest()
  const data = Buffer.concat([
    encodeName(key.algorithm),
    at,
    word(300, mac.length),
    mac,
    word(4711, error, 0)
  ])
  const bytes = Buffer.concat([message, encodeName(key.name), word(250, 255, 0, 0, data.length), data])
  bytes.writeUInt16BE(1, 10)
  change.spoil?.(bytes)
  return bytes
}

describe('TSIG', () => {
  it("reads keys in BIND's format", () => {
    const text = `# a comment with key "no" { algorithm hmac-sha256; secret "AA=="; };
      key "Update.Example." { // names are compared in lower case
        algorithm HMAC-SHA512; /* of any length */
        secret "YWJj//8=";
      };`
    const key = parseKey(text)
    assert.deepEqual(
      [key.name, key.algorithm, key.secret.toString('hex')],
      ['update.example', 'hmac-sha512', '616263ffff']
    )
    assert.equal(parseKey('key k { algorithm hmac-sha256; secret AAAA; };').name, 'k')
  })

  it('says what is wrong with a key, without its secret', () => {
    assert.throws(() => parseKey('nonsense'), /holds no `key/)
    assert.throws(
      () => parseKey('key k { secret "topsecret"; };'),
      (error: Error) => {
        assert.match(error.message, /algorithm "".*hmac-sha256/)
        return !error.message.includes('topsecret')
      }
    )
    assert.throws(() => parseKey('key k { algorithm hmac-md5; secret "AAAA"; };'), /"hmac-md5"/)
    assert.throws(() => parseKey('key k { algorithm hmac-sha256; secret ""; };'), /no secret/)
  })

  it('appends a record that covers the message, and takes a good answer apart', () => {
    const signed = sign(query(), KEY, NOW)
    const [record] = readRecords(signed.bytes)
    assert.deepEqual([record?.name, record?.type, record?.section], ['k.example', 250, 'additional'])
    assert.equal(signed.bytes.readUInt16BE(10), 1)
    const bare = verify(answerTo(signed), signed, KEY, NOW)
    assert.equal(bare.readUInt16BE(10), 0)
    assert.equal(bare.length, query().length)
  })

  it('refuses what is not signed, signed otherwise, changed, old, or of another request', () => {
    const signed = sign(query(), KEY, NOW)
    const check = (answer: Buffer): Buffer => verify(answer, signed, KEY, NOW)
    const unsigned = query()
    unsigned.writeUInt16BE(0x8400, 2)
    assert.throws(() => check(unsigned), /did not sign/)
    const other = parseKey('key "k.example" { algorithm hmac-sha256; secret "b3RoZXI="; };')
    assert.throws(() => check(answerTo(signed, { key: other })), /signed its answer wrongly/)
    const named = parseKey(
      'key "x.example" { algorithm hmac-sha256; secret "c2VjcmV0IHNlY3JldCBzZWNyZXQh"; };'
    )
    assert.throws(() => check(answerTo(signed, { key: named })), /not with k\.example/)
    const spoil = (bytes: Buffer): void => void bytes.writeUInt8((bytes[3] ?? 0) ^ 1, 3)
    assert.throws(() => check(answerTo(signed, { spoil })), /signed its answer wrongly/)
    assert.throws(() => check(answerTo(signed, { time: NOW / 1000 - 301 })), /BADTIME/)
    assert.throws(() => check(answerTo(sign(query(), other, NOW))), /signed its answer wrongly/)
    assert.throws(
      () => check(answerTo(signed, { error: 17, rcode: 9 })),
      /refused the key k\.example: BADKEY/
    )
    // cut anywhere, it is malformed or unsigned, and never accepted
    const whole = answerTo(signed)
    for (let length = 12; length < whole.length; length++)
      assert.throws(() => check(Buffer.from(whole.subarray(0, length))), /malformed|wrongly|did not sign/)
  })

  it('lets an unsigned refusal through, which a server without the key can only give so', () => {
    const signed = sign(query(), KEY, NOW)
    const refusal = query()
    refusal.writeUInt16BE(0x8005, 2)
    assert.equal(verify(refusal, signed, KEY, NOW).readUInt16BE(2) & 0xf, 5)
  })
})
