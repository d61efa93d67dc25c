import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import type { Digest } from '../../src/oci/digest.ts'
import { parseRepository } from '../../src/oci/reference.ts'
import {
  digestOf,
  manifest,
  OCI_CONFIG,
  type OciClient,
  ociClient,
  withQuery
} from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'
import { seededBytes } from '../support/temp.ts'

const MB = 1_000_000

describe('limits', () => {
  let server: RegistryServer
  let client: OciClient
  afterEach(() => server.stop())

  const start = async (limits: { store?: number; domains?: Record<string, number> }) => {
    server = await startRegistryServer({
      limits: { store: limits.store, domains: new Map(Object.entries(limits.domains ?? {})) }
    })
    client = ociClient(server)
  }
  const upload = async (name: string, bytes: Uint8Array) => {
    const location = await client.begin(name)
    return client.call('PUT', withQuery(location, `digest=${digestOf(bytes)}`), { body: bytes })
  }
  const incoming = () => readdir(join(server.folder, 'incoming'))

  it('refuse a push that does not fit, say why and what to do, and keep nothing of it', async () => {
    await start({ store: 3 * MB })
    assert.equal((await upload('a', seededBytes(2 * MB, 1))).status, 201)
    const refused = await upload('a', seededBytes(2 * MB, 2))
    assert.equal(refused.status, 403)
    assert.equal(refused.code, 'DENIED')
    assert.match(
      refused.body.toString(),
      /the store is full: .* of 3\.0 MB .*seaway rm.*seaway gc.*SEAWAY_STORE_LIMIT/
    )
    assert.deepEqual(await incoming(), [])
    assert.equal((await upload('a', seededBytes(MB / 2, 3))).status, 201)
    const { body } = await client.expect(200, 'GET', `/v2/a/blobs/${digestOf(seededBytes(2 * MB, 1))}`)
    assert.ok(body.equals(seededBytes(2 * MB, 1)))
  })

  it('count what several uploads bring at once', async () => {
    await start({ store: 5.4 * MB })
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, i) => upload('a', seededBytes(MB, 10 + i)).catch(() => undefined)) // refused in its middle
    )
    const taken = answers.filter((answer) => answer?.status === 201).length
    assert.ok(taken <= 5, `${taken} of 1 MB within 5 MB`)
    assert.ok((await server.registry.quota.storeBytes(new AbortController().signal)) <= 5.4 * MB)
    assert.equal((await upload('a', seededBytes(0.3 * MB, 100))).status, 201)
    assert.deepEqual(await incoming(), [])
  })

  it('hold for chunks of unknown length, and give the room back when an upload is cancelled', async () => {
    await start({ store: 2 * MB })
    const location = await client.begin('a')
    await client.expect(202, 'PATCH', location, {
      body: Readable.from([seededBytes(MB, 1), seededBytes(MB / 2, 2)])
    })
    assert.equal((await upload('a', seededBytes(MB, 3))).status, 403)
    await client.expect(204, 'DELETE', location)
    assert.equal((await upload('a', seededBytes(MB, 3))).status, 201)
  })

  it('count an upload that goes on after a restart', async () => {
    await start({ store: 2 * MB })
    const location = await client.begin('a')
    await client.expect(202, 'PATCH', location, { body: seededBytes(1.5 * MB, 1) })
    await server.restart()
    client = ociClient(server)
    await client.expect(204, 'GET', location)
    assert.equal((await upload('a', seededBytes(MB, 3))).status, 403)
  })

  for (const [what, limits] of [
    ['the store', { store: 3 * MB }],
    ['a domain', { domains: { 'one.example': 3 * MB } }]
  ] as const) {
    it(`of ${what} count uploads that wait, also after a restart, until they expire`, async () => {
      await start(limits)
      assert.equal((await upload('one.example/a', seededBytes(MB, 1))).status, 201)
      const location = await client.begin('one.example/a')
      await client.expect(202, 'PATCH', location, { body: seededBytes(1.5 * MB, 2) })
      for (let i = 0; i < 2; i++) {
        assert.equal((await upload('one.example/b', seededBytes(MB, 3))).code, 'DENIED')
        await server.restart()
        client = ociClient(server)
      }
      assert.equal((await upload('one.example/b', seededBytes(0.3 * MB, 4))).status, 201)
      await server.registry.uploads.expire(-1000)
      assert.deepEqual(await incoming(), [])
      assert.equal((await upload('one.example/b', seededBytes(1.5 * MB, 3))).status, 201)
    })
  }

  it('count an upload that goes on after a restart once', async () => {
    await start({ store: 3 * MB, domains: { '*': 3 * MB } })
    const location = await client.begin('a')
    await client.expect(202, 'PATCH', location, { body: seededBytes(1.8 * MB, 1) })
    await server.restart()
    client = ociClient(server)
    const goesOn = await client.expect(202, 'PATCH', location, { body: seededBytes(MB, 2) })
    const whole = digestOf(Buffer.concat([seededBytes(1.8 * MB, 1), seededBytes(MB, 2)]))
    await client.expect(201, 'PUT', withQuery(String(goesOn.headers.location), `digest=${whole}`))
  })

  describe('hold for bodies that name a blob which is here', () => {
    const name = parseRepository('a')
    const known = seededBytes(MB, 1)
    const digest = digestOf(known) as Digest
    /** So many bytes in pieces; then it breaks off, if it is to. */
    async function* body(bytes: Uint8Array, breaksOff: boolean) {
      for (let at = 0; at < bytes.length; at += MB / 10) yield bytes.subarray(at, at + MB / 10)
      if (breaksOff) throw new Error('the client has gone')
    }
    const send = async (bytes: Uint8Array, breaksOff: boolean) => {
      const { id } = await server.registry.uploads.start(name)
      await server.registry.uploads.finish(name, id, body(bytes, breaksOff), undefined, digest)
    }
    beforeEach(async () => {
      await start({ store: 2 * MB })
      const config = await client.blob('a', '{}', OCI_CONFIG)
      await client.put('a', manifest({ config, layers: [await client.blob('a', known)] }), 'v1')
    })

    it('and are longer: they end at once, and nothing of them is kept', async () => {
      for (const breaksOff of [true, false])
        await assert.rejects(send(seededBytes(3 * MB, 2), breaksOff), {
          code: 'DIGEST_INVALID',
          message: /longer than the 1000000 bytes/
        })
      assert.deepEqual(await incoming(), [])
    })

    it('and break off: what stays of them takes room, and goes where there is none', async () => {
      const left: boolean[] = []
      for (let i = 0; i < 3; i++) {
        await assert.rejects(send(known.subarray(0, 0.6 * MB), true), /the client has gone/)
        left.push((await incoming()).length === 1)
      }
      assert.deepEqual(left, [true, true, true])
      assert.equal((await upload('a', seededBytes(0.6 * MB, 3))).code, 'DENIED')
    })

    it('and are refused for their range: what comes then takes room', async () => {
      const { uploads } = server.registry
      const { id } = await uploads.start(name)
      const wrong = { start: 5, end: 9 }
      await assert.rejects(uploads.finish(name, id, body(known, false), wrong, digest), {
        code: 'RANGE_INVALID'
      })
      await uploads.append(name, id, body(known.subarray(0, 0.9 * MB), false), undefined)
      assert.equal((await upload('a', seededBytes(0.6 * MB, 3))).code, 'DENIED')
    })

    it('and come several at once: one of them takes no room', async () => {
      const { uploads } = server.registry
      const held = Promise.withResolvers<void>()
      async function* slow() {
        yield known.subarray(0, 0.9 * MB)
        await held.promise
        yield known.subarray(0.9 * MB)
      }
      const [first, second] = [await uploads.start(name), await uploads.start(name)]
      const sent = uploads.finish(name, first.id, slow(), undefined, digest)
      while ((await uploads.status(name, first.id)).size === 0) await setImmediate()
      await uploads.append(name, second.id, body(seededBytes(0.9 * MB, 4), false), undefined)
      await assert.rejects(send(known, false), { code: 'DENIED' })
      held.resolve()
      await sent
      await send(known, false)
    })

    it('and are that blob: it comes again though nothing else would fit', async () => {
      assert.equal((await upload('a', seededBytes(0.9 * MB, 4))).status, 201)
      assert.equal((await upload('a', seededBytes(0.9 * MB, 5))).code, 'DENIED')
      await send(known, false)
    })
  })

  it('of a domain do not concern others, and * stands for the rest', async () => {
    await start({ domains: { 'one.example': 3 * MB, '*': MB } })
    assert.equal((await upload('one.example/a', seededBytes(2 * MB, 1))).status, 201)
    const refused = await upload('one.example/b', seededBytes(2 * MB, 2))
    assert.equal(refused.code, 'DENIED')
    assert.match(refused.body.toString(), /one\.example is full.*SEAWAY_DOMAIN_LIMITS/)
    assert.equal((await upload('two.example/b', seededBytes(0.5 * MB, 3))).status, 201)
    assert.equal((await upload('two.example/b', seededBytes(2 * MB, 2))).code, 'DENIED')
  })

  it('of a domain count what it shares with others, and each blob once in the domain', async () => {
    await start({ domains: { '*': 5 * MB } })
    const bytes = seededBytes(2 * MB, 1)
    for (const name of ['one.example/a', 'two.example/a', 'one.example/b']) {
      const config = await client.blob(name, '{}', OCI_CONFIG)
      const layer = await client.blob(name, bytes)
      await client.put(name, manifest({ config, layers: [layer] }), 'latest')
    }
    const signal = new AbortController().signal
    const held = await server.registry.quota.domainBytes('one.example', signal)
    assert.ok(held > 2 * MB && held < 2.1 * MB, String(held))
    const digest = digestOf(bytes)
    await upload('three.example/x', seededBytes(4 * MB, 9))
    const mounted = await client.call(
      'POST',
      `/v2/three.example/a/blobs/uploads/?mount=${digest}&from=one.example/a`
    )
    assert.equal(mounted.code, 'DENIED')
    await client.expect(201, 'POST', `/v2/one.example/c/blobs/uploads/?mount=${digest}&from=two.example/a`)
  })

  it('let pushes in again when something has gone', async () => {
    await start({ store: 3 * MB })
    const made = await client.image('a', 'v1', 'small')
    const big = await client.blob('a', seededBytes(2 * MB, 1))
    await client.put(
      'a',
      manifest({ config: made['config'] ?? (await client.blob('a', '{}', OCI_CONFIG)), layers: [big] }),
      'v2'
    )
    assert.equal((await upload('a', seededBytes(2 * MB, 2))).status, 403)
    await client.expect(202, 'DELETE', '/v2/a/manifests/v2')
    await server.registry.collect({ dryRun: false, graceMs: 0, signal: new AbortController().signal })
    for (;;) {
      const again = await upload('a', seededBytes(2 * MB, 2))
      if (again.status === 201) break
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  })

  it('let pulls stream whatever they say, and cached content makes room for pushes', async () => {
    const source = await startRegistryServer()
    try {
      const from = ociClient(source)
      const layers = await Promise.all(
        [1, 2, 3].map((seed) => from.blob('far.example/app', seededBytes(2 * MB, seed)))
      )
      const config = await from.blob('far.example/app', '{}', OCI_CONFIG)
      await from.put('far.example/app', manifest({ config, layers }), 'v1')
      await source.publish('far.example')
      server = await startRegistryServer({ dns: source.dns, limits: { store: 5 * MB, domains: new Map() } })
      client = ociClient(server)
      assert.equal((await upload('a', seededBytes(MB, 50))).status, 201)
      await client.expect(200, 'GET', '/v2/far.example/app/manifests/v1')
      for (const [i, { digest }] of layers.entries()) {
        const { body } = await client.expect(200, 'GET', `/v2/far.example/app/blobs/${digest}`)
        assert.ok(body.equals(seededBytes(2 * MB, i + 1)))
      }
      const signal = new AbortController().signal
      while ((await server.registry.quota.storeBytes(signal)) > 5 * MB)
        await new Promise((resolve) => setTimeout(resolve, 20))
      const taken = await upload('a', seededBytes(3.5 * MB, 51))
      assert.equal(taken.status, 201, taken.body.toString())
      assert.ok((await server.registry.quota.storeBytes(signal)) <= 5 * MB)
      assert.equal((await upload('a', seededBytes(3 * MB, 52))).code, 'DENIED')
      for (const [size, seed] of [
        [MB, 50],
        [3.5 * MB, 51]
      ] as const)
        await client.expect(200, 'GET', `/v2/a/blobs/${digestOf(seededBytes(size, seed))}`)
    } finally {
      await source.stop()
    }
  })
})
