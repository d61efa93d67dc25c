import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { attributesOf, verifyNotation } from '../../src/signatures/notation.ts'
import { BadSignature, type FoundSignature, type Trust } from '../../src/signatures/types.ts'
import { CERTIFICATE } from '../support/certificate.ts'
import { signatureOf, signers } from '../support/signed-images.ts'

describe('notation signatures', () => {
  const { found, subject } = signatureOf('jws')
  const envelope = JSON.parse(Buffer.from(found.bytes).toString())
  const ca = new X509Certificate(signers['ca.crt'])
  const leaf = new X509Certificate(signers['leaf.crt'])
  const now = leaf.validFromDate.getTime() + 1000
  const trust = (certificates: X509Certificate[], ...identities: string[]): Trust => ({
    certificates,
    identities: identities.map((one) => attributesOf(one.split(',')))
  })
  const refused = (work: Promise<unknown>, why: RegExp) =>
    assert.rejects(work, (error) => error instanceof BadSignature && why.test(error.message))
  const changed = (more: Record<string, unknown>): FoundSignature => ({
    ...found,
    bytes: Buffer.from(JSON.stringify({ ...envelope, ...more }))
  })

  it('of notation itself count, by whom a trusted authority issued a certificate', async () => {
    const { until } = await verifyNotation(found, subject, trust([ca]), now)
    assert.equal(until, Math.min(leaf.validToDate.getTime(), ca.validToDate.getTime()))
  })

  it('count by a certificate that is trusted itself', () =>
    verifyNotation(found, subject, trust([leaf]), now))

  it("don't from another authority", () =>
    refused(
      verifyNotation(found, subject, trust([new X509Certificate(CERTIFICATE)]), now),
      /not from the trust store/
    ))

  it('count only of those who are named, where some are', async () => {
    await verifyNotation(found, subject, trust([ca], 'C=US,O=Acme'), now)
    await verifyNotation(found, subject, trust([ca], 'O=Other', 'cn=Acme Releases'), now)
    await refused(verifyNotation(found, subject, trust([ca], 'C=US,O=Other'), now), /CN=Acme Releases, whom/)
    await refused(verifyNotation(found, subject, trust([ca], 'O=Acme,OU=Ships'), now), /whom/)
  })

  it("don't for another image, size or type", async () => {
    const { digest } = signatureOf('cose').subject
    await refused(verifyNotation(found, { ...subject, digest }, trust([ca]), now), /another image/)
    await refused(verifyNotation(found, { ...subject, size: 1 }, trust([ca]), now), /another size/)
    await refused(
      verifyNotation(found, { ...subject, mediaType: 'a/b' }, trust([ca]), now),
      /another size or media/
    )
  })

  it("don't once anything that was signed has changed", async () => {
    const other = Buffer.from(JSON.stringify({ targetArtifact: subject })).toString('base64url')
    await refused(verifyNotation(changed({ payload: other }), subject, trust([ca]), now), /has been changed/)
    const head = JSON.parse(Buffer.from(envelope.protected, 'base64url').toString())
    const protectedWith = (more: object) =>
      changed({ protected: Buffer.from(JSON.stringify({ ...head, ...more })).toString('base64url') })
    for (const more of [{ alg: 'none' }, { alg: 'HS256' }, { alg: 'PS256' }, { extra: 1 }])
      await refused(verifyNotation(protectedWith(more), subject, trust([ca]), now), /has been changed/)
    await refused(
      verifyNotation(
        protectedWith({ 'io.cncf.notary.signingScheme': 'notary.x509.signingAuthority' }),
        subject,
        trust([ca]),
        now
      ),
      /only the scheme notary\.x509/
    )
  })

  it("don't when the certificates are not yet or no longer valid", async () => {
    await refused(verifyNotation(found, subject, trust([ca]), now - 86_400_000), /is valid from/)
    await refused(verifyNotation(found, subject, trust([ca]), leaf.validToDate.getTime()), /is valid from/)
  })

  it("don't when the chain isn't one, or its end signs", async () => {
    const [a, b] = envelope.header.x5c
    const withChain = (x5c: string[]) => changed({ header: { ...envelope.header, x5c } })
    const stranger = new X509Certificate(CERTIFICATE)
    await refused(
      verifyNotation(withChain([a, stranger.raw.toString('base64'), b]), subject, trust([ca]), now),
      /was not issued by|is valid from/
    )
    await refused(verifyNotation(withChain([b, a]), subject, trust([ca]), now), /has been changed|code/)
    await refused(verifyNotation(withChain([]), subject, trust([ca]), now), /the envelope/)
    await refused(verifyNotation(withChain(['AAAA']), subject, trust([ca]), now), /cannot be read/)
  })

  it('in COSE are refused with what to do', () => {
    const cose = signatureOf('cose')
    return refused(verifyNotation(cose.found, cose.subject, trust([ca]), now), /--signature-format jws/)
  })
})
