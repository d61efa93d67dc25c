/** The registry's port with TLS: which connections come about, and what does not reach a request. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request } from 'node:https'
import { PassThrough, type Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { AUTHORITY } from '../support/certificate.ts'
import { http2Client } from '../support/http2-client.ts'
import { OTHER, type TestIdentity, testIdentity } from '../support/identity.ts'
import { digestOf, rawConnection } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

/** How long a client may be silent in these tests, in milliseconds. */
const IDLE = 800

describe('a port with TLS', () => {
  let files: TestIdentity
  let server: RegistryServer

  beforeEach(async () => {
    files = await testIdentity()
    server = await startRegistryServer({ idleMs: IDLE, identity: files.identity })
  })
  afterEach(async () => {
    await server.stop()
    await files.stop()
  })

  /** A handshake; rejects when it fails. */
  const shake = (options: ConnectionOptions = {}) =>
    new Promise<
      Pick<TLSSocket, 'alpnProtocol'> & { version: string | null; fingerprint: string | undefined }
    >((resolve, reject) => {
      const socket = connect({ host: 'localhost', port: server.port, ca: AUTHORITY, ...options }, () => {
        resolve({
          alpnProtocol: socket.alpnProtocol,
          version: socket.getProtocol(),
          fingerprint: socket.getPeerX509Certificate()?.fingerprint256
        })
        socket.destroy()
      })
      socket.on('error', reject)
    })

  const get = (headers: Record<string, string> = {}) =>
    new Promise<{ status: number | undefined; hsts: string | undefined; version: string }>(
      (resolve, reject) => {
        const asked = request(
          {
            host: 'localhost',
            port: server.port,
            path: '/v2/',
            ca: AUTHORITY,
            servername: 'localhost',
            headers,
            agent: false
          },
          (answer) => {
            answer.resume()
            const hsts = answer.headers['strict-transport-security']
            resolve({ status: answer.statusCode, hsts, version: answer.httpVersion })
          }
        )
        asked.on('error', reject)
        asked.end()
      }
    )

  it('speaks HTTP/1.1 with who does, and HTTP/2 with who prefers it', async () => {
    assert.deepEqual(await get(), { status: 200, hsts: undefined, version: '1.1' })
    const client = http2Client(server.port)
    const { status, headers } = await client.call('GET', '/v2/')
    assert.deepEqual([status, headers['docker-distribution-api-version']], [200, 'registry/2.0'])
    await client.close()
    for (const [protocols, chosen] of [
      [['h2', 'http/1.1'], 'h2'],
      [['http/1.1', 'h2'], 'h2'],
      [['http/1.1'], 'http/1.1'],
      [undefined, false]
    ] as const) {
      const socket = await shake({ ...(protocols && { ALPNProtocols: [...protocols] }) })
      assert.equal(socket.alpnProtocol, chosen)
    }
  })

  it('takes TLS 1.3 and 1.2 with forward secrecy and authenticated encryption, and nothing older or weaker', async () => {
    for (const version of ['TLSv1.3', 'TLSv1.2'] as const)
      assert.equal((await shake({ minVersion: version, maxVersion: version })).version, version)
    const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
    await assert.rejects(shake(old))
    for (const ciphers of ['AES128-GCM-SHA256', 'ECDHE-ECDSA-AES128-SHA', 'ECDHE-ECDSA-AES256-SHA384'])
      await assert.rejects(shake({ maxVersion: 'TLSv1.2', ciphers }))
    await assert.rejects(shake({ ALPNProtocols: ['spdy/3'] }), /no application protocol/)
    await assert.rejects(shake({ ALPNProtocols: ['acme-tls/1'] }), /no application protocol/)
  })

  it('tells who comes without TLS, at once', async () => {
    for (const [bytes, pattern] of [
      ['GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n', /^HTTP\/1.1 400 Bad Request[^]*use https:/],
      ['SSH-2.0-OpenSSH_9.6\r\n', /^HTTP\/1.1 400 /],
      ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', /^HTTP\/1.1 400 /]
    ] as const)
      assert.match(await rawConnection(server, bytes).closed, pattern)
    // half a handshake, and none
    for (const bytes of ['', '\x16\x03\x01\x02\x00\x01\x00']) await rawConnection(server, bytes).closed
  })

  it('has clients that know it by a domain come with TLS only', async () => {
    for (const [host, hsts] of [
      ['registry.example.com', 'max-age=3600'],
      ['registry.example.com:5000', 'max-age=3600'],
      ['127.0.0.1:5000', undefined],
      ['[::1]:5000', undefined],
      ['localhost', undefined]
    ] as const)
      assert.equal((await get({ host })).hsts, hsts, host)
    const client = http2Client(server.port)
    const { headers } = await client.call('GET', '/v2/', {
      headers: { ':authority': 'registry.example.com' }
    })
    assert.equal(headers['strict-transport-security'], 'max-age=3600')
    await client.close()
  })

  it('shows a new certificate to new connections, while those that are open go on', async () => {
    const before = http2Client(server.port)
    assert.equal((await before.call('GET', '/v2/')).status, 200)
    const changed = new Promise((resolve) => files.identity.onChange(resolve))
    await files.replace(OTHER)
    await changed
    await assert.rejects(get(), /self-signed|unable to verify/)
    const shown = await shake({ rejectUnauthorized: false })
    assert.equal(shown.fingerprint, files.identity.pair?.certificate.fingerprint256)
    assert.equal((await before.call('GET', '/v2/')).status, 200)
    await before.close()
  })

  it('breaks off neither pulls nor pushes that are under way when a new certificate comes', async () => {
    await server.restart({ idleMs: 20_000, identity: files.identity })
    const blob = randomBytes(24_000_000)
    const digest = digestOf(blob)
    const client = http2Client(server.port)
    const upload = (bytes: Buffer | Readable, name: string) =>
      client.call('POST', `/v2/app/blobs/uploads/?digest=${name}`, { body: bytes })
    assert.equal((await upload(blob, digest)).status, 201)

    const path = `/v2/app/blobs/${digest}`
    const options = { host: 'localhost', port: server.port, ca: AUTHORITY, servername: 'localhost' }
    const first = request({ ...options, path, agent: false }).end()
    const [answer] = (await once(first, 'response')) as [Readable]
    const stream = client.session.request({ ':path': path })
    const pulls = [answer, stream]
    // the first of it has come, and far from all of it can have been sent
    for (const pull of pulls) {
      await once(pull, 'readable')
      assert.ok(pull.read(1000) !== null)
    }
    const pushed = randomBytes(3_000_000)
    const body = new PassThrough()
    const push = upload(body, digestOf(pushed))
    body.write(pushed.subarray(0, 1_000_000))

    const changed = new Promise((resolve) => files.identity.onChange(resolve))
    await files.replace(OTHER)
    await changed
    const shown = await shake({ rejectUnauthorized: false })
    assert.equal(shown.fingerprint, files.identity.pair?.certificate.fingerprint256)

    body.end(pushed.subarray(1_000_000))
    const rest = await Promise.all(pulls.map((pull) => buffer(pull)))
    for (const bytes of rest) assert.ok(bytes.equals(blob.subarray(1000)))
    assert.equal((await push).status, 201)
    await client.close()
  })

  it('serves one request after another on a connection, and closes it when no more come', async () => {
    const socket = connect({ host: 'localhost', port: server.port, ca: AUTHORITY })
    let text = ''
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    socket.write('GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(3))
    await new Promise((resolve) => socket.once('close', resolve))
    assert.equal(text.match(/HTTP\/1.1 200/g)?.length, 3)
  })
})
