/** Which of an upstream's mirrors is passed over when a blob turns out wrong. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createUpstreams, type Upstreams } from '../../src/upstream/index.ts'
import { ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'
import { startUpstreamRegistry, type UpstreamRegistry } from '../support/upstream-registry.ts'

describe('a mirror that sends wrong bytes', function () {
  this.timeout(30_000)
  const bytes = randomBytes(3_000_000)
  let bad: UpstreamRegistry
  let good: UpstreamRegistry
  let upstreams: Upstreams
  let server: RegistryServer
  let layer: string

  beforeEach(async () => {
    bad = await startUpstreamRegistry()
    good = await startUpstreamRegistry()
    for (const registry of [bad, good]) layer = registry.image('a/b', '1', [bytes]).layers[0] as string
    upstreams = createUpstreams({
      settings: new Map([['up.example', { off: false, urls: [bad.url, good.url] }]]),
      auth: '',
      ttlMs: 3_600_000,
      timeoutMs: 1000,
      allowDial: 'any'
    })
    server = await startRegistryServer({ upstreams })
    await ociClient(server).call('GET', '/v2/up.example/a/b/manifests/1')
  })
  afterEach(async () => {
    await server.stop()
    upstreams.stop()
    for (const registry of [bad, good]) await registry.stop()
  })

  /** How many tries it takes a client to get the layer. */
  async function tries(): Promise<number> {
    for (let i = 1; i <= 4; i++) {
      const answer = await ociClient(server)
        .call('GET', `/v2/up.example/a/b/blobs/${layer}`)
        .catch(() => undefined)
      if (answer?.status === 200) {
        assert.ok(answer.body.equals(bytes))
        return i
      }
    }
    return assert.fail('it does not come')
  }

  it('is passed over', async () => {
    bad.fault = (req, res) => {
      if (!/GET .*blobs/.test(`${req.method} ${req.url}`)) return false
      res.writeHead(200, { 'content-length': String(bytes.length) }).end(randomBytes(bytes.length))
      return true
    }
    assert.equal(await tries(), 2)
  })

  it('is passed over though another one sent the rest', async () => {
    bad.fault = (req, res) => {
      if (!/GET .*blobs/.test(`${req.method} ${req.url}`)) return false
      const from = Number(/\d+/.exec(req.headers.range ?? '0')?.[0])
      // its bytes are wrong, and its connections break off until another mirror is asked
      res.writeHead(from > 0 ? 206 : 200, {
        'content-length': String(bytes.length - from),
        ...(from > 0 && { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` })
      })
      res.write(randomBytes(10_000), () => setTimeout(() => res.destroy(), 10))
      return true
    }
    assert.equal(await tries(), 2)
    assert.ok(good.sent > 0)
  })
})
