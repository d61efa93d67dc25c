/** The client of other registries, against ones that fail. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { UpstreamError } from '../../src/upstream/index.ts'
import { digestOf } from '../support/oci-client.ts'
import { code, fault, readBlob, useUpstreamClient } from '../support/upstream-client.ts'

const signal = new AbortController().signal

describe('an upstream', function () {
  this.timeout(30_000)
  const { registry, upstreamOf } = useUpstreamClient()

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
    assert.equal((await readBlob(two, image.layers[0] as string)).toString(), 'x')
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
        assert.ok((await readBlob(upstreamOf({ urls: [there.url] }), digest, bytes.length)).equals(bytes))
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
      await assert.rejects(readBlob(upstream, digest, bytes.length), code('SOURCE_TIMEOUT'))
    })

    it('is refused when it is longer than it should be, or compressed', async () => {
      const there = await registry()
      const digest = there.blob(bytes)
      const upstream = upstreamOf({ urls: [there.url] })
      await assert.rejects(readBlob(upstream, digest, 5), code('SOURCE_FAILED'))
      there.fault = (_, res) => {
        res.writeHead(200, { 'content-encoding': 'gzip' }).end('x')
        return true
      }
      await assert.rejects(readBlob(upstream, digest, bytes.length), /encoding gzip/)
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
})
