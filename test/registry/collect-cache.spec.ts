/** What was pulled from elsewhere: it is no garbage, and leaves by least recent use. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import {
  type Descriptor,
  type Made,
  manifest,
  OCI_CONFIG,
  type OciClient,
  ociClient
} from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

const KB = 1024
const none = { keepRoots: 0, graceMs: 0 }

describe('a cache', function () {
  this.timeout(60_000)
  let publisher: RegistryServer
  let gateway: RegistryServer
  let there: OciClient
  let here: OciClient
  const images: (Made & { layer: Descriptor })[] = []
  const signal = new AbortController().signal

  beforeEach(async () => {
    publisher = await startRegistryServer()
    gateway = await startRegistryServer({ dns: publisher.dns, collect: none })
    there = ociClient(publisher)
    here = ociClient(gateway)
    images.length = 0
    for (let i = 0; i < 4; i++) {
      const config = await there.blob('example.com/app', randomBytes(100), OCI_CONFIG)
      const layer = await there.blob('example.com/app', randomBytes(300 * KB))
      const made = manifest({ config, layers: [layer] })
      await there.put('example.com/app', made, `${i}`)
      images.push({ ...made, layer })
    }
    await publisher.publish('example.com')
  })
  afterEach(async () => {
    await gateway.stop()
    await publisher.stop()
  })

  async function pull(i: number): Promise<void> {
    await here.expect(200, 'GET', `/v2/example.com/app/manifests/${i}`)
    const made = JSON.parse(images[i]?.bytes.toString() ?? '') as { config: Descriptor; layers: Descriptor[] }
    for (const { digest, size } of [made.config, ...made.layers]) {
      const { body } = await here.expect(200, 'GET', `/v2/example.com/app/blobs/${digest}`)
      assert.equal(body.length, size)
    }
    // a transfer's clients have all bytes a moment before the blob is in the store
    await stored(images[i]?.layer.digest ?? '')
  }

  async function stored(digest: string): Promise<void> {
    while ((await gateway.store.blobs.stat(digest as never)) === undefined)
      await new Promise((resolve) => setImmediate(resolve))
  }

  const has = async (i: number) =>
    (await gateway.store.blobs.stat((images[i]?.layer.digest ?? '') as never)) !== undefined

  it('is no garbage, and can be read when its publisher is gone', async () => {
    await pull(0)
    const did = await gateway.registry.collect({ dryRun: false, signal })
    assert.deepEqual([did.freed.blobs, did.freed.rows], [0, 0])
    assert.ok(did.cachedBytes > 300 * KB)
    await gateway.restart({ dns: publisher.dns, collect: none })
    await publisher.stop()
    publisher = await startRegistryServer({ dns: publisher.dns })
    await pull(0)
  })

  it('gives up what was used least lately when it is over its limit', async () => {
    await gateway.restart({ dns: publisher.dns, collect: { ...none, cacheLimit: 1000 * KB } })
    for (const i of [0, 1, 2]) await pull(i)
    await pull(0)
    await gateway.restart({ dns: publisher.dns, collect: { ...none, cacheLimit: 700 * KB } })
    const would = await gateway.registry.collect({ dryRun: true, signal })
    const did = await gateway.registry.collect({ dryRun: false, signal })
    assert.deepEqual({ ...would, dryRun: false }, did)
    assert.ok(did.blobs.every(({ why }) => why === 'cache'))
    assert.ok(did.cachedBytes <= 700 * KB)
    assert.deepEqual([await has(0), await has(1), await has(2)], [true, false, true])
    // and it comes back when it is wanted
    await pull(1)
  })

  it('makes room by itself when something new comes', async () => {
    await gateway.restart({ dns: publisher.dns, collect: { ...none, cacheLimit: 700 * KB } })
    for (const i of [0, 1, 2, 3]) await pull(i)
    await gateway.registry.settled()
    assert.equal(await has(3), true)
    assert.equal(await has(0), false)
  })

  it('never gives up what a tree of our own has', async () => {
    await pull(0)
    await pull(1)
    // The layer of the first becomes part of an image here.
    const [first] = images as [Made & { layer: Descriptor }]
    const config = await here.blob('own', randomBytes(100), OCI_CONFIG)
    await here.expect(201, 'POST', `/v2/own/blobs/uploads/?mount=${first.layer.digest}`)
    await here.put('own', manifest({ config, layers: [first.layer] }), '1')
    await gateway.restart({ dns: publisher.dns, collect: { ...none, cacheLimit: 0 } })
    await gateway.registry.collect({ dryRun: false, signal })
    assert.deepEqual([await has(0), await has(1)], [true, false])
    const { body } = await here.expect(200, 'GET', `/v2/own/blobs/${first.layer.digest}`)
    assert.equal(body.length, first.layer.size)
    // When it is deleted there, it is cache again.
    await here.expect(202, 'DELETE', '/v2/own/manifests/1')
    await gateway.restart({ dns: publisher.dns, collect: { ...none, cacheLimit: 0 } })
    await gateway.registry.collect({ dryRun: false, signal })
    assert.equal(await has(0), false)
  })

  it('makes room for a push out of what can go, whatever trees of our own hold', async () => {
    for (const i of [0, 1]) await pull(i)
    // This tree begins from the published one, and so holds what was pulled.
    await here.image('example.com/app', 'ours', 'small')
    const other = await there.blob('other.example/app', randomBytes(300 * KB))
    const config = await there.blob('other.example/app', randomBytes(100), OCI_CONFIG)
    await there.put('other.example/app', manifest({ config, layers: [other] }), '1')
    await publisher.publish('other.example')
    const used = await gateway.registry.quota.storeBytes(signal)
    const limits = { store: used + 400 * KB, domains: new Map() }
    await gateway.restart({ dns: publisher.dns, collect: none, limits })
    await here.expect(200, 'GET', '/v2/other.example/app/manifests/1')
    await here.expect(200, 'GET', `/v2/other.example/app/blobs/${other.digest}`)
    await stored(other.digest)
    await here.blob('own', randomBytes(300 * KB))
    assert.equal(await gateway.store.blobs.stat(other.digest as never), undefined)
    assert.deepEqual([await has(0), await has(1)], [true, true])
  })
})
