/** https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-blobs */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { digestOf, ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

describe('blobs over HTTP', () => {
  let server: RegistryServer
  let client: ReturnType<typeof ociClient>
  const small = Buffer.from('0123456789')
  const large = randomBytes(3_000_000)
  const at = (bytes: Uint8Array, name = 'app') => `/v2/${name}/blobs/${digestOf(bytes)}`

  before(async () => {
    server = await startRegistryServer()
    client = ociClient(server)
    await client.blob('app', small)
    await client.blob('app', large)
  })
  after(() => server.stop())

  it('answers GET /v2/ and HEAD /v2/ with and without the slash', async () => {
    for (const path of ['/v2/', '/v2']) {
      for (const method of ['GET', 'HEAD']) await client.expect(200, method, path)
    }
  })

  for (const bytes of [small, large]) {
    it(`gives ${bytes.length} bytes with length, type, digest and ETag; HEAD without the bytes`, async () => {
      const got = await client.expect(200, 'GET', at(bytes))
      const head = await client.expect(200, 'HEAD', at(bytes))
      assert.ok(got.body.equals(bytes))
      assert.equal(head.body.length, 0)
      for (const { headers } of [got, head]) {
        assert.equal(headers['content-length'], String(bytes.length))
        assert.equal(headers['content-type'], 'application/octet-stream')
        assert.equal(headers['docker-content-digest'], digestOf(bytes))
        assert.equal(headers.etag, `"${digestOf(bytes)}"`)
        assert.equal(headers['accept-ranges'], 'bytes')
        assert.equal(headers['content-encoding'], undefined)
      }
    })

    const last = bytes.length - 1
    const ranges: [header: string, start: number, end: number][] = [
      ['bytes=0-0', 0, 0],
      ['bytes=3-', 3, last],
      ['bytes=2-5', 2, 5],
      ['bytes=-4', last - 3, last],
      ['bytes=-99999999', 0, last],
      [`bytes=5-${last + 1000}`, 5, last]
    ]
    for (const [range, start, end] of ranges) {
      it(`gives ${range} of ${bytes.length} bytes`, async () => {
        const part = await client.expect(206, 'GET', at(bytes), { headers: { range } })
        assert.ok(part.body.equals(bytes.subarray(start, end + 1)))
        assert.equal(part.headers['content-range'], `bytes ${start}-${end}/${bytes.length}`)
        assert.equal(part.headers['content-length'], String(end - start + 1))
      })
    }

    for (const range of [
      `bytes=${bytes.length}-`,
      `bytes=${bytes.length}-${bytes.length + 5}`,
      'bytes=-0',
      'bytes=5-2'
    ]) {
      it(`refuses ${range} of ${bytes.length} bytes with 416`, async () => {
        const refused = await client.expect(416, 'GET', at(bytes), { headers: { range } })
        assert.equal(refused.headers['content-range'], `bytes */${bytes.length}`)
        assert.equal(refused.code, 'RANGE_INVALID')
      })
    }
  }

  for (const range of ['bytes=-', 'bytes=a-b', 'items=0-1', 'bytes=0-1,4-5', 'bytes']) {
    it(`gives everything for the range '${range}', which it may ignore`, async () => {
      const got = await client.expect(200, 'GET', at(small), { headers: { range } })
      assert.ok(got.body.equals(small))
    })
  }

  it('resumes with If-Range only when the ETag is that of the blob', async () => {
    const headers = { range: 'bytes=5-', 'if-range': `"${digestOf(small)}"` }
    assert.equal((await client.expect(206, 'GET', at(small), { headers })).body.toString(), '56789')
    for (const ifRange of ['"other"', 'Wed, 21 Oct 2015 07:28:00 GMT']) {
      const got = await client.expect(200, 'GET', at(small), { headers: { ...headers, 'if-range': ifRange } })
      assert.ok(got.body.equals(small))
    }
  })

  it('answers 304 to If-None-Match with the digest, a weak tag or *', async () => {
    for (const tag of [`"${digestOf(small)}"`, `W/"${digestOf(small)}"`, `"a", "${digestOf(small)}"`, '*']) {
      for (const method of ['GET', 'HEAD']) {
        const { body, headers } = await client.expect(304, method, at(small), {
          headers: { 'if-none-match': tag }
        })
        assert.equal(body.length, 0)
        assert.equal(headers.etag, `"${digestOf(small)}"`)
      }
    }
    await client.expect(200, 'GET', at(small), { headers: { 'if-none-match': '"other"' } })
  })

  it('gives a blob only through a repository that has it', async () => {
    for (const method of ['GET', 'HEAD']) await client.expect(404, method, at(small, 'other'))
    assert.equal((await client.call('GET', at(small, 'other'))).code, 'BLOB_UNKNOWN')
    await client.image('other', '1')
    await client.expect(404, 'HEAD', at(small, 'other'))
  })

  it('keeps and gives the empty blob', async () => {
    const empty = Buffer.alloc(0)
    await client.blob('app', empty)
    for (const method of ['GET', 'HEAD']) {
      const got = await client.expect(200, method, at(empty))
      assert.equal(got.body.length, 0)
      assert.equal(got.headers['content-length'], '0')
    }
    await client.expect(416, 'GET', at(empty), { headers: { range: 'bytes=0-' } })
  })

  it('says which digests it takes when one is malformed', async () => {
    for (const digest of ['sha256:abc', `sha256:${'A'.repeat(64)}`, `md5:${'0'.repeat(32)}`, 'sha256:']) {
      const refused = await client.expect(400, 'GET', `/v2/app/blobs/${digest}`)
      assert.equal(refused.code, 'DIGEST_INVALID')
    }
  })
})
