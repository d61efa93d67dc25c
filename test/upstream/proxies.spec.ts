/** Upstreams that are reached through a proxy. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readConfig } from '../../src/config.ts'
import { createUpstreams, type Upstream, UpstreamError } from '../../src/upstream/index.ts'
import { UP_CERTIFICATE, UP_KEY } from '../support/certificate.ts'
import { type HttpProxy, startHttpProxy } from '../support/http-proxy.ts'
import { startUpstreamRegistry, type UpstreamRegistry } from '../support/upstream-registry.ts'

const { signal } = new AbortController()

describe('an upstream behind a proxy', function () {
  this.timeout(30_000)
  let there: UpstreamRegistry
  let proxy: HttpProxy
  const stops: (() => unknown)[] = []

  afterEach(async () => {
    for (const stop of stops.splice(0).toReversed()) await stop()
  })

  async function start(options: { tls?: boolean; login?: { user: string; password: string } } = {}) {
    there = await startUpstreamRegistry(options.tls ? { tls: { key: UP_KEY, cert: UP_CERTIFICATE } } : {})
    stops.push(() => there.stop())
    there.image('a/b', '1', ['x'])
    proxy = await startHttpProxy(options.login)
    stops.push(() => proxy.stop())
  }

  function upstreamAt(
    url: string,
    env: Record<string, string>,
    { timeoutMs = 2000, ...more }: { ca?: string; timeoutMs?: number } = {}
  ): Upstream {
    const upstreams = createUpstreams({
      settings: new Map([['up.example', { off: false, urls: [url], ...more }]]),
      auth: '',
      ttlMs: 1000,
      timeoutMs,
      allowDial: 'public',
      proxies: readConfig({ flags: {}, env }).proxies
    })
    stops.push(() => upstreams.stop())
    return upstreams.of('up.example') as Upstream
  }

  it('is asked through it, whose credentials it does not see', async () => {
    await start({ login: { user: 'me', password: 'p@ss' } })
    const by = proxy.url.replace('//', '//me:p%40ss@')
    const upstream = upstreamAt(`http://up.test:${there.port}`, { HTTP_PROXY: by })
    await upstream.manifest('a/b', '1', signal)
    assert.match(proxy.asked[0] ?? '', /^GET http:\/\/up\.test:\d+\/v2\/a\/b\/manifests\/1$/)
    assert.equal(there.headers[0]?.['proxy-authorization'], undefined)
    const stranger = upstreamAt(`http://up.test:${there.port}`, { HTTP_PROXY: proxy.url })
    await assert.rejects(stranger.manifest('a/b', '1', signal), /Proxy Authentication Required/)
  })

  it('speaks TLS through it with us alone', async () => {
    await start({ tls: true })
    const folder = await mkdtemp(join(tmpdir(), 'sw-proxy-'))
    stops.push(() => rm(folder, { recursive: true }))
    const ca = join(folder, 'ca.pem')
    await writeFile(ca, UP_CERTIFICATE)
    const url = `https://up.test:${there.port}`
    const env = { https_proxy: proxy.url.replace('http://', '') }
    const image = await upstreamAt(url, env, { ca }).manifest('a/b', '1', signal)
    assert.equal(image.mediaType, 'application/vnd.oci.image.manifest.v1+json')
    assert.deepEqual([...new Set(proxy.asked)], [`CONNECT up.test:${there.port}`])
    await assert.rejects(upstreamAt(url, env).manifest('a/b', '1', signal), /ca=/)
    // as with curl and docker, the variable of the other scheme says nothing of this one
    await assert.rejects(
      upstreamAt(url, { HTTP_PROXY: proxy.url }, { ca }).manifest('a/b', '1', signal),
      (error) => error instanceof UpstreamError && error.fault === 'down'
    )
  })

  it('is asked straight where NO_PROXY names it, or it is on this machine', async () => {
    await start()
    await upstreamAt(there.url, { HTTP_PROXY: proxy.url }).manifest('a/b', '1', signal)
    const other = upstreamAt(`http://up.test:${there.port}`, { HTTP_PROXY: proxy.url, NO_PROXY: '.test' })
    await assert.rejects(other.manifest('a/b', '1', signal), /its name is not known|cannot be looked up/)
    assert.deepEqual(proxy.asked, [])
  })

  it('is asked straight where NO_PROXY names its address by a range', async () => {
    await start()
    // nobody answers there (RFC 5737), which is all that is to be seen: the proxy would take any address for this machine
    const of = (none: string, host: string) =>
      upstreamAt(
        `http://${host}:${there.port}`,
        { HTTP_PROXY: proxy.url, NO_PROXY: none },
        { timeoutMs: 300 }
      )
    await of('192.0.2.0/24', '198.51.100.7').manifest('a/b', '1', signal)
    assert.equal(proxy.asked.length, 1)
    for (const [none, host] of [
      ['a.test, 198.51.100.0/24', '198.51.100.7'],
      ['2001:db8::/32', '[2001:db8::7]']
    ] as const)
      await assert.rejects(of(none, host).manifest('a/b', '1', signal), UpstreamError)
    assert.equal(proxy.asked.length, 1)
    // what is no range names nothing, and breaks nothing
    await of('198.51.100.0/64,x/8,/,2001:db8::/200', '198.51.100.7').manifest('a/b', '1', signal)
    assert.equal(proxy.asked.length, 2)
  })

  it('whose proxy is not there is down, and says which one', async () => {
    await start()
    const { url } = proxy
    await proxy.stop()
    const upstream = upstreamAt(`http://up.test:${there.port}`, { HTTP_PROXY: url })
    await assert.rejects(
      upstream.manifest('a/b', '1', signal),
      new RegExp(`nobody listens at ${url.slice(7)}`)
    )
  })

  it('is not begun with a proxy that is no URL', () => {
    assert.throws(
      () => readConfig({ flags: {}, env: { HTTPS_PROXY: 'ftp://x' } }),
      /HTTPS_PROXY cannot be used/
    )
  })
})
