/** The roots that were published: listed, compared, and made current again. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import {
  descriptor,
  type Made,
  manifest,
  OCI_CONFIG,
  OCI_INDEX,
  type OciClient,
  ociClient
} from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

describe('the history of a domain', function () {
  this.timeout(60_000)
  let server: RegistryServer
  let client: OciClient
  const signal = new AbortController().signal
  const domain = 'example.com'

  beforeEach(async () => {
    server = await startRegistryServer({ collect: { keepRoots: 3, graceMs: 0 } })
    client = ociClient(server)
  })
  afterEach(() => server.stop())

  async function publish(): Promise<CID> {
    const root = await server.registry.root(domain)
    assert.ok(root)
    await server.registry.history.note(domain, root)
    return root
  }

  it('lists what changed from one root to the next, and keeps as many as it is told', async () => {
    await client.image('example.com/app', '1')
    await publish()
    await client.image('example.com/app', '2')
    await client.image('example.com/team/tool', 'x')
    await publish()
    await client.image('example.com/app', '1', 'other')
    await publish()
    // twice is once
    await publish()
    await client.expect(202, 'DELETE', '/v2/example.com/team/tool/manifests/x')
    await publish()
    const entries = await server.registry.historyLog.list(domain, signal)
    assert.deepEqual(
      entries.map(({ n, current, changes }) => ({ n, current, changes })),
      [
        { n: 4, current: true, changes: [{ image: 'example.com/team/tool:x', change: 'removed' }] },
        { n: 3, current: false, changes: [{ image: 'example.com/app:1', change: 'changed' }] },
        { n: 2, current: false, changes: [] }
      ]
    )
  })

  it('says what changed in a repository with very many tags', async () => {
    const made = await client.image('example.com/app', 'first')
    await Promise.all(Array.from({ length: 700 }, (_, i) => client.put('example.com/app', made, `t${i}`)))
    await publish()
    await client.put('example.com/app', made, 'one-more')
    await client.expect(202, 'DELETE', '/v2/example.com/app/manifests/t77')
    await publish()
    const [entry] = await server.registry.historyLog.list(domain, signal)
    assert.deepEqual(entry?.changes, [
      { image: 'example.com/app:one-more', change: 'added' },
      { image: 'example.com/app:t77', change: 'removed' }
    ])
  })

  it('makes a root current again with all that it held', async () => {
    const layer = await client.blob('example.com/app', randomBytes(200_000))
    const old = await client.image('example.com/app', '1', 'old', { annotations: { with: layer.digest } })
    const first = await publish()
    await client.image('example.com/app', '1', 'new')
    await client.image('example.com/new', '1', 'new')
    await publish()
    await client.expect(202, 'DELETE', `/v2/example.com/app/manifests/${old.digest}`)
    await publish()
    await server.registry.collect({ dryRun: false, signal })
    const restored = await server.registry.historyLog.restore(domain, '1', signal)
    assert.equal(String(restored.root), String(first))
    assert.equal(String(await server.registry.root(domain)), String(first))
    const { body } = await client.expect(200, 'GET', '/v2/example.com/app/manifests/1')
    assert.deepEqual(body, old.bytes)
    const { layers } = JSON.parse(body.toString()) as { layers: { digest: string }[] }
    for (const { digest } of layers) await client.expect(200, 'GET', `/v2/example.com/app/blobs/${digest}`)
    await client.expect(404, 'GET', '/v2/example.com/new/manifests/1')
    // and it is written to as before
    await client.image('example.com/app', '3', 'three')
    await client.expect(200, 'GET', '/v2/example.com/app/manifests/3')
  })

  describe('with roots that move no tag', () => {
    const numbers = async () => (await server.registry.history.list(domain)).map(({ n }) => n)
    const noteNow = async (how: 'printed' | 'published' = 'printed') => {
      const root = await server.registry.root(domain)
      assert.ok(root)
      await server.registry.history.note(domain, root, how)
    }
    /** An index is pushed as clients do it, children first, and slowly. */
    async function pushIndex(tag: string, how?: 'published'): Promise<void> {
      const name = 'example.com/app'
      const children: Made[] = []
      for (let i = 0; i < 4; i++) {
        const config = await client.blob(name, JSON.stringify({ architecture: `${tag} ${i}` }), OCI_CONFIG)
        const child = manifest({ config, layers: [] })
        await client.put(name, child)
        children.push(child)
        await noteNow(how)
      }
      await client.put(name, manifest({ manifests: children.map(descriptor) }, OCI_INDEX), tag)
      await noteNow(how)
    }

    it('gives them no room of others: an index is one change, and a collection is none', async () => {
      for (const tag of ['1', '2', '3']) {
        await pushIndex(tag)
        await client.put('example.com/app', manifest({ manifests: [] }, OCI_INDEX))
        await noteNow()
        await server.registry.collect({ dryRun: false, signal })
        await noteNow()
      }
      const entries = await server.registry.historyLog.list(domain, signal)
      assert.deepEqual(
        entries.flatMap(({ changes }) => changes.map(({ image }) => image)),
        ['example.com/app:3', 'example.com/app:2']
      )
      assert.ok(entries[0]?.current)
      for (const { root } of entries) await client.expect(200, 'GET', `/v2/ipfs/${root}/app/manifests/1`)
      // one beside each that moved tags, at most
      assert.ok(entries.length <= 6, JSON.stringify(entries))
    })

    it('keeps the root that moved tags beside the one that came after, and their numbers', async () => {
      await client.image('example.com/app', '1')
      const first = await publish()
      await pushIndex('2')
      assert.deepEqual(await numbers(), [6, 5, 1])
      assert.equal(String((await server.registry.history.resolve(`${domain}@1`)).root), String(first))
    })

    it('keeps each that was published', async () => {
      await client.image('example.com/app', '1')
      await publish()
      await pushIndex('2', 'published')
      assert.deepEqual(await numbers(), [6, 5, 4])
      // also where that was printed before
      await client.put('example.com/app', manifest({ manifests: [] }, OCI_INDEX))
      await noteNow()
      await noteNow('published')
      assert.deepEqual(await numbers(), [7, 6, 5])
      await server.registry.collect({ dryRun: false, graceMs: 0, signal })
      await noteNow()
      assert.deepEqual(await numbers(), [8, 7, 6, 5])
    })
  })

  it('resolves domain@N and domain@CID, and says when there is none', async () => {
    await client.image('example.com/app', '1')
    const first = await publish()
    await client.image('example.com/app', '2')
    const { history } = server.registry
    assert.equal(String((await history.resolve('example.com@1')).root), String(first))
    assert.equal(String((await history.resolve(`example.com@${first}`)).root), String(first))
    assert.notEqual(String((await history.resolve('example.com')).root), String(first))
    await assert.rejects(history.resolve('example.com@7'), /no published root '7'/)
    await assert.rejects(history.resolve('other.example@1'), /no registry tree/)
  })
})
