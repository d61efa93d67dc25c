/** Where registries send the client that pulls through them. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { AUTHORITY, CERTIFICATE, KEY } from '../support/certificate.ts'
import { type HttpProxy, startHttpProxy } from '../support/http-proxy.ts'
import { readBlob, useUpstreamClient } from '../support/upstream-client.ts'
import type { Login, UpstreamRegistry } from '../support/upstream-registry.ts'

const signal = new AbortController().signal

describe('an upstream', function () {
  this.timeout(30_000)
  const { registry, upstreamOf } = useUpstreamClient()
  let folder: string
  let ca: string

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sw-redirects-'))
    ca = join(folder, 'ca.pem')
    await writeFile(ca, AUTHORITY)
  })
  after(() => rm(folder, { recursive: true }))

  it('that sends us elsewhere is followed without what was for it alone', async () => {
    const storage = await registry()
    const there = await registry({ login: { kind: 'bearer' } })
    const image = there.image('a/b', '1', ['a layer'])
    storage.blob('a layer')
    there.fault = (req, res) => {
      if (!/blobs/.test(req.url ?? '') || req.headers.authorization === undefined) return false
      res.writeHead(307, { location: `${storage.url}${req.url}` }).end()
      return true
    }
    const upstream = upstreamOf({ urls: [there.url] })
    assert.equal((await readBlob(upstream, image.layers[0] as string, 7)).toString(), 'a layer')
    assert.equal(storage.headers.at(-1)?.authorization, undefined)
    // nor where the operator's own network is out of bounds
    const careful = upstreamOf(
      { urls: [there.url.replace('127.0.0.1', 'localhost')] },
      { allowDial: 'public' }
    )
    await assert.rejects(readBlob(careful, image.layers[0] as string, 7), /public address/)
  })

  it('that redirects to less security is left', async () => {
    const storage = await registry()
    const there = await registry({ tls: { key: KEY, cert: CERTIFICATE } })
    const image = there.image('a/b', '1', ['a layer'])
    storage.blob('a layer')
    for (const location of [
      `${storage.url}/v2/a/b/blobs/${image.layers[0]}`,
      'file:///etc/passwd',
      'http://:'
    ]) {
      there.fault = (req, res) => {
        if (!/blobs/.test(req.url ?? '')) return false
        res.writeHead(307, { location }).end()
        return true
      }
      const upstream = upstreamOf({ urls: [there.url], ca })
      await assert.rejects(
        readBlob(upstream, image.layers[0] as string, 7),
        /which is refused|to what is no URL/
      )
    }
    assert.deepEqual(storage.asked, [])
  })

  it('that redirects in a loop is left', async () => {
    const there = await registry()
    there.fault = (req, res) => {
      res.writeHead(307, { location: req.url }).end()
      return true
    }
    await assert.rejects(
      upstreamOf({ urls: [there.url] }).manifest('a/b', '1', signal),
      /redirects more than/
    )
  })

  describe('that sends us to another port of its own host', () => {
    const LAYER = 'a layer'
    let there: UpstreamRegistry
    let storage: UpstreamRegistry
    let proxy: HttpProxy
    let digest: string

    async function open(login?: Login): Promise<void> {
      proxy = await startHttpProxy()
      storage = await registry()
      storage.blob(LAYER)
      there = await registry(login === undefined ? {} : { login })
      digest = there.image('a/b', '1', [LAYER]).layers[0] as string
    }
    afterEach(() => proxy.stop())

    /** Has blobs redirected to `host`, where the storage is. */
    function redirectTo(host: string): void {
      there.fault = (req, res) => {
        if (!/blobs/.test(req.url ?? '')) return false
        res.writeHead(307, { location: `http://${host}:${storage.port}${req.url}` }).end()
        return true
      }
    }

    /** The one whose host was named as `host`: for the proxy, each is this machine. */
    const careful = (host: string) =>
      upstreamOf(
        { urls: [`http://${host}:${there.port}`] },
        { allowDial: 'public', env: { HTTP_PROXY: proxy.url } }
      )

    it('is followed, without what was for it alone', async () => {
      await open({ kind: 'bearer' })
      redirectTo('192.0.2.7')
      const blobs = there.fault
      // its tokens come from a service at another port, too, as they often do
      const tokens = await registry({ login: { kind: 'bearer' } })
      there.fault = (req, res) => {
        if (req.headers.authorization !== undefined) return blobs?.(req, res) === true
        const realm = `http://192.0.2.7:${tokens.port}/token`
        res.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="x"` }).end()
        return true
      }
      assert.equal((await readBlob(careful('192.0.2.7'), digest, LAYER.length)).toString(), LAYER)
      assert.equal(tokens.count(/token/), 1)
      assert.equal(storage.asked.length, 1)
      assert.equal(storage.headers[0]?.authorization, undefined)
    })

    it('is not followed to another host, where the operator has his own', async () => {
      await open()
      redirectTo('192.0.2.8')
      await assert.rejects(readBlob(careful('192.0.2.7'), digest, LAYER.length), /public address/)
      assert.deepEqual(storage.asked, [])
    })

    it('is not followed on this machine, where other ports are other things of the operator', async () => {
      await open()
      redirectTo('127.0.0.1')
      await assert.rejects(readBlob(careful('127.0.0.1'), digest, LAYER.length), /public address/)
      assert.deepEqual(storage.asked, [])
      const anywhere = upstreamOf({ urls: [there.url] })
      assert.equal((await readBlob(anywhere, digest, LAYER.length)).toString(), LAYER)
    })
  })
})
