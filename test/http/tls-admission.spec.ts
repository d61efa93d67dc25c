/** What one client may have, where it speaks TLS: by its address, however many requests share a connection. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:tls'
import { AUTHORITY } from '../support/certificate.ts'
import { type Http2Answer, type Http2Client, http2Client } from '../support/http2-client.ts'
import { type TestIdentity, testIdentity } from '../support/identity.ts'
import {
  type RegistryServer,
  type RegistryServerOptions,
  startRegistryServer
} from '../support/registry-server.ts'

const PROXY = { trustedProxies: ['127.0.0.0/8', '::1/128'] }
const by = (address: string) => ({ headers: { 'x-forwarded-for': address } })

describe('what one client may have over TLS', () => {
  let files: TestIdentity
  let server: RegistryServer
  let client: Http2Client
  const start = async (options: RegistryServerOptions) => {
    files = await testIdentity()
    server = await startRegistryServer({ identity: files.identity, ...options })
    client = http2Client(server.port)
  }
  afterEach(async () => {
    await client.close()
    await server.stop()
    await files.stop()
  })

  const codeOf = ({ body }: Http2Answer) =>
    (JSON.parse(body.toString()) as { errors: { code: string }[] }).errors[0]?.code

  it('requests, of each client behind a proxy by itself, on one connection', async () => {
    // one request, and the next after ten seconds
    await start({ admission: { ...PROXY, requestRate: 0.1 } })
    const [mine, others] = [by('203.0.113.5'), by('203.0.113.6')]
    assert.equal((await client.call('GET', '/v2/', mine)).status, 200)
    const refused = await client.call('GET', '/v2/', mine)
    assert.deepEqual([refused.status, codeOf(refused)], [429, 'TOOMANYREQUESTS'])
    assert.equal((await client.call('GET', '/v2/', others)).status, 200)
  })

  it('bodies, though they come as streams of one connection', async () => {
    await start({ admission: { uploads: { total: 10, perAddress: 1 } } })
    const begun = await client.call('POST', '/v2/app/blobs/uploads/')
    const path = String(begun.headers.location).replace(/^https?:\/\/[^/]+/, '')
    const open = () => client.session.request({ ':method': 'PATCH', ':path': path })
    const first = open()
    first.write('so much for now')
    const refused = await client.call('PATCH', path, { body: 'more' })
    assert.deepEqual([refused.status, codeOf(refused)], [429, 'TOOMANYREQUESTS'])
    first.end()
    const [answer] = await once(first, 'response')
    assert.equal(answer[':status'], 202)
    first.resume()
    // the seat is free when the gateway has seen the end of the answer
    for (let status = 429; status !== 202; ) {
      ;({ status } = await client.call('PATCH', path, { body: 'the rest' }))
      assert.ok([202, 429].includes(status), String(status))
    }
  })

  it('connections, which are closed before anything is said on them', async () => {
    await start({ maxConnectionsPerAddress: 1 })
    assert.equal((await client.call('GET', '/v2/')).status, 200)
    const second = connect({ host: '127.0.0.1', port: server.port, servername: 'localhost', ca: AUTHORITY })
    let secured = false
    second.once('secureConnect', () => {
      secured = true
    })
    second.on('error', () => {})
    await new Promise((resolve) => second.once('close', resolve))
    assert.equal(secured, false)
    assert.equal((await client.call('GET', '/v2/')).status, 200)
  })

  it('none more where the connection is a trusted proxy’s', async () => {
    await start({ admission: PROXY, maxConnectionsPerAddress: 1 })
    assert.equal((await client.call('GET', '/v2/')).status, 200)
    const second = http2Client(server.port)
    assert.equal((await second.call('GET', '/v2/')).status, 200)
    await second.close()
  })
})
