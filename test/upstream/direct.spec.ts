/** A registry that a user names: whose certificate it may have, and what a login that it refuses is told. */
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { authoritiesOf } from '../../src/upstream/authorities.ts'
import { type DirectRegistry, openDirect } from '../../src/upstream/direct.ts'
import { AUTHORITY, CERTIFICATE, KEY } from '../support/certificate.ts'
import { tempFolder } from '../support/temp.ts'
import { startUpstreamRegistry, type UpstreamRegistry } from '../support/upstream-registry.ts'

describe('a registry that a user names', () => {
  const temp = tempFolder()
  const opened: DirectRegistry[] = []
  const started: UpstreamRegistry[] = []
  const signal = new AbortController().signal
  after(() => temp.remove())
  afterEach(async () => {
    for (const registry of opened.splice(0)) registry.stop()
    for (const registry of started.splice(0)) await registry.stop()
  })

  const open = (url: string, more: { ca?: string; auth?: string } = {}) => {
    const proxies = { http: '', https: '', none: '' }
    const registry = openDirect({ url, auth: undefined, timeoutMs: 5000, proxies, ...more })
    opened.push(registry)
    return registry
  }
  const start = async (options: Parameters<typeof startUpstreamRegistry>[0]) => {
    const registry = await startUpstreamRegistry(options)
    started.push(registry)
    registry.image('a/b', '1', ['x'])
    return registry
  }
  const file = (name: string, text: string) => {
    const path = join(temp.path, name)
    writeFileSync(path, text)
    return path
  }

  it('may have a certificate of an authority that the user trusts, and is told how where not', async () => {
    const { url } = await start({ tls: { key: KEY, cert: CERTIFICATE } })
    await open(url, { ca: file('ca.pem', AUTHORITY) }).manifest('a/b', '1', signal)
    await assert.rejects(
      open(url).manifest('a/b', '1', signal),
      new RegExp(`not trusted: .*SEAWAY_TRUSTED_CA.*/etc/docker/certs\\.d/${new URL(url).host}/ca\\.crt`)
    )
    assert.throws(() => open(url, { ca: join(temp.path, 'none') }), /certificates in .*none cannot be used/)
    assert.throws(() => open(url, { ca: file('no.pem', 'nothing') }), /holds no certificate in PEM/)
  })

  it('is trusted with what Docker trusts for it', () => {
    const url = new URL('https://gw.example:5000')
    mkdirSync(join(temp.path, 'gw.example:5000'), { recursive: true })
    writeFileSync(join(temp.path, 'gw.example:5000/ca.crt'), AUTHORITY)
    assert.equal(authoritiesOf(url, undefined, temp.path), AUTHORITY)
    assert.equal(authoritiesOf(new URL('https://other.example'), undefined, temp.path), undefined)
    assert.equal(authoritiesOf(new URL('http://gw.example:5000'), undefined, temp.path), undefined)
  })

  it('that refuses a login says that it is the login', async () => {
    const { url } = await start({ login: { kind: 'bearer', user: 'me', password: 'x' } })
    const { host } = new URL(url)
    const auth = file('config.json', JSON.stringify({ auths: { [host]: { auth: btoa('me:wrong') } } }))
    await assert.rejects(open(url, { auth }).manifest('a/b', '1', signal), /refuses the user or password/)
    await assert.rejects(open(url).manifest('a/b', '1', signal), /answered 401 when asked for a token/)
  })

  it('loses no upload that it began while nobody wanted it any more', async () => {
    const registry = await start({})
    const stop = new AbortController()
    const asked: string[] = []
    const given = Promise.withResolvers<void>()
    registry.fault = (req, res) => {
      asked.push(`${req.method} ${req.url}`)
      if (req.method === 'POST') {
        stop.abort(new Error('interrupted'))
        setTimeout(() => res.writeHead(202, { location: '/v2/a/b/blobs/uploads/1' }).end(), 50)
      } else {
        res.writeHead(204).end()
        given.resolve()
      }
      return true
    }
    await assert.rejects(open(registry.url).uploads.begin('a/b', undefined, stop.signal), /interrupted/)
    await given.promise
    assert.deepEqual(asked, ['POST /v2/a/b/blobs/uploads/', 'DELETE /v2/a/b/blobs/uploads/1'])
  })
})
