/** What a collection takes, and what it leaves. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import type { Collected } from '../../src/registry/index.ts'
import {
  type Descriptor,
  descriptor,
  digestOf,
  EMPTY,
  type Made,
  manifest,
  OCI_CONFIG,
  OCI_INDEX,
  type OciClient,
  ociClient,
  withQuery
} from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

const KB = 1024

describe('a collection', function () {
  this.timeout(60_000)
  let server: RegistryServer
  let client: OciClient

  beforeEach(async () => {
    server = await startRegistryServer({ collect: { keepRoots: 0, graceMs: 0 } })
    client = ociClient(server)
  })
  afterEach(() => server.stop())

  const signal = new AbortController().signal

  /** A dry run, which must say the same as the real one after it. */
  async function collect(graceMs?: number): Promise<Collected> {
    const more = graceMs === undefined ? {} : { graceMs }
    const would = await server.registry.collect({ dryRun: true, signal, ...more })
    const did = await server.registry.collect({ dryRun: false, signal, ...more })
    assert.deepEqual({ ...would, dryRun: false }, did)
    return did
  }

  /** Files of blobs, and of their sizes. */
  async function files(): Promise<string[]> {
    const all = await readdir(join(server.folder, 'blobs'), { recursive: true })
    return all.filter((name) => name.includes('/'))
  }

  /** An image of a config and one layer of `kilobytes`, which is in a file of its own from 129 on. */
  async function image(
    name: string,
    reference: string | undefined,
    more: { layer?: Descriptor; fields?: Record<string, unknown>; kilobytes?: number } = {}
  ): Promise<Made & { layer: Descriptor; config: Descriptor }> {
    const config = await client.blob(name, randomBytes(100), OCI_CONFIG)
    const layer = more.layer ?? (await client.blob(name, randomBytes((more.kilobytes ?? 200) * KB)))
    const made = manifest({ config, layers: [layer], ...more.fields })
    await client.put(name, made, reference ?? made.digest)
    return { ...made, layer, config }
  }

  const has = async (name: string, { digest }: { digest: string }, kind = 'blobs') =>
    (await client.call('HEAD', `/v2/${name}/${kind}/${digest}`)).status === 200

  async function index(name: string, tag: string, children: Made[]): Promise<Made> {
    const made = manifest({ manifests: children.map(descriptor) }, OCI_INDEX)
    await client.put(name, made, tag)
    return made
  }

  async function referrer(name: string, subject: Made): Promise<Made> {
    const empty = await client.blob(name, '{}', EMPTY)
    const made = manifest({
      artifactType: 'application/x.sbom',
      config: empty,
      layers: [await client.blob(name, randomBytes(100))],
      subject: descriptor(subject)
    })
    await client.put(name, made)
    return made
  }

  it('leaves everything that is in use', async () => {
    const one = await image('example.com/app', '1')
    const sub = await image('example.com/app/sub', 'x')
    const other = await image('local', '1', { kilobytes: 3000 })
    const { freed, manifests } = await collect()
    assert.deepEqual([freed.blobs, manifests.length, freed.files], [0, 0, 0])
    for (const [name, made] of [
      ['example.com/app', one],
      ['example.com/app/sub', sub],
      ['local', other]
    ] as const) {
      assert.ok(await has(name, made, 'manifests'))
      assert.ok(await has(name, made.layer))
      assert.ok(await has(name, made.config))
    }
    assert.equal((await collect()).freed.rows, 0)
  })

  it('takes a deleted image, its blobs and their files, and keeps what another has too', async () => {
    const one = await image('example.com/app', '1')
    const two = await image('example.com/app', '2', { layer: one.layer })
    const three = await image('example.com/other', '3')
    await client.expect(202, 'DELETE', '/v2/example.com/app/manifests/1')
    await client.expect(202, 'DELETE', `/v2/example.com/other/manifests/${three.digest}`)
    const { manifests, blobs } = await collect()
    assert.deepEqual(
      manifests.map(({ digest }) => digest),
      [one.digest]
    )
    assert.deepEqual(
      blobs.map(({ digest }) => digest).sort(),
      [one.digest, one.config.digest, three.digest, three.layer.digest, three.config.digest].sort()
    )
    assert.ok(await has('example.com/app', two, 'manifests'))
    assert.ok(await has('example.com/app', two.layer))
    assert.deepEqual(await files(), [`${two.layer.digest.slice(7, 9)}/${two.layer.digest.slice(7)}`])
    assert.equal((await client.call('GET', `/v2/example.com/app/manifests/${one.digest}`)).status, 404)
    const again = await collect()
    assert.deepEqual([again.freed.bytes, again.manifests.length], [0, 0])
  })

  it('takes what an overwritten tag pointed at', async () => {
    const one = await image('app', '1')
    const two = await image('app', '1')
    const { blobs } = await collect()
    assert.equal(blobs.length, 3)
    assert.ok(!(await has('app', one, 'manifests')))
    assert.ok(await has('app', two, 'manifests'))
    assert.ok(await has('app', two.layer))
  })

  it('takes a manifest that was deleted by its digest, though a tag that stays once pointed at it', async () => {
    const one = await image('app', '1')
    await image('app', '1')
    await client.expect(202, 'DELETE', `/v2/app/manifests/${one.digest}`)
    const { blobs } = await collect()
    assert.deepEqual(
      blobs.map(({ digest }) => digest).sort(),
      [one.digest, one.config.digest, one.layer.digest].sort()
    )
  })

  it('keeps the children of an index as long as one that has them is tagged', async () => {
    const [arm, amd] = [await image('app', undefined), await image('app', undefined)]
    const attestation = await image('app', undefined)
    const first = await index('app', '1', [arm, amd])
    const second = await index('app', '2', [arm, amd, attestation])
    await client.expect(202, 'DELETE', '/v2/app/manifests/2')
    const { manifests } = await collect()
    assert.deepEqual(manifests.map(({ digest }) => digest).sort(), [attestation.digest, second.digest].sort())
    for (const child of [arm, amd]) {
      assert.ok(await has('app', child, 'manifests'))
      assert.ok(await has('app', child.layer))
    }
    await client.expect(202, 'DELETE', `/v2/app/manifests/${first.digest}`)
    assert.equal((await collect()).freed.blobs, 7)
    assert.deepEqual(await files(), [])
  })

  it('takes referrers with their subject, and the tag of the tag schema too', async () => {
    const made = await image('app', '1')
    const sbom = await referrer('app', made)
    const signature = await referrer('app', sbom)
    const old = await image('app', undefined)
    const list = await index('app', made.digest.replace(':', '-'), [old])
    await collect()
    for (const one of [made, sbom, signature, old, list]) assert.ok(await has('app', one, 'manifests'))
    await client.expect(202, 'DELETE', '/v2/app/manifests/1')
    const { manifests } = await collect()
    assert.deepEqual(
      manifests.map(({ digest }) => digest).sort(),
      [made, sbom, signature, old, list].map(({ digest }) => digest).sort()
    )
    assert.deepEqual(
      manifests.flatMap(({ tags }) => tags),
      [made.digest.replace(':', '-')]
    )
    assert.deepEqual(await files(), [])
    const answer = await client.call('GET', '/v2/app/tags/list')
    assert.equal(answer.status, 404, answer.body.toString())
  })

  it('keeps what was uploaded, until the grace window has passed', async () => {
    const layer = await client.blob('app', randomBytes(200 * KB))
    const { waiting } = await collect(60_000)
    assert.equal(waiting.blobs, 0)
    assert.ok(await has('app', layer))
    assert.equal((await collect(0)).freed.blobs, 1)
    assert.ok(!(await has('app', layer)))
  })

  describe('of what was uploaded before the grace window', () => {
    const HOUR = 3_600_000
    let layer: Descriptor

    beforeEach(async () => {
      layer = await client.blob('app', randomBytes(200 * KB))
      // Nobody has touched it since the start, and its repository was given it long ago.
      await server.restart()
      const { records } = server.store
      const at = new Date(Date.now() - 2 * HOUR).toISOString()
      for await (const [key] of records.list('link/'))
        await records.put(key, Buffer.from(JSON.stringify({ at })))
    })

    it('leaves nothing to its repository', async () => {
      await client.blob('other', randomBytes(KB))
      await client.begin('other')
      await collect(HOUR)
      assert.ok(!(await has('app', layer)))
    })

    it('keeps what belongs to a push whose next blob has begun', async () => {
      await client.begin('app')
      await collect(HOUR)
      assert.ok(await has('app', layer))
    })

    it('keeps what belongs to a push whose next blob has just come', async () => {
      await client.blob('app', randomBytes(KB))
      await collect(HOUR)
      assert.ok(await has('app', layer))
    })

    it('keeps what belongs to a push that sends its next blob, without any grace too', async () => {
      const bytes = randomBytes(100)
      const location = await client.begin('app')
      const body = new PassThrough()
      const sent = client.expect(202, 'PATCH', location, { body })
      body.write(bytes)
      for (let range = ''; range !== '0-99'; )
        range = String((await client.expect(204, 'GET', location)).headers.range)
      await collect(0)
      body.end()
      await sent
      await client.expect(201, 'PUT', withQuery(location, `digest=${digestOf(bytes)}`))
      const config = { mediaType: OCI_CONFIG, digest: digestOf(bytes), size: bytes.length }
      await client.put('app', manifest({ config, layers: [layer] }), '1')
      assert.ok(await has('app', layer))
    })
  })

  it('keeps what was pushed or asked for within the grace window', async () => {
    const one = await image('app', '1')
    await client.expect(202, 'DELETE', `/v2/app/manifests/${one.digest}`)
    const { waiting, freed } = await collect(60_000)
    assert.deepEqual([waiting.blobs, freed.blobs], [3, 0])
  })

  it('keeps the last published roots with all they hold', async () => {
    await server.restart({ collect: { keepRoots: 2, graceMs: 0 } })
    const { registry } = server
    const made: Made[] = []
    const note = async () => registry.history.note('local', (await registry.root('local'))!)
    for (const text of ['a', 'b', 'c']) {
      made.push(await image('app', '1', { fields: { annotations: { text } } }))
      await note()
    }
    const roots = await registry.history.list('local')
    assert.deepEqual(
      roots.map(({ n }) => n),
      [3, 2]
    )
    // The second root has the first image too: a tag that is overwritten leaves its manifest in the tree.
    assert.equal((await collect()).freed.blobs, 0)
    await note()
    await image('app', '2')
    await note()
    await collect()
    const [, older] = await registry.history.list('local')
    const { status } = await client.call('GET', `/v2/ipfs/${older?.root}/app/manifests/1`)
    assert.equal(status, 200)
    assert.ok(!(await has('app', made[0] as Made, 'manifests')))
  })

  it('takes files that a crash left without a row', async () => {
    const one = await image('app', '1')
    const { writeFile } = await import('node:fs/promises')
    const name = `ab${'0'.repeat(62)}`
    await writeFile(join(server.folder, 'blobs', 'ab', name), Buffer.alloc(5000))
    const { freed } = await collect()
    assert.deepEqual([freed.files, freed.fileBytes], [1, 5000])
    assert.ok(await has('app', one.layer))
    assert.equal((await files()).length, 1)
  })

  it('lets a push succeed that relies on what is being collected', async () => {
    const layers = await Promise.all(
      Array.from({ length: 40 }, () => client.blob('app', randomBytes(130 * KB)))
    )
    for (let round = 0; round < 5; round++) {
      const made = await Promise.all(
        layers.map((layer, i) =>
          image('app', `${i}`, { layer, fields: { annotations: { round: `${round}` } } })
        )
      )
      await Promise.all(made.map((_, i) => client.expect(202, 'DELETE', `/v2/app/manifests/${i}`)))
      const collecting = server.registry.collect({ dryRun: false, signal })
      // As a client pushes: ask, upload what isn't there, put the manifest.
      await Promise.all(
        layers.map(async (layer, i) => {
          const config = await client.blob('app', `${round} ${i}`, OCI_CONFIG)
          const there = await has('app', layer)
          const used = there ? layer : await client.blob('app', randomBytes(130 * KB))
          const again = manifest({ config, layers: [used], annotations: { again: `${round}` } })
          await client.put('app', again, `${i}`)
          layers[i] = used
        })
      )
      await collecting
      for (const [i, layer] of layers.entries()) {
        const answer = await client.expect(200, 'GET', `/v2/app/blobs/${layer.digest}`)
        assert.equal(answer.body.length, layer.size)
        await client.expect(200, 'GET', `/v2/app/manifests/${i}`)
      }
    }
  })
})
