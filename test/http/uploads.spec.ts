/** https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-blobs */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { digestOf, type OciClient, ociClient, withQuery } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

describe('uploads over HTTP', () => {
  let server: RegistryServer
  let client: OciClient
  const bytes = randomBytes(2_500_000)
  const digest = digestOf(bytes)
  let made = 0
  /** A repository that nothing has been pushed to. */
  const fresh = () => `team/app-${++made}`

  before(async () => {
    server = await startRegistryServer()
    client = ociClient(server)
  })
  after(() => server.stop())

  /** The blob is there, whole, and at the Location that was given. */
  async function assertBlob(location: string | undefined, expected: Uint8Array = bytes): Promise<void> {
    assert.ok(location)
    assert.ok((await client.expect(200, 'GET', location)).body.equals(expected))
  }

  it('by POST then PUT', async () => {
    const name = fresh()
    const begun = await client.expect(202, 'POST', `/v2/${name}/blobs/uploads/`)
    const { location = '' } = begun.headers
    assert.match(location, /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/)
    assert.ok(location.includes(String(begun.headers['docker-upload-uuid'])))
    const put = await client.expect(201, 'PUT', withQuery(location, `digest=${digest}`), { body: bytes })
    assert.equal(put.headers['docker-content-digest'], digest)
    await assertBlob(put.headers.location)
    assert.equal(put.headers.location, `/v2/${name}/blobs/${digest}`)
  })

  it('by one POST', async () => {
    const posted = await client.expect(201, 'POST', `/v2/${fresh()}/blobs/uploads/?digest=${digest}`, {
      body: bytes
    })
    await assertBlob(posted.headers.location)
  })

  it('with the slash at the end of the path left out', async () => {
    const { headers } = await client.expect(202, 'POST', `/v2/${fresh()}/blobs/uploads`)
    assert.ok(headers.location)
  })

  it('as one stream without a length: POST, PATCH, empty PUT with an escaped digest', async () => {
    const location = await client.begin(fresh())
    const patched = await client.expect(202, 'PATCH', location, { body: Readable.from([bytes]) })
    assert.equal(patched.headers.range, `0-${bytes.length - 1}`)
    const next = patched.headers.location ?? ''
    const put = await client.expect(201, 'PUT', withQuery(next, `digest=${encodeURIComponent(digest)}`))
    await assertBlob(put.headers.location)
  })

  for (const last of ['in the PUT', 'by PATCH']) {
    it(`in chunks, the last one ${last}`, async () => {
      const name = fresh()
      let location = await client.begin(name)
      const cuts = [0, 7, 1_048_576, 1_048_577, 2_000_000, bytes.length]
      const ends = last === 'by PATCH' ? cuts.slice(1) : cuts.slice(1, -1)
      let start = 0
      for (const end of ends) {
        const { headers } = await client.expect(202, 'PATCH', location, {
          body: bytes.subarray(start, end),
          headers: { 'content-range': `${start}-${end - 1}`, 'content-type': 'application/octet-stream' }
        })
        assert.equal(headers.range, `0-${end - 1}`)
        location = headers.location ?? ''
        const status = await client.expect(204, 'GET', location)
        assert.equal(status.headers.range, `0-${end - 1}`)
        start = end
      }
      const rest = bytes.subarray(start)
      const headers: Record<string, string> =
        rest.length === 0 ? {} : { 'content-range': `${start}-${bytes.length - 1}` }
      const put = await client.expect(201, 'PUT', withQuery(location, `digest=${digest}`), {
        body: rest,
        headers
      })
      await assertBlob(put.headers.location)
    })
  }

  it('refuses chunks that are out of order, repeated or of another length with 416, and goes on after', async () => {
    const location = await client.begin(fresh())
    const chunk = (range: string, body: Uint8Array) =>
      client.call('PATCH', location, { body, headers: { 'content-range': range } })
    assert.equal((await chunk('5-9', bytes.subarray(5, 10))).status, 416)
    assert.equal((await chunk('0-9', bytes.subarray(0, 10))).status, 202)
    const repeated = await chunk('0-9', bytes.subarray(0, 10))
    assert.equal(repeated.status, 416)
    assert.equal(repeated.code, 'RANGE_INVALID')
    assert.equal(repeated.headers.range, '0-9')
    for (const bad of ['10-12', '10-', 'bytes=x-y', '-', '12-10', '99999999999999999999-3']) {
      assert.equal((await chunk(bad, bytes.subarray(10, 20))).status, 416, bad)
    }
    const out = await client.call('PUT', withQuery(location, `digest=${digest}`), {
      body: bytes.subarray(20),
      headers: { 'content-range': `20-${bytes.length - 1}` }
    })
    assert.equal(out.status, 416)
    assert.equal((await client.expect(204, 'GET', location)).headers.range, '0-9')
    const put = await client.expect(201, 'PUT', withQuery(location, `digest=${digest}`), {
      body: bytes.subarray(10),
      headers: { 'content-range': `10-${bytes.length - 1}` }
    })
    await assertBlob(put.headers.location)
  })

  it('drops a chunk that is shorter than its Content-Range says', async () => {
    const location = await client.begin(fresh())
    const short = await client.call('PATCH', location, {
      body: Readable.from([bytes.subarray(0, 10)]),
      headers: { 'content-range': '0-99' }
    })
    assert.equal(short.status, 400)
    assert.equal(short.code, 'SIZE_INVALID')
    await client.expect(404, 'GET', location)
  })

  it('goes on after the connection was cut in the middle of a chunk', async () => {
    const location = await client.begin(fresh())
    const body = new Readable({ read() {} })
    body.push(bytes.subarray(0, 1_500_000))
    const cut = client.call('PATCH', location, { body })
    setTimeout(() => body.destroy(new Error('cut')), 100)
    await assert.rejects(cut)
    // The server may still be writing down what came.
    let range = ''
    for (let i = 0; i < 50 && !/^0-[1-9]/.test(range); i++) {
      await new Promise((wait) => setTimeout(wait, 20))
      const status = await client.call('GET', location)
      range = String(status.headers.range)
    }
    const kept = Number(range.slice(2)) + 1
    assert.ok(kept > 0 && kept <= 1_500_000)
    await client.expect(202, 'PATCH', location, {
      body: bytes.subarray(kept),
      headers: { 'content-range': `${kept}-${bytes.length - 1}` }
    })
    const put = await client.expect(201, 'PUT', withQuery(location, `digest=${digest}`))
    await assertBlob(put.headers.location)
  })

  it('ends by DELETE, after which nothing of it is left', async () => {
    const location = await client.begin(fresh())
    await client.expect(202, 'PATCH', location, { body: bytes })
    await client.expect(204, 'DELETE', location)
    for (const method of ['GET', 'PATCH', 'DELETE']) {
      assert.equal((await client.expect(404, method, location)).code, 'BLOB_UPLOAD_UNKNOWN')
    }
    assert.deepEqual(await server.store.incoming.list().then((all) => all.filter(({ size }) => size > 0)), [])
  })

  it('refuses content that has another digest, and keeps nothing', async () => {
    const name = fresh()
    const location = await client.begin(name)
    const other = digestOf('something else')
    const refused = await client.expect(400, 'PUT', withQuery(location, `digest=${other}`), { body: bytes })
    assert.equal(refused.code, 'DIGEST_INVALID')
    await client.expect(404, 'HEAD', `/v2/${name}/blobs/${other}`)
    await client.expect(404, 'GET', location)
  })

  it('refuses to end without a digest or with a malformed one, and can still be ended', async () => {
    const name = fresh()
    const location = await client.begin(name)
    for (const query of [
      'x=1',
      'digest=',
      'digest=sha256:zz',
      'digest=md5:d41d8cd98f00b204e9800998ecf8427e'
    ]) {
      const refused = await client.expect(400, 'PUT', withQuery(location, query), { body: 'abc' })
      assert.equal(refused.code, 'DIGEST_INVALID')
    }
    await client.expect(201, 'PUT', withQuery(location, `digest=${digestOf('abc')}`), { body: 'abc' })
  })

  it('is known only to the repository in which it began', async () => {
    const name = fresh()
    const location = await client.begin(name)
    const elsewhere = location.replace(name, `${name}-other`)
    for (const method of ['GET', 'PATCH', 'PUT', 'DELETE']) {
      const query = method === 'PUT' ? withQuery(elsewhere, `digest=${digest}`) : elsewhere
      assert.equal((await client.expect(404, method, query)).code, 'BLOB_UPLOAD_UNKNOWN')
    }
    await client.expect(204, 'GET', location)
  })

  it('lets only one request at a time write', async () => {
    const location = await client.begin(fresh())
    const body = new Readable({ read() {} })
    const first = client.call('PATCH', location, { body })
    body.push('0123')
    let second = await client.call('PATCH', location, { body: 'x' })
    for (let i = 0; i < 20 && second.status === 202; i++)
      second = await client.call('PATCH', location, { body: 'x' })
    assert.equal(second.status, 409)
    assert.equal(second.code, 'BLOB_UPLOAD_INVALID')
    body.push(null)
    assert.equal((await first).status, 202)
  })

  it('takes blobs by sha512, which are then there by both digests', async () => {
    const name = fresh()
    const sha512 = digestOf(bytes, 'sha512')
    const location = await client.begin(name, '?digest-algorithm=sha512')
    const put = await client.expect(201, 'PUT', withQuery(location, `digest=${sha512}`), { body: bytes })
    assert.equal(put.headers['docker-content-digest'], sha512)
    await assertBlob(put.headers.location)
    await client.expect(400, 'POST', `/v2/${name}/blobs/uploads/?digest-algorithm=md5`)
  })

  it('mounts what another repository has, and begins an upload where it cannot', async () => {
    const [from, to] = [fresh(), fresh()]
    await client.blob(from, bytes)
    const mount = (query: string) => client.call('POST', `/v2/${to}/blobs/uploads/?${query}`)
    const nobody = await mount(`mount=${digest}&from=${to}-unknown`)
    assert.equal(nobody.status, 202)
    assert.ok(nobody.headers.location)
    assert.equal((await mount(`mount=${digestOf('never pushed')}`)).status, 202, 'without from')
    assert.equal((await mount(`mount=${digestOf('never pushed')}&from=${from}`)).status, 202)
    assert.equal((await mount(`mount=${digest}&from=NOT_A_NAME`)).status, 202)
    await client.expect(404, 'HEAD', `/v2/${to}/blobs/${digest}`)
    const escaped = await mount(`from=${encodeURIComponent(from)}&mount=${encodeURIComponent(digest)}`)
    assert.equal(escaped.status, 201)
    assert.equal(escaped.headers.location, `/v2/${to}/blobs/${digest}`)
    assert.equal(escaped.headers['docker-content-digest'], digest)
    await assertBlob(escaped.headers.location)
    const anywhere = await client.call('POST', `/v2/${fresh()}/blobs/uploads/?mount=${digest}`)
    assert.equal(anywhere.status, 201, 'without from')
    await assertBlob(anywhere.headers.location)
    assert.equal((await mount('mount=sha256:bad&from=a')).status, 400)
  })

  it('keeps a blob once, however often it comes', async () => {
    const name = fresh()
    await Promise.all(Array.from({ length: 8 }, () => client.blob(name, bytes)))
    await assertBlob(`/v2/${name}/blobs/${digest}`)
    const left = (await server.store.incoming.list()).filter(({ size }) => size === bytes.length)
    assert.deepEqual(left, [])
  })

  it('refuses uploads into a root that is named by its CID', async () => {
    const root = String(
      await server.registry.root('local').then(async (cid) => {
        if (cid !== undefined) return cid
        await client.image(fresh(), '1')
        return server.registry.root('local')
      })
    )
    const refused = await client.expect(403, 'POST', `/v2/ipfs/${root}/app/blobs/uploads/`)
    assert.equal(refused.code, 'DENIED')
  })
})

describe('upload sessions', () => {
  const open: RegistryServer[] = []
  afterEach(async () => {
    for (const server of open.splice(0)) await server.stop()
  })
  const start = async (options: Parameters<typeof startRegistryServer>[0] = {}) => {
    const server = await startRegistryServer(options)
    open.push(server)
    return { server, client: ociClient(server) }
  }

  it('go on after a restart where they were', async () => {
    const { server, client } = await start()
    const bytes = randomBytes(1_300_000)
    const location = await client.begin('app')
    await client.expect(202, 'PATCH', location, { body: bytes.subarray(0, 1_200_000) })
    const untouched = await client.begin('app')
    await server.restart()
    assert.equal((await client.expect(204, 'GET', location)).headers.range, '0-1199999')
    await client.expect(202, 'PATCH', location, {
      body: bytes.subarray(1_200_000),
      headers: { 'content-range': `1200000-${bytes.length - 1}` }
    })
    const put = await client.expect(201, 'PUT', withQuery(location, `digest=${digestOf(bytes)}`))
    assert.ok((await client.expect(200, 'GET', put.headers.location ?? '')).body.equals(bytes))
    await client.expect(201, 'PUT', withQuery(untouched, `digest=${digestOf('abc')}`), { body: 'abc' })
  })

  it('expire when nothing happens on them, and give their disk back; those in use do not', async () => {
    const { server, client } = await start({ uploadExpiryMs: 600 })
    const abandoned = await client.begin('app')
    await client.expect(202, 'PATCH', abandoned, { body: randomBytes(200_000) })
    const used = await client.begin('app')
    const until = Date.now() + 2000
    let sent = 0
    while (Date.now() < until) {
      await client.expect(202, 'PATCH', used, { body: 'x' })
      sent++
      await new Promise((wait) => setTimeout(wait, 100))
    }
    assert.equal((await client.expect(404, 'GET', abandoned)).code, 'BLOB_UPLOAD_UNKNOWN')
    assert.equal((await server.store.incoming.list()).length, 1)
    const body = 'x'.repeat(sent)
    await client.expect(201, 'PUT', withQuery(used, `digest=${digestOf(body)}`))
  })

  it('say that the disk is full in an answer that arrives, and keep nothing', async () => {
    const { server, client } = await start({ reserve: 2 ** 60 })
    const location = await client.begin('app')
    const refused = await client.expect(507, 'PATCH', location, { body: randomBytes(5_000_000) })
    assert.equal(refused.code, 'STORAGE_FULL')
    await client.expect(404, 'GET', location)
    assert.deepEqual(await server.store.incoming.list(), [])
  })
})
