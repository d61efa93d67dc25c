/** Requests over HTTP/2, where what `node:http` does with connections is done with streams. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:http2'
import { type AddressInfo, createServer } from 'node:net'
import { PassThrough } from 'node:stream'
import { createHttp2 } from '../../src/http/http2.ts'
import { type Http2Client, http2Client } from '../support/http2-client.ts'
import { type TestIdentity, testIdentity } from '../support/identity.ts'
import { digestOf, manifest, OCI_CONFIG, OCI_LAYER, withQuery } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

/** How long a client may be silent in these tests, in milliseconds. */
const IDLE = 800

const MB = 1e6

describe('HTTP/2', () => {
  let files: TestIdentity
  let server: RegistryServer
  let client: Http2Client

  beforeEach(async () => {
    files = await testIdentity()
    server = await startRegistryServer({ identity: files.identity })
    client = http2Client(server.port)
  })

  /** Goes on with a server that waits for {@link IDLE}. */
  async function hurry(): Promise<void> {
    await client.close()
    await server.restart({ idleMs: IDLE, pullTimeoutMs: IDLE, identity: files.identity })
    client = http2Client(server.port)
  }
  afterEach(async () => {
    await client.close()
    await server.stop()
    await files.stop()
  })

  async function expect(status: number, ...ask: Parameters<Http2Client['call']>) {
    const answer = await client.call(...ask)
    assert.equal(answer.status, status, `${ask[0]} ${ask[1]}: ${answer.body.toString().slice(0, 300)}`)
    return answer
  }

  async function begin(): Promise<string> {
    return String((await expect(202, 'POST', '/v2/app/blobs/uploads/')).headers.location)
  }

  async function push(bytes: Uint8Array, mediaType = OCI_LAYER) {
    const digest = digestOf(bytes)
    await expect(201, 'PUT', withQuery(await begin(), `digest=${digest}`), { body: bytes })
    return { mediaType, digest, size: bytes.length }
  }

  /** A request whose body comes from the test. */
  function open(method: string, path: string, headers = {}) {
    const stream = client.session.request({ ':method': method, ':path': path, ...headers })
    stream.on('error', () => {})
    const status = once(stream, 'response').then(([answer]) => Number(answer[':status']))
    status.catch(() => {})
    return { stream, status }
  }

  it('pushes and pulls an image, all layers at once on one connection', async () => {
    const bytes = Array.from({ length: 6 }, () => randomBytes(3 * MB))
    const [config, ...layers] = await Promise.all([
      push(Buffer.from('{"architecture":"amd64","os":"linux"}'), OCI_CONFIG),
      ...bytes.map((each) => push(each))
    ])
    const made = manifest({ config, layers })
    const headers = { 'content-type': made.mediaType }
    await expect(201, 'PUT', '/v2/app/manifests/1', { body: made.bytes, headers })
    assert.deepEqual((await expect(200, 'GET', '/v2/app/manifests/1')).body, made.bytes)
    const head = await expect(200, 'HEAD', '/v2/app/manifests/1')
    assert.deepEqual([head.headers['content-length'], head.body.length], [String(made.size), 0])
    const got = await Promise.all(
      layers.map(async ({ digest }) => (await expect(200, 'GET', `/v2/app/blobs/${digest}`)).body)
    )
    assert.deepEqual(got, bytes)
    const part = await expect(206, 'GET', `/v2/app/blobs/${layers[0]?.digest}`, {
      headers: { range: 'bytes=1000000-1999999' }
    })
    assert.deepEqual(part.body, bytes[0]?.subarray(1_000_000, 2_000_000))
    assert.equal(part.headers['content-range'], `bytes 1000000-1999999/${3 * MB}`)
  })

  it('serves thirty downloads at once on one connection', async () => {
    const bytes = randomBytes(2 * MB)
    const { digest } = await push(bytes)
    const all = await Promise.all(
      Array.from({ length: 30 }, () => expect(200, 'GET', `/v2/app/blobs/${digest}`))
    )
    assert.ok(all.every(({ body }) => body.equals(bytes)))
  })

  it('takes a body without a length', async () => {
    const body = new PassThrough()
    const location = await begin()
    const answer = expect(202, 'PATCH', location, { body })
    for (let i = 0; i < 5; i++) {
      body.write(Buffer.alloc(100_000, i))
      await new Promise((wait) => setTimeout(wait, 20))
    }
    body.end()
    assert.equal((await answer).headers.range, '0-499999')
  })

  it('never takes a body that was cut for a whole one', async () => {
    const type = { 'content-type': 'application/vnd.example.thing+json' }
    const { stream } = open('PUT', '/v2/app/manifests/cut', type)
    stream.write('{"a": 1}')
    await new Promise((wait) => setTimeout(wait, 50))
    stream.close(8)
    const location = await begin()
    const upload = open('PATCH', location)
    upload.stream.write(Buffer.alloc(200_000))
    await new Promise((wait) => setTimeout(wait, 50))
    upload.stream.close(8)
    await expect(404, 'GET', '/v2/app/manifests/cut')
    // what came is kept, and the upload goes on
    for (;;) {
      const { status, headers } = await client.call('GET', location)
      assert.equal(status, 204)
      const from = Number(/^0-(\d+)$/.exec(String(headers.range))?.[1] ?? -1) + 1
      const put = await client.call('PATCH', location, {
        body: 'x',
        headers: { 'content-range': `${from}-${from}`, 'content-length': '1' }
      })
      if (put.status === 202) break // else the one that was cut had not ended yet
    }
  })

  it('refuses in the midst of a body so that the client hears why, and goes on with other requests', async () => {
    for (const [method, path, status] of [
      ['PUT', withQuery(await begin(), `digest=${digestOf('other')}`), 400],
      ['PUT', '/v2/app/manifests/large', 413],
      ['PATCH', '/v2/app/blobs/uploads/none', 404]
    ] as const) {
      const answer = await client.call(method, path, { body: Buffer.alloc(12 * MB, 'x') })
      assert.equal(answer.status, status, path)
      assert.match(answer.body.toString(), /^\{"errors":\[/)
    }
    await push(randomBytes(9 * MB))
  })

  for (const [what, every] of Object.entries({ stops: 0, drips: 50 })) {
    it(`times out on a body that ${what}, whatever else goes on on the connection`, async () => {
      await hurry()
      const location = await begin()
      const { stream, status } = open('PATCH', location)
      stream.write('abc')
      const drip = every === 0 ? undefined : setInterval(() => stream.write('x'), every)
      let over = false
      const others = (async () => {
        for (let n = 0; !over; n++) await push(randomBytes(100_000 + n))
      })()
      assert.equal(await status, 408)
      clearInterval(drip)
      over = true
      await others
      const kept = await expect(204, 'GET', location)
      assert.match(String(kept.headers.range), /^0-[1-9]/)
    })
  }

  it('ends an answer that nobody takes, and not the others', async () => {
    await hurry()
    // two seconds' worth at the least rate, and a client that takes a third of it
    const { digest } = await push(randomBytes(3000))
    const slow = http2Client(server.port, { settings: { initialWindowSize: 1000 } })
    const stream = slow.session.request({ ':path': `/v2/app/blobs/${digest}` })
    stream.pause()
    stream.on('error', () => {})
    while (stream.rstCode === 0) {
      assert.equal((await slow.call('HEAD', '/v2/')).status, 200)
      await new Promise((wait) => setTimeout(wait, 20))
    }
    assert.equal(stream.rstCode, 2)
    assert.equal((await slow.call('HEAD', '/v2/')).status, 200)
    await slow.close()
  })

  it('ends a connection on which nothing moves', async () => {
    await hurry()
    await expect(200, 'GET', '/v2/')
    await once(client.session, 'close')
  })

  it('counts the bytes of each request once', async () => {
    const bytes = randomBytes(MB)
    const location = await begin()
    const digest = digestOf(bytes)
    const put = () => expect(201, 'PUT', withQuery(location, `digest=${digest}`), { body: bytes })
    await put()
    const made = manifest({ config: { mediaType: OCI_CONFIG, digest, size: MB }, layers: [] })
    await expect(201, 'PUT', '/v2/app/manifests/1', {
      body: made.bytes,
      headers: { 'content-type': made.mediaType }
    })
    await Promise.all([1, 2, 3, 4].map(() => expect(200, 'GET', `/v2/app/blobs/${digest}`)))
    await client.close()
    const usage = await server.registry.usage(undefined, AbortSignal.timeout(10_000), () => {})
    const { fromClients = 0, toClients = 0 } = usage.repositories[0]?.today ?? {}
    assert.ok(fromClients >= MB && fromClients < 1.1 * MB, String(fromClients))
    assert.ok(toClients >= 4 * MB && toClients < 4.1 * MB, String(toClients))
  })

  it('has downloads that are under way finish when the server stops', async () => {
    const bytes = randomBytes(2 * MB)
    const { digest } = await push(bytes)
    const { stream, status } = open('GET', `/v2/app/blobs/${digest}`)
    assert.equal(await status, 200)
    const stopped = server.restart({ identity: files.identity })
    let got = 0
    for await (const chunk of stream) got += (chunk as Buffer).length
    assert.equal(got, bytes.length)
    await stopped
  })
})

describe('an answer over HTTP/2', () => {
  for (const code of [0, 8]) {
    it(`that its client gives up with code ${code} is over at once, whatever waited to be sent`, async () => {
      const over = Promise.withResolvers<boolean>()
      const http2 = createHttp2((_, response) => {
        response.once('close', () => over.resolve(response.writableFinished))
        response.write(Buffer.alloc(MB))
      }, 60_000)
      const tcp = createServer((socket) => http2.server.emit('connection', socket))
      await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve))
      const session = connect(`http://127.0.0.1:${(tcp.address() as AddressInfo).port}`)
      try {
        const stream = session.request({ ':path': '/' })
        stream.on('error', () => {})
        await once(stream, 'data')
        stream.close(code)
        assert.equal(await over.promise, false)
      } finally {
        session.destroy()
        http2.destroy()
        tcp.close()
      }
    })
  }
})
