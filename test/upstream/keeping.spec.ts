/** What becomes of images of which only a part was pulled through: they are in the tree, and not all of them is here. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { digestOf, ociClient } from '../support/oci-client.ts'
import { type PullThroughBed, startPullThrough } from '../support/pull-through-bed.ts'
import { startRegistryServer } from '../support/registry-server.ts'

describe('limits of a gateway that pulls through', function () {
  this.timeout(60_000)
  const layer = () => randomBytes(2_000_000)

  it('count what was pulled through as cache, which makes room for a push', async () => {
    const limits = { store: 3_000_000, domains: new Map() }
    const bed = await startPullThrough({ server: { limits } })
    try {
      const image = bed.there.image('a/b', '1', [layer()])
      await bed.pull('up.example/a/b', '1')
      await bed.settled(image.layers[0] as string)
      const own = await bed.client.blob('app', layer())
      assert.deepEqual([await bed.has(image.layers[0]), await bed.has(own.digest)], [false, true])
      await bed.client.image('app', '1')
      await bed.pull('up.example/a/b', '1')
    } finally {
      await bed.stop()
    }
  })

  it('of a domain hold for what is pushed there, and not for what is pulled', async () => {
    const limits = { store: undefined, domains: new Map([['up.example', 1_000_000]]) }
    const bed = await startPullThrough({ server: { limits } })
    try {
      const image = bed.there.image('a/b', '1', [layer()])
      await bed.pull('up.example/a/b', '1')
      await bed.settled(image.layers[0] as string)
      await bed.client.image('up.example/a/b', 'own')
      const location = await bed.client.begin('up.example/a/b')
      const body = layer()
      const answer = await bed.client.call('PUT', `${location}?digest=${digestOf(body)}`, { body })
      assert.equal(answer.code, 'DENIED')
      const { domains } = await bed.server.registry.usage(undefined, new AbortController().signal, () => {})
      const used = domains.find(({ name }) => name === 'up.example')
      assert.ok((used?.onDisk ?? 0) > 2_000_000)
      assert.equal(used?.percent, 0)
    } finally {
      await bed.stop()
    }
  })
})

describe('an image that was pulled through in part', function () {
  this.timeout(60_000)
  let bed: PullThroughBed
  let image: ReturnType<PullThroughBed['there']['image']>
  let first: string
  let second: string
  const { signal } = new AbortController()
  const down: PullThroughBed['there']['fault'] = (_, res) => {
    res.destroy()
    return true
  }

  beforeEach(async () => {
    bed = await startPullThrough()
    image = bed.there.image('a/b', '1', [randomBytes(1_500_000), randomBytes(1_600_000)])
    ;[first = '', second = ''] = image.layers
    await bed.get('up.example/a/b/manifests/1')
    await bed.get(`up.example/a/b/blobs/${first}`)
    await bed.settled(first, 'up.example/a/b')
  })
  afterEach(() => bed.stop())

  const verify = () =>
    bed.server.registry.verification.run({ rate: undefined, restart: true }, signal, () => {})
  const collect = () => bed.server.registry.collect({ dryRun: false, graceMs: 0, signal })

  it('is nothing that verify minds, or that a collection takes', async () => {
    const before = await verify()
    assert.deepEqual([before.damaged, before.bad, before.rootless], [0, 0, []])
    const { freed } = await collect()
    assert.equal(freed.blobs, 0)
    const asked = bed.there.count(/manifests|blobs/)
    await bed.get('up.example/a/b/manifests/1')
    await bed.get(`up.example/a/b/blobs/${first}`)
    assert.equal(bed.there.count(/manifests|blobs/), asked)
    await bed.pull('up.example/a/b', '1')
    await bed.settled(second)
    bed.there.fault = down
    await bed.restart()
    await collect()
    await bed.pull('up.example/a/b', '1')
  })

  it('stays by its digest while all of it is in the cache, whatever its tag is now', async () => {
    const index = bed.there.index('a/b', 'many', [image])
    await bed.pull('up.example/a/b', image.digest)
    await bed.settled(second)
    await bed.get(`up.example/a/b/manifests/many`)
    const own = await bed.client.image('up.example/a/b', 'own')
    bed.there.image('a/b', '1', ['moved'])
    bed.there.image('a/b', 'many', ['moved too'])
    await bed.restart({ ttlMs: 0 })
    for (const tag of ['1', 'many']) await bed.get(`up.example/a/b/manifests/${tag}`)
    await bed.client.expect(202, 'DELETE', '/v2/up.example/a/b/manifests/own')
    bed.there.fault = down
    await bed.restart()
    await collect()
    await bed.pull('up.example/a/b', image.digest)
    assert.equal((await bed.get(`up.example/a/b/manifests/${index.digest}`)).status, 200)
    assert.equal(await bed.has(own.digest), false, 'what was pushed here goes with its tag')
    await bed.restart({ server: { collect: { cacheLimit: 1000, graceMs: 0 } } })
    await collect()
    await collect()
    assert.equal(await bed.has(image.digest), false, 'and so it does when its layers have left')
  })

  it('is had by others as far as it is here', async () => {
    // it ends when what came is in the tree
    await bed.restart()
    const root = await bed.server.publish('up.example')
    const reader = await startRegistryServer({ dns: bed.server.dns })
    const other = ociClient(reader)
    try {
      for (const name of ['up.example/a/b', `ipfs/${root}/up.example/a/b`]) {
        const { body } = await other.expect(200, 'GET', `/v2/${name}/manifests/1`)
        assert.deepEqual(body, image.bytes)
        await other.expect(200, 'GET', `/v2/${name}/blobs/${first}`)
        const none = await other.expect(404, 'GET', `/v2/${name}/blobs/${second}`)
        assert.equal(none.code, 'BLOB_UNKNOWN')
      }
    } finally {
      await reader.stop()
    }
  })

  it('is no source for other repositories, which have not got it', async () => {
    const mount = (digest: string) =>
      bed.client.call('POST', `/v2/up.example/x/blobs/uploads/?mount=${digest}&from=up.example/a/b`)
    assert.equal((await mount(second)).status, 202, 'it must be sent')
    assert.equal((await mount(first)).status, 201)
    bed.there.fault = (_, res) => {
      res.writeHead(404).end()
      return true
    }
    await bed.client.expect(404, 'HEAD', `/v2/up.example/y/blobs/${first}`)
    await bed.client.expect(404, 'GET', `/v2/up.example/y/blobs/${second}`)
  })

  it('is had again from the upstream where it is damaged', async () => {
    const hex = first.slice(7)
    const file = join(bed.server.folder, 'blobs', hex.slice(0, 2), hex)
    const bytes = await readFile(file)
    bytes[5] = (bytes[5] as number) ^ 1
    await writeFile(file, bytes)
    const report = await verify()
    assert.deepEqual([report.damaged, report.bad], [1, 0], JSON.stringify(report.found))
    assert.match(report.found[0]?.outcome ?? '', /fetched again from up\.example/)
    bed.there.fault = down
    await bed.get(`up.example/a/b/blobs/${first}`)
  })

  it('goes when it is removed, and comes again when it is asked for', async () => {
    const removed = { images: ['up.example/a/b:1'], all: false, dryRun: false }
    await bed.server.registry.images.remove(removed, signal)
    await bed.server.registry.images.remove(
      { ...removed, images: [`up.example/a/b@${image.digest}`] },
      signal
    )
    await collect()
    assert.equal(await bed.has(image.digest), false)
    await bed.pull('up.example/a/b', '1')
  })
})
