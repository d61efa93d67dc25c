/** The client of other registries, against one that misbehaves. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { upstreams as parse, type UpstreamSetting } from '../../src/config/upstreams.ts'
import type { Digest } from '../../src/oci/digest.ts'
import { RegistryError } from '../../src/oci/errors.ts'
import { createUpstreams, type Upstream, UpstreamError, type Upstreams } from '../../src/upstream/index.ts'
import { AUTHORITY, CERTIFICATE, KEY } from '../support/certificate.ts'
import { digestOf } from '../support/oci-client.ts'
import { type Login, startUpstreamRegistry, type UpstreamRegistry } from '../support/upstream-registry.ts'

const signal = new AbortController().signal

describe('an upstream', function () {
  this.timeout(30_000)
  const registries: UpstreamRegistry[] = []
  const made: Upstreams[] = []
  let folder: string

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sw-upstream-'))
  })
  after(() => rm(folder, { recursive: true, force: true }))
  afterEach(async () => {
    for (const upstreams of made.splice(0)) upstreams.stop()
    for (const registry of registries.splice(0)) await registry.stop()
  })

  async function registry(options?: Parameters<typeof startUpstreamRegistry>[0]): Promise<UpstreamRegistry> {
    const started = await startUpstreamRegistry(options)
    registries.push(started)
    return started
  }

  function upstreamOf(
    setting: Partial<UpstreamSetting> & { urls: readonly string[] },
    more: { auth?: string; timeoutMs?: number; allowDial?: 'any' | 'public' } = {}
  ): Upstream {
    const upstreams = createUpstreams({
      settings: new Map([['up.example', { off: false, ...setting }]]),
      auth: '',
      ttlMs: 1000,
      timeoutMs: 2000,
      allowDial: 'any',
      ...more
    })
    made.push(upstreams)
    return upstreams.of('up.example') as Upstream
  }

  const fault = (name: string) => (error: unknown) => {
    assert.ok(error instanceof UpstreamError, String(error))
    assert.equal(error.fault, name, error.message)
    return true
  }
  const code = (name: string) => (error: unknown) => {
    assert.ok(error instanceof RegistryError, String(error))
    assert.equal(error.code, name, error.message)
    return true
  }

  async function all(upstream: Upstream, digest: string, size?: number, from = 0): Promise<Buffer> {
    const parts: Buffer[] = []
    for await (const part of upstream.blob('a/b', digest as Digest, size).read(from, signal))
      parts.push(Buffer.from(part))
    return Buffer.concat(parts)
  }

  it('gives manifests by tag and by digest, and blobs', async () => {
    const there = await registry()
    const image = there.image('a/b', '1', ['one layer'])
    const upstream = upstreamOf({ urls: [there.url] })
    const byTag = await upstream.manifest('a/b', '1', signal)
    assert.equal(byTag.digest, image.digest)
    assert.deepEqual((await upstream.manifest('a/b', image.digest, signal)).bytes, image.bytes)
    assert.equal((await all(upstream, image.layers[0] as string)).toString(), 'one layer')
    assert.equal(await upstream.isSame('a/b', '1', { digest: byTag.digest, etag: undefined }, signal), true)
    there.image('a/b', '1', ['another'])
    assert.equal(await upstream.isSame('a/b', '1', { digest: byTag.digest, etag: undefined }, signal), false)
    assert.deepEqual(await upstream.tags('a/b', signal), ['1'])
    await assert.rejects(upstream.manifest('a/b', '2', signal), fault('unknown'))
    assert.match(JSON.stringify(upstream.mirrors()), /ratelimit-remaining/)
  })

  describe('asks for a login', () => {
    const file = async (text: string | object) => {
      const path = join(folder, `login-${Math.random()}`)
      await writeFile(path, typeof text === 'string' ? text : JSON.stringify(text))
      return path
    }
    const inBase64 = (text: string) => Buffer.from(text).toString('base64')

    async function pulls(login: Login, make: (there: UpstreamRegistry) => Promise<string | undefined>) {
      const there = await registry({ login })
      there.image('a/b', '1', ['x'])
      const auth = await make(there)
      const upstream = upstreamOf({ urls: [there.url], ...(auth !== undefined && { auth }) })
      await upstream.manifest('a/b', '1', signal)
      await upstream.manifest('a/b', '1', signal)
      return there
    }

    it('by Basic, with a file of one line', async () => {
      const there = await pulls({ kind: 'basic', user: 'me', password: 'a:b' }, () => file('me:a:b\n'))
      assert.equal(there.asked.length, 3, 'what worked is shown at once the next time')
    })
    it('by Basic, with a docker config.json', async () => {
      await pulls({ kind: 'basic', user: 'me', password: 'x' }, (there) =>
        file({ auths: { [`127.0.0.1:${there.port}`]: { auth: inBase64('me:x') } } })
      )
    })
    it('by a token for nobody, which is used again', async () => {
      const there = await pulls({ kind: 'bearer' }, async () => undefined)
      assert.equal(there.count(/token/), 1)
      assert.match(
        there.asked.find((line) => line.includes('token')) ?? '',
        /service=the%2C\+service&scope=repository%3Aa%2Fb%3Apull/
      )
    })
    it('by a token for a user, with a helper', async () => {
      const path = join(folder, 'docker-credential-test')
      await writeFile(
        path,
        '#!/bin/sh\nread host\necho \'{"ServerURL":"\'$host\'","Username":"me","Secret":"x"}\'\n'
      )
      await chmod(path, 0o755)
      const before = process.env['PATH']
      process.env['PATH'] = `${folder}${delimiter}${before}`
      try {
        await pulls({ kind: 'bearer', user: 'me', password: 'x' }, (there) =>
          file({ credHelpers: { [`127.0.0.1:${there.port}`]: 'test' } })
        )
      } finally {
        process.env['PATH'] = before
      }
    })
    it('by a token made from an identity token', async () => {
      await pulls({ kind: 'bearer', user: 'nobody', identityToken: 'id' }, (there) =>
        file({ auths: { [`127.0.0.1:${there.port}`]: { identitytoken: 'id' } } })
      )
    })
    it('that is made anew when it has run out', async () => {
      const there = await pulls({ kind: 'bearer', expiresIn: 5 }, async () => undefined)
      assert.equal(there.count(/token/), 2)
    })
    it('in vain, which is said once and not tried for ever', async () => {
      const there = await registry({ login: { kind: 'basic', user: 'me', password: 'x' } })
      const upstream = upstreamOf({ urls: [there.url], auth: await file('me:wrong') })
      await assert.rejects(upstream.manifest('a/b', '1', signal), fault('denied'))
      assert.equal(there.asked.length, 2)
      await assert.rejects(upstreamOf({ urls: [there.url] }).manifest('a/b', '1', signal), fault('denied'))
    })
  })

  it('behind TLS is trusted with its authority only', async () => {
    const there = await registry({ tls: { key: KEY, cert: CERTIFICATE } })
    there.image('a/b', '1', ['x'])
    const ca = join(folder, 'ca.pem')
    await writeFile(ca, AUTHORITY)
    await upstreamOf({ urls: [there.url], ca }).manifest('a/b', '1', signal)
    await assert.rejects(upstreamOf({ urls: [there.url] }).manifest('a/b', '1', signal), /ca=/)
  })

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
    assert.equal((await all(upstream, image.layers[0] as string, 7)).toString(), 'a layer')
    assert.equal(storage.headers.at(-1)?.authorization, undefined)
    // nor where the operator's own network is out of bounds
    const careful = upstreamOf(
      { urls: [there.url.replace('127.0.0.1', 'localhost')] },
      { allowDial: 'public' }
    )
    await assert.rejects(all(careful, image.layers[0] as string, 7), /public address/)
  })

  it('that redirects in a loop, or to less security, is left', async () => {
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

  it('that fails for a moment is asked again; for longer, the next mirror is', async () => {
    const there = await registry()
    const image = there.image('a/b', '1', ['x'])
    let failing = 1
    there.fault = (_, res) => {
      if (failing-- <= 0) return false
      res.writeHead(503).end()
      return true
    }
    const upstream = upstreamOf({ urls: [there.url] })
    await upstream.manifest('a/b', '1', signal)
    const broken = await registry()
    broken.fault = (_, res) => {
      res.destroy()
      return true
    }
    const two = upstreamOf({ urls: [broken.url, there.url] })
    await two.manifest('a/b', '1', signal)
    const before = broken.asked.length
    await two.manifest('a/b', '1', signal)
    assert.equal(broken.asked.length, before, 'it is left alone for a while')
    assert.match(two.mirrors()[0]?.failure ?? '', /127\.0\.0\.1/)
    assert.equal((await all(two, image.layers[0] as string)).toString(), 'x')
  })

  it('that is asked too often is left alone as long as it says', async () => {
    const there = await registry()
    there.fault = (_, res) => {
      res.writeHead(429, { 'retry-after': '600' }).end()
      return true
    }
    const upstream = upstreamOf({ urls: [there.url] })
    for (let i = 0; i < 3; i++) {
      await assert.rejects(upstream.manifest('a/b', '1', signal), (error: unknown) => {
        assert.ok(((error as UpstreamError).retryAfterMs ?? 0) > 500_000)
        return fault('busy')(error)
      })
    }
    assert.equal(there.asked.length, 1)
  })

  for (const [what, answer] of [
    ['HTML with 200', '<html>log in to the network first</html>'],
    ['a page that looks like JSON', '{"schemaVersion":2}'],
    ['something else than its digest says', undefined]
  ] as const) {
    it(`that sends ${what} gave nothing`, async () => {
      const there = await registry()
      const image = there.image('a/b', '1', ['x'])
      there.fault = (_, res) => {
        res.writeHead(200, {
          'content-type': answer === undefined ? image.mediaType : 'text/html',
          'docker-content-digest': answer === undefined ? digestOf('y') : ''
        })
        res.end(answer ?? image.bytes)
        return true
      }
      await assert.rejects(upstreamOf({ urls: [there.url] }).manifest('a/b', '1', signal), fault('wrong'))
    })
  }

  describe('whose blobs break off', () => {
    const bytes = randomBytes(3_000_000)

    for (const ranges of [true, false]) {
      it(`goes on where they ended, ${ranges ? 'by a range' : 'from the beginning where there are no ranges'}`, async () => {
        const there = await registry()
        const digest = there.blob(bytes)
        there.ranges = ranges
        let cuts = 2
        there.fault = (req, res) => {
          if (cuts-- <= 0) return false
          const from = ranges ? Number(/\d+/.exec(req.headers.range ?? '0')?.[0]) : 0
          const range = { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` }
          res.writeHead(from > 0 ? 206 : 200, {
            'content-length': String(bytes.length - from),
            ...(from > 0 && range)
          })
          res.write(bytes.subarray(from, from + 1_000_000), () => setTimeout(() => res.destroy(), 50))
          return true
        }
        assert.ok((await all(upstreamOf({ urls: [there.url] }), digest, bytes.length)).equals(bytes))
        assert.equal(there.count(/GET/), 3)
        assert.equal(there.sent < bytes.length, ranges)
      })
    }

    it('is given up when nothing more comes', async () => {
      const there = await registry()
      const digest = there.blob(bytes)
      there.fault = (_, res) => {
        res.writeHead(200, { 'content-length': String(bytes.length) })
        res.write('a')
        const drip = setInterval(() => res.write('b'), 100)
        res.once('close', () => clearInterval(drip))
        return true
      }
      const upstream = upstreamOf({ urls: [there.url] }, { timeoutMs: 300 })
      await assert.rejects(all(upstream, digest, bytes.length), code('SOURCE_TIMEOUT'))
    })

    it('is refused when it is longer than it should be, or compressed', async () => {
      const there = await registry()
      const digest = there.blob(bytes)
      const upstream = upstreamOf({ urls: [there.url] })
      await assert.rejects(all(upstream, digest, 5), code('SOURCE_FAILED'))
      there.fault = (_, res) => {
        res.writeHead(200, { 'content-encoding': 'gzip' }).end('x')
        return true
      }
      await assert.rejects(all(upstream, digest, bytes.length), /encoding gzip/)
    })
  })

  it('whose token service is asked too often is left alone as long as that says', async () => {
    const there = await registry({ login: { kind: 'bearer' } })
    there.fault = (req, res) => {
      if (!req.url?.startsWith('/token')) return false
      res.writeHead(429, { 'retry-after': '600' }).end()
      return true
    }
    const upstream = upstreamOf({ urls: [there.url] })
    for (let i = 0; i < 2; i++) await assert.rejects(upstream.manifest('a/b', '1', signal), fault('busy'))
    assert.equal(there.count(/token/), 1)
  })

  it('that is silent is given up after its time', async () => {
    const there = await registry()
    there.fault = () => true
    const upstream = upstreamOf({ urls: [there.url] }, { timeoutMs: 200 })
    await assert.rejects(upstream.manifest('a/b', '1', signal), (error: unknown) => {
      assert.equal((error as UpstreamError).silent, true)
      return fault('down')(error)
    })
    assert.equal(there.asked.length, 1)
    await assert.rejects(
      upstream.isSame('a/b', '1', { digest: 'sha256:0', etag: undefined }, signal),
      fault('down')
    )
    assert.equal(there.asked.length, 1, 'who has the tag at hand waits for it no second time')
  })

  it('that is offline is asked for nothing', async () => {
    const there = await registry()
    const upstream = upstreamOf({ urls: [there.url], offline: true })
    await assert.rejects(upstream.manifest('a/b', '1', signal), /offline/)
    assert.deepEqual(there.asked, [])
  })

  it('has one name for what clients call it', () => {
    const upstreams = createUpstreams({
      settings: parse('ghcr.io=off, lan.example=http://127.0.0.1:1 alias=lan.example:5000'),
      auth: '',
      ttlMs: 1,
      timeoutMs: 1,
      allowDial: 'any'
    })
    made.push(upstreams)
    const canonical = (domain: string, repository: string) => {
      const found = upstreams.canonical({ asked: '', place: { kind: 'domain', domain }, repository })
      return `${found.place.kind === 'domain' ? found.place.domain : ''}/${found.repository}`
    }
    assert.equal(canonical('docker.io', 'alpine'), 'docker.io/library/alpine')
    assert.equal(canonical('index.docker.io', 'a/b'), 'docker.io/a/b')
    assert.equal(canonical('local', 'proxy/docker.io/alpine'), 'docker.io/library/alpine')
    assert.equal(canonical('local', 'proxy/example.com/alpine'), 'local/proxy/example.com/alpine')
    assert.equal(canonical('quay.io', 'alpine'), 'quay.io/alpine')
    assert.equal(upstreams.domainOf('lan.example:5000'), 'lan.example')
    assert.equal(upstreams.domainOf('169.254.169.254'), undefined)
    assert.equal(upstreams.of('ghcr.io'), undefined)
  })
})
