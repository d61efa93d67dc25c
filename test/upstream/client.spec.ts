/** The client of other registries: what it asks, and what it shows for it. */
import assert from 'node:assert/strict'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { upstreams as parse } from '../../src/config/upstreams.ts'
import { createUpstreams } from '../../src/upstream/index.ts'
import { AUTHORITY, CERTIFICATE, KEY } from '../support/certificate.ts'
import { fault, readBlob, useUpstreamClient } from '../support/upstream-client.ts'
import type { Login, UpstreamRegistry } from '../support/upstream-registry.ts'

const signal = new AbortController().signal

describe('an upstream', function () {
  this.timeout(30_000)
  const { registry, upstreamOf } = useUpstreamClient()
  let folder: string

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sw-upstream-'))
  })
  after(() => rm(folder, { recursive: true, force: true }))

  it('gives manifests by tag and by digest, and blobs', async () => {
    const there = await registry()
    const image = there.image('a/b', '1', ['one layer'])
    const upstream = upstreamOf({ urls: [there.url] })
    const byTag = await upstream.manifest('a/b', '1', signal)
    assert.equal(byTag.digest, image.digest)
    assert.deepEqual((await upstream.manifest('a/b', image.digest, signal)).bytes, image.bytes)
    assert.equal((await readBlob(upstream, image.layers[0] as string)).toString(), 'one layer')
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
    upstreams.stop()
  })
})
