/** Pinned roots: they stay through collections, evictions and restarts, until they are unpinned. */
import assert from 'node:assert/strict'
import type { CID } from 'multiformats/cid'
import { type OciClient, ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

describe('pins', function () {
  this.timeout(60_000)
  let server: RegistryServer
  let client: OciClient
  const signal = new AbortController().signal
  const name = 'pins.example.com/app'
  const domain = 'pins.example.com'

  beforeEach(async () => {
    server = await startRegistryServer({ collect: { keepRoots: 0, graceMs: 0 } })
    client = ociClient(server)
  })
  afterEach(() => server.stop())

  const rootNow = async (): Promise<CID> => (await server.registry.root(domain)) as CID
  const remove = (tag: string) => client.expect(202, 'DELETE', `/v2/${name}/manifests/${tag}`)
  /** How many blobs go, which a dry run must have said. */
  async function collect(): Promise<number> {
    const would = await server.registry.collect({ dryRun: true, signal })
    const did = await server.registry.collect({ dryRun: false, signal })
    assert.deepEqual({ ...would, dryRun: false }, did)
    return did.freed.blobs
  }
  const pull = async (root: unknown, tag: string) =>
    (await client.call('GET', `/v2/ipfs/${root}/app/manifests/${tag}`)).status

  it('keep a root with all it holds, that can be pulled by its CID', async () => {
    await client.image(name, '1')
    const first = await rootNow()
    const pinned = await server.registry.pins.add(domain, signal)
    assert.deepEqual(
      [pinned.root, pinned.name, pinned.blobs, pinned.elsewhere, pinned.partial],
      [first.toString(), domain, 3, 0, false]
    )
    await remove('1')
    await client.image(name, '2')
    assert.equal(await collect(), 0)
    await server.restart()
    assert.equal(await collect(), 0)
    assert.equal(await pull(first, '1'), 200)
    const { root, name: called, at } = pinned
    assert.deepEqual(await server.registry.pins.list(), [{ root, name: called, at }])
  })

  it('keep nothing once they are removed, by name or by CID', async () => {
    for (const by of ['name', 'CID'] as const) {
      await client.image(name, by)
      const { root } = await server.registry.pins.add(domain, signal)
      await remove(by)
      assert.equal(await collect(), 0)
      await server.registry.pins.remove(by === 'name' ? domain : root)
      assert.equal(await collect(), 3)
      assert.notEqual(await pull(root, by), 200)
    }
    assert.deepEqual(await server.registry.pins.list(), [])
  })

  it('take a published root by its number, twice is once, and what shares a name is named by CID', async () => {
    await server.restart({ collect: { keepRoots: 2, graceMs: 0 } })
    await client.image(name, '1')
    const first = await rootNow()
    await server.registry.history.note(domain, first)
    const one = await server.registry.pins.add(`${domain}@1`, signal)
    assert.equal(one.root, first.toString())
    const { blobs, bytes, elsewhere, partial, ...pin } = await server.registry.pins.add(domain, signal)
    assert.deepEqual([blobs, elsewhere, partial, bytes > 0], [3, 0, false, true])
    assert.deepEqual(await server.registry.pins.list(), [pin])
    await client.image(name, '2')
    await server.registry.pins.add(domain, signal)
    await client.image(name, '3')
    await server.registry.pins.add(domain, signal)
    await assert.rejects(server.registry.pins.remove(domain), { code: 'REQUEST_INVALID' })
    await server.registry.pins.remove(`${domain}@1`)
    assert.equal((await server.registry.pins.list()).length, 2)
  })

  it('keep what was pulled of a tree of others, and say what of it is elsewhere', async () => {
    const other = await startRegistryServer()
    try {
      const theirs = ociClient(other)
      await theirs.image(name, '1')
      await theirs.image(name, '2')
      await other.publish(domain, server.dns)
      const root = String(await other.registry.root(domain))
      const unknown = server.registry.pins.add(root, signal)
      await assert.rejects(unknown, { code: 'NAME_UNKNOWN', message: /is not here.*pull ipfs/ })
      const manifest = await client.expect(200, 'GET', `/v2/${name}/manifests/1`)
      const { config, layers } = JSON.parse(manifest.body.toString())
      for (const { digest } of [config, ...layers])
        await client.expect(200, 'GET', `/v2/${name}/blobs/${digest}`)
      await server.restart({ collect: { keepRoots: 0, graceMs: 0, cacheLimit: 0 } })
      const pinned = await server.registry.pins.add(root, signal)
      assert.ok(pinned.elsewhere > 0 || pinned.partial, JSON.stringify(pinned))
      assert.equal(await collect(), 0)
      await server.registry.pins.remove(root)
      assert.ok((await collect()) >= 3)
    } finally {
      await other.stop()
    }
  })

  it('say no to what is no root', async () => {
    await client.image(name, '1')
    for (const [text, code] of [
      ['none.example.com', 'NAME_UNKNOWN'],
      [`${domain}@9`, 'NAME_UNKNOWN'],
      ['bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy', 'REQUEST_INVALID'],
      ['no/domain', 'NAME_INVALID']
    ] as const)
      await assert.rejects(server.registry.pins.add(text, signal), { code }, text)
    await assert.rejects(server.registry.pins.remove('example.org'), { code: 'NAME_UNKNOWN' })
  })

  it('are made beside a collection that runs, and hold from then on', async () => {
    for (let round = 0; round < 5; round++) {
      await client.image(name, `${round}`)
      const root = String(await rootNow())
      await remove(`${round}`)
      const collecting = server.registry.collect({ dryRun: false, signal })
      const pinned = await server.registry.pins.add(root, signal).catch((error: unknown) => error)
      await collecting
      await collect()
      // too late is an error, and in time is all of it
      if (pinned instanceof Error) assert.match(pinned.message, /is not here/)
      else assert.equal(await pull(root, `${round}`), 200)
    }
  })
})
