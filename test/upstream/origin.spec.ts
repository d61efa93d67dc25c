/** A blob of an upstream that isn't to be had. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { Digest } from '../../src/oci/digest.ts'
import { RegistryError } from '../../src/oci/errors.ts'
import { createUpstreams, type Upstream, type Upstreams } from '../../src/upstream/index.ts'
import { startUpstreamRegistry, type UpstreamRegistry } from '../support/upstream-registry.ts'

describe("an upstream's blob", function () {
  this.timeout(30_000)
  const { signal } = new AbortController()
  const bytes = randomBytes(3_000_000)
  let there: UpstreamRegistry
  let upstreams: Upstreams
  let upstream: Upstream
  let digest: string

  beforeEach(async () => {
    there = await startUpstreamRegistry()
    digest = there.blob(bytes)
    upstreams = createUpstreams({
      settings: new Map([['up.example', { off: false, urls: [there.url] }]]),
      auth: '',
      ttlMs: 1000,
      timeoutMs: 300,
      allowDial: 'any'
    })
    upstream = upstreams.of('up.example') as Upstream
  })
  afterEach(async () => {
    upstreams.stop()
    await there.stop()
  })

  /** Reads it until it fails; what came before, and why. */
  async function failing(): Promise<{ came: number; error: RegistryError }> {
    let came = 0
    try {
      for await (const part of upstream.blob('a/b', digest as Digest, bytes.length).read(0, signal))
        came += part.length
    } catch (error) {
      assert.ok(error instanceof RegistryError, String(error))
      return { came, error }
    }
    return assert.fail('it came')
  }

  it('is no page of unknown length, of which nothing is taken', async () => {
    there.fault = (_, res) => {
      res.writeHead(200, { 'content-type': 'text/html; charset=utf-8' })
      res.write('<html>log in ')
      res.end('first</html>')
      return true
    }
    const { came, error } = await failing()
    assert.equal(came, 0)
    assert.equal(error.code, 'SOURCE_FAILED')
    assert.match(error.message, /sends a page \(text\/html\)/)
    assert.equal(there.asked.length, 1)
  })

  it('is refused at once by an upstream that does not begin to send it', async () => {
    there.fault = (_, res) => {
      res.writeHead(500).end()
      return true
    }
    assert.equal((await failing()).error.code, 'SOURCE_FAILED')
    assert.equal(there.asked.length, 3)
    there.fault = () => true
    assert.equal((await failing()).error.code, 'SOURCE_TIMEOUT')
    assert.equal(there.asked.length, 4, 'who is silent is waited for once')
  })

  it('is asked for again once some of it has come, though there is nothing for a while', async () => {
    let answers = 0
    there.fault = (_, res) => {
      if (++answers > 4) return false
      if (answers > 1) res.writeHead(500).end()
      else {
        res.writeHead(200, { 'content-length': String(bytes.length) })
        res.write(bytes.subarray(0, 1_000_000), () => setTimeout(() => res.destroy(), 50))
      }
      return true
    }
    const parts: Buffer[] = []
    for await (const part of upstream.blob('a/b', digest as Digest, bytes.length).read(0, signal))
      parts.push(Buffer.from(part))
    assert.ok(Buffer.concat(parts).equals(bytes))
    assert.ok(there.sent < bytes.length)
  })
})
