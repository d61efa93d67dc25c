/** Blobs of which an earlier transfer has left a part that turns out wrong. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { digestOf } from '../support/oci-client.ts'
import { type PullThroughBed, startPullThrough } from '../support/pull-through-bed.ts'

describe('a blob that goes on where an earlier transfer broke off', function () {
  this.timeout(60_000)
  const bytes = randomBytes(4_000_000)
  let bed: PullThroughBed
  let digest: string

  beforeEach(async () => {
    bed = await startPullThrough()
    digest = bed.there.image('a/b', '1', [bytes]).layers[0] as string
    await bed.get('up.example/a/b/manifests/1')
  })
  afterEach(() => bed.stop())

  /** Has a pull fail after so many bytes of `sent`, which stay for the next one. */
  async function broken(sent: Buffer): Promise<void> {
    let begun = false
    bed.there.fault = (_, res) => {
      if (begun) res.writeHead(403).end()
      else {
        begun = true
        res.writeHead(200, { 'content-length': String(bytes.length) })
        res.write(sent, () => setTimeout(() => res.destroy(), 50))
      }
      return true
    }
    await assert.rejects(bed.client.call('GET', `/v2/up.example/a/b/blobs/${digest}`))
    bed.there.fault = undefined
  }
  const asked = () =>
    bed.there.headers.flatMap((headers, i) =>
      bed.there.asked[i]?.includes(digest) ? [headers.range ?? 'whole'] : []
    )

  it('takes the rest by a range where that part is right', async () => {
    await broken(bytes.subarray(0, 2_500_000))
    const { body } = await bed.get(`up.example/a/b/blobs/${digest}`)
    assert.equal(digestOf(body), digest)
    assert.match(asked().at(-1) ?? '', /^bytes=[1-9]\d*-$/)
  })

  it('is fetched anew within the same pull where it is wrong, and nobody is blamed who sent the rest', async () => {
    await broken(randomBytes(2_500_000))
    const { body } = await bed.get(`up.example/a/b/blobs/${digest}`)
    assert.equal(digestOf(body), digest)
    assert.match(asked().at(-2) ?? '', /^bytes=[1-9]\d*-$/)
    assert.equal(asked().at(-1), 'whole')
    await bed.settled(digest)
  })

  it('is so for several clients, with one more transfer', async () => {
    await broken(randomBytes(2_500_000))
    const before = asked().length
    const all = await Promise.all([1, 2, 3].map(() => bed.get(`up.example/a/b/blobs/${digest}`)))
    for (const { body } of all) assert.equal(digestOf(body), digest)
    assert.equal(asked().length, before + 2)
  })
})
