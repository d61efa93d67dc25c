/** What needs no authority; with one, see `test/e2e/acme.spec.ts`. */
import assert from 'node:assert/strict'
import { type ConnectionOptions, connect } from 'node:tls'
import { createLog } from '../../src/log.ts'
import { acmeIdentity, type Identity } from '../../src/tls/index.ts'
import { acmeFolder } from '../../src/tls/stored.ts'
import { AUTHORITY, CERTIFICATE, KEY } from '../support/certificate.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'
import { tempFolder } from '../support/temp.ts'

describe('a certificate by ACME', () => {
  const temp = tempFolder()
  // nobody listens there
  const directory = 'https://127.0.0.1:1/directory'
  let server: RegistryServer
  let identity: Identity

  const make = (domains: string[]) =>
    acmeIdentity({
      domains,
      email: '',
      directory,
      ca: undefined,
      folder: temp.path,
      retryMs: 10,
      http: false,
      log: createLog('silent')
    })

  beforeEach(async () => {
    identity = await make(['localhost'])
    server = await startRegistryServer({ identity })
  })
  afterEach(async () => {
    await identity.stop()
    await server.stop()
  })
  after(() => temp.remove())

  const shake = (options: ConnectionOptions) =>
    new Promise<string | false | null>((resolve, reject) => {
      const to = { host: '127.0.0.1', port: server.port, ca: AUTHORITY, ...options }
      const socket = connect(to, () => {
        resolve(socket.alpnProtocol)
        socket.destroy()
      })
      socket.on('error', reject)
    })

  it('that was not issued yet lets no handshake come about, and says why', async () => {
    await assert.rejects(shake({}))
    assert.match(identity.trouble ?? '', /no certificate has been issued yet/)
    identity.start()
    while (!/127.0.0.1/.test(identity.trouble ?? '')) await new Promise((wait) => setTimeout(wait, 10))
    assert.match(identity.trouble ?? '', /no certificate could be had from 127.0.0.1:1: .*ECONNREFUSED/)
  })

  it('is proven only while an authority asks, and to nobody else', async () => {
    await acmeFolder(temp.path, directory).keep({ cert: CERTIFICATE, key: KEY })
    await server.restart({ identity: await make(['localhost']) })
    assert.equal(await shake({ ALPNProtocols: ['h2'] }), 'h2')
    for (const servername of [undefined, 'localhost', 'other.example'])
      await assert.rejects(
        shake({ ...(servername && { servername }), ALPNProtocols: ['acme-tls/1'] }),
        /no application protocol/
      )
    assert.equal(await shake({ ALPNProtocols: ['h2'] }), 'h2')
  })
})
