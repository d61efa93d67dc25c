import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { SIMPLE_SIGNING, verifyCosign } from '../../src/signatures/cosign.ts'
import { BadSignature, type FoundSignature } from '../../src/signatures/types.ts'
import { signatureOf, signers } from '../support/signed-images.ts'

describe('cosign signatures', () => {
  const ours = createPublicKey(signers['ours.pub'])
  const theirs = createPublicKey(signers['theirs.pub'])
  const refused = (work: () => unknown, why: RegExp) =>
    assert.throws(work, (error) => error instanceof BadSignature && why.test(error.message))

  for (const image of ['tagged', 'bundled'] as const) {
    const { found, subject } = signatureOf(image)

    it(`of cosign itself count, by one of the keys (${image})`, () => {
      verifyCosign(found, subject, [ours])
      verifyCosign(found, subject, [theirs, ours])
    })

    it(`don't by another key (${image})`, () =>
      refused(() => verifyCosign(found, subject, [theirs]), /another key/))

    it(`don't for another image (${image})`, () => {
      const other = { ...subject, digest: signatureOf('theirs').subject.digest }
      refused(() => verifyCosign(found, other, [ours]), /is for another image/)
    })

    it(`don't once a byte of what was signed has changed (${image})`, () => {
      const text = Buffer.from(found.bytes).toString()
      const changed =
        image === 'tagged'
          ? text.replace('cosign container', 'cosign  container')
          : text.replace(/"payload":"(.)/, (_, c) => `"payload":"${c === 'e' ? 'f' : 'e'}`)
      assert.notEqual(changed, text)
      refused(() => verifyCosign({ ...found, bytes: Buffer.from(changed) }, subject, [ours]), /another key/)
    })
  }

  it('an attestation by the same key is no signature', () => {
    const { found, subject } = signatureOf('attested')
    refused(
      () => verifyCosign(found, subject, [ours]),
      /attestation \(https:\/\/cosign\.sigstore\.dev\/attestation\/v1\)/
    )
  })

  it("what can't be read is refused, and not an error", () => {
    const { found, subject } = signatureOf('bundled')
    for (const text of ['', '[]', '{}', '{"dsseEnvelope":{"payload":"!"}}', '{"messageSignature":{}}'])
      refused(() => verifyCosign({ ...found, bytes: Buffer.from(text) }, subject, [ours]), /the bundle/)
    const old = signatureOf('tagged')
    refused(() => verifyCosign({ ...old.found, annotations: {} }, old.subject, [ours]), /no annotation/)
    const nothing = { 'dev.cosignproject.cosign/signature': 'AAAA' }
    refused(() => verifyCosign({ ...old.found, annotations: nothing }, old.subject, [ours]), /another key/)
  })

  // cosign makes P-256 keys; these are imported into it
  const kinds: [string, string | null, { publicKey: KeyObject; privateKey: KeyObject }][] = [
    ['RSA', 'sha256', generateKeyPairSync('rsa', { modulusLength: 2048 })],
    ['Ed25519', null, generateKeyPairSync('ed25519')],
    ['P-384 with sha256', 'sha256', generateKeyPairSync('ec', { namedCurve: 'P-384' })],
    ['P-384 with sha384', 'sha384', generateKeyPairSync('ec', { namedCurve: 'P-384' })],
    ['P-521', 'sha512', generateKeyPairSync('ec', { namedCurve: 'P-521' })]
  ]
  for (const [what, hash, { publicKey, privateKey }] of kinds)
    it(`are read of keys of the kind ${what}`, () => {
      const { found, subject } = signatureOf('tagged')
      const signature = sign(hash, found.bytes, privateKey).toString('base64')
      const signed: FoundSignature = {
        mediaType: SIMPLE_SIGNING,
        bytes: found.bytes,
        annotations: { 'dev.cosignproject.cosign/signature': signature }
      }
      verifyCosign(signed, subject, [publicKey])
      refused(() => verifyCosign(signed, subject, [ours]), /another key/)
    })
})
