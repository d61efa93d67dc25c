import assert from 'node:assert/strict'
import { exporter } from 'ipfs-unixfs-exporter'
import type { CID } from 'multiformats/cid'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { OCI_INDEX, OCI_MANIFEST } from '../../src/oci/media-types.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import {
  type Change,
  type Content,
  createDirectories,
  createTreeWriter,
  joinChanges,
  type LoadBlock,
  mergeTrees,
  previewChange,
  putManifest,
  removeBlob,
  removeManifest,
  removeRepository,
  removeTag,
  type TreeView,
  type TreeWriter
} from '../../src/tree/index.ts'
import { imageLayoutPath } from '../../src/tree/layout.ts'
import { type Random, randomOf } from '../fuzz/random.ts'
import { tempFolder } from '../support/temp.ts'

const signal = new AbortController().signal

describe('image layouts beside the registry', function () {
  this.timeout(60_000)
  const folder = tempFolder()
  let store: Store
  let trees: TreeWriter
  before(async () => void (store = await openStore({ folder: folder.path, reserve: 0 })))
  beforeEach(() => void (trees = writer()))
  after(async () => {
    await store.close()
    await folder.remove()
  })

  const load: LoadBlock = async (cid) => (await store.blocks.find(cid)) ?? assert.fail(`${cid} was not kept`)
  const writer = (blocks: Store['blocks'] = store.blocks) =>
    createTreeWriter({
      blocks,
      records: store.records,
      directories: createDirectories(),
      load: () => load,
      deadlineMs: 30_000
    })

  let bodies = 0
  async function keep(bytes: Buffer): Promise<Content & { size: number }> {
    const body = store.incoming.create(`layout-${bodies++}`)
    await body.append(bytes)
    const blob = await store.blobs.commit(body, digestOf(bytes))
    return { digest: blob.digest, link: { cid: blob.cid, size: blob.dagSize }, size: bytes.length }
  }

  /** A manifest of its own, and the change that pushes it. */
  async function image(name: string, text: string, tags: readonly string[], base = 'base'): Promise<Change> {
    const descriptor = (mediaType: string, { digest, size }: { digest: Digest; size: number }) => ({
      mediaType,
      digest,
      size
    })
    const config = await keep(Buffer.from(`config of ${text}`))
    const layers = [await keep(Buffer.from(`layer ${base}`)), await keep(Buffer.from(`layer of ${text}`))]
    const document = {
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      config: descriptor('application/vnd.oci.image.config.v1+json', config),
      layers: layers.map((layer) => descriptor('application/vnd.oci.image.layer.v1.tar', layer))
    }
    const manifest = await keep(Buffer.from(JSON.stringify(document)))
    const blobs = [config, ...layers]
    const listed = descriptor(OCI_MANIFEST, manifest)
    return putManifest({ name, manifest, tags, blobs, subject: undefined, mediaType: undefined, listed })
  }

  /** An index of what a repository has, which doesn't say its own type; larger than one leaf if asked for. */
  async function list(view: TreeView, name: string, tag: string, large: boolean): Promise<Change> {
    const manifests = []
    for await (const digest of view.manifests(name, signal))
      manifests.push({ mediaType: OCI_MANIFEST, digest, size: 1 })
    const annotations = large ? { padding: 'x'.repeat(1_200_000) } : {}
    const manifest = await keep(Buffer.from(JSON.stringify({ schemaVersion: 2, manifests, annotations })))
    const listed = { mediaType: OCI_INDEX, digest: manifest.digest, size: manifest.size }
    return putManifest({
      name,
      manifest,
      tags: [tag],
      blobs: [],
      subject: undefined,
      mediaType: undefined,
      listed
    })
  }

  const blockstore = {
    get: (cid: CID) =>
      (async function* () {
        yield await load(cid, signal)
      })()
  }
  async function read(root: CID, path: string): Promise<string> {
    const entry = await exporter(`${root}/${path}`, blockstore)
    assert.ok(entry.type === 'file' || entry.type === 'raw')
    const chunks: Uint8Array[] = []
    for await (const chunk of entry.content()) chunks.push(chunk)
    return Buffer.concat(chunks).toString()
  }

  const rootOf = async (domain: string): Promise<CID> => (await trees.root(domain)) ?? assert.fail('no tree')

  /** What layouts should say, worked out from the registry alone, against what they say. */
  async function assertRight(domain: string): Promise<void> {
    await rootOf(domain)
    const view = (await trees.view(domain)) ?? assert.fail('no tree')
    const directories = createDirectories()
    const resolve = (path: string) =>
      directories.resolve({ cid: view.root, size: 0 }, path.split('/'), load, signal)
    for await (const name of view.repositories('', signal)) {
      const layout = imageLayoutPath(name).join('/')
      assert.equal(await read(view.root, `${layout}/oci-layout`), '{"imageLayoutVersion":"1.0.0"}')
      const tags = new Map<string, Digest | undefined>()
      for (const tag of await view.tags(name, signal)) tags.set(tag, await view.tag(name, tag, signal))
      const { manifests } = JSON.parse(await read(view.root, `${layout}/index.json`)) as {
        manifests: { mediaType: string; digest: Digest; size: number; annotations: Record<string, string> }[]
      }
      assert.deepEqual(
        Object.fromEntries(manifests.map((one) => [Object.values(one.annotations)[0], one.digest])),
        Object.fromEntries(tags)
      )
      const digests = new Set<Digest>()
      for await (const digest of view.manifests(name, signal)) digests.add(digest)
      for await (const digest of view.layers(name, signal)) digests.add(digest)
      const blobs = await resolve(`${layout}/blobs/sha256`)
      const names = blobs === undefined ? [] : await directories.names(blobs.cid, load, signal)
      assert.deepEqual([...names], [...digests].map((digest) => digest.slice(7)).sort())
      for (const digest of digests) {
        const link = await resolve(`${layout}/blobs/sha256/${digest.slice(7)}`)
        assert.deepEqual(link, await view.blob(digest, signal))
      }
      for (const { digest, size, mediaType } of manifests) {
        const text = await read(view.root, `${layout}/blobs/sha256/${digest.slice(7)}`)
        assert.deepEqual([digestOf(Buffer.from(text)), text.length], [digest, size])
        assert.equal(mediaType, text.includes('"layers"') ? OCI_MANIFEST : OCI_INDEX)
      }
    }
  }

  /** The root that a tree gets when its layouts are begun, all at once, from the registry alone. */
  async function afresh(domain: string, fresh: string): Promise<CID> {
    const view = (await trees.view(domain)) ?? assert.fail('no tree')
    const docker = await createDirectories().resolve({ cid: view.root, size: 0 }, ['docker'], load, signal)
    const touches = []
    for await (const repository of view.repositories('', signal)) touches.push({ repository })
    await trees.change(fresh, { edits: [{ path: ['docker'], link: docker }], blocks: [] }, { signal })
    return trees.change(fresh, { edits: [], blocks: [], touches }, { signal })
  }

  /** One change at random, as clients make them. */
  async function step(
    random: Random,
    text: string
  ): Promise<Change | ((view: TreeView | undefined) => Promise<Change | undefined>)> {
    const name = random.pick([
      'd.example/app',
      'd.example/app/blobs',
      'd.example/index.json',
      'd.example/web'
    ])
    const tag = `t${random.below(12)}`
    const some = async (items: AsyncIterable<Digest>): Promise<Digest | undefined> => {
      const all: Digest[] = []
      for await (const item of items) all.push(item)
      return all.length === 0 ? undefined : random.pick(all)
    }
    const kind = random.below(12)
    if (kind < 6)
      return image(name, text, random.oneIn(5) ? [] : [tag, `${tag}-too`], `base ${random.below(3)}`)
    return async (view) => {
      if (view === undefined) return undefined
      if (kind === 6) return list(view, name, tag, random.oneIn(4))
      if (kind <= 8) return removeTag(name, tag)
      if (kind === 9) return random.oneIn(6) ? removeRepository(name) : removeTag(name, `${tag}-too`)
      if (kind === 10) {
        const layer = await some(view.layers(name, signal))
        return layer && removeBlob(name, layer)
      }
      const digest = await some(view.manifests(name, signal))
      if (digest === undefined) return undefined
      const tags = []
      for (const each of await view.tags(name, signal))
        if ((await view.tag(name, each, signal)) === digest) tags.push(each)
      return removeManifest(name, digest, tags, undefined)
    }
  }

  for (const seed of [1, 2, 3]) {
    it(`are what one makes of the registry afresh, after any changes (seed ${seed})`, async () => {
      const domain = `seed${seed}.example`
      const random = randomOf(seed, 0)
      await trees.change(domain, await image('d.example/first', `${seed}`, ['1']), { signal })
      for (let round = 0; round < 12; round++) {
        const jobs = []
        for (let i = 1 + random.below(8); i > 0; i--) jobs.push(await step(random, `${seed} ${round} ${i}`))
        // Together, so that what comes in one group is in one change.
        await Promise.allSettled(jobs.map((job) => trees.change(domain, job, { signal })))
        await assertRight(domain)
        if (random.oneIn(4)) trees = writer()
        assert.equal(
          String(await afresh(domain, `${domain}.${round}`)),
          String(await rootOf(domain)),
          `round ${round}`
        )
      }
    })
  }

  it('are the same whatever order pushes came in, and however they were grouped', async () => {
    const changes = await Promise.all(
      Array.from({ length: 60 }, (_, i) => image('d/app', `order ${i}`, [`t${i}`]))
    )
    for (const change of changes) await trees.change('one.order', change, { signal })
    await Promise.all(changes.toReversed().map((change) => trees.change('two.order', change, { signal })))
    assert.equal(String(await rootOf('one.order')), String(await rootOf('two.order')))
  })

  it('stay behind while pushes come fast, and lose none of them in a crash', async () => {
    let left = Number.POSITIVE_INFINITY
    const commit: typeof store.blocks.commit = async (...changes) => {
      if (left-- <= 0) throw new Error('the machine went down')
      return store.blocks.commit(...changes)
    }
    const find: typeof store.blocks.find = (cid) => store.blocks.find(cid)
    trees = writer({ find, commit } as Store['blocks'])
    await trees.change('fast', await image('d/app', 'first', ['first']), { signal })
    const changes = await Promise.all(
      Array.from({ length: 60 }, (_, i) => image('d/app', `fast ${i}`, [`t${i}`]))
    )
    const pushAll = (): Promise<unknown> =>
      Promise.allSettled(
        [0, 1, 2].map(async (offset) => {
          for (let i = offset; i < changes.length; i += 3)
            await trees.change('fast', changes[i] as Change, { signal })
        })
      )
    const outstanding = async (): Promise<number> => {
      let count = 0
      for await (const _ of store.records.list('layouts/fast/')) count++
      return count
    }
    left = 9
    await pushAll()
    assert.ok((await outstanding()) > 0)
    trees = writer()
    await trees.change('fast', await image('d/app', 'after', ['after']), { signal })
    assert.equal(await outstanding(), 0)
    await assertRight('fast')
    assert.equal(String(await afresh('fast', 'fast.fresh')), String(await rootOf('fast')))
  })

  it('begin with all of a repository that is here when a tree without them is changed', async () => {
    for (let i = 0; i < 5; i++)
      await trees.change('old', await image('d/app', `old ${i}`, [`t${i}`]), { signal })
    await trees.change('old', { edits: [{ path: ['oci'], link: undefined }], blocks: [] }, { signal })
    await trees.change('old', await image('d/app', 'new', ['new']), { signal })
    await assertRight('old')
    await trees.change('old', { edits: [{ path: ['oci'], link: undefined }], blocks: [] }, { signal })
    await trees.change('old', async () => removeTag('d/app', 't1'), { signal })
    await assertRight('old')
  })

  it('take the place of what another program put there', async () => {
    await trees.change('odd', await image('d/app', 'odd', ['odd']), { signal })
    const file = await keep(Buffer.from('something else'))
    for (const path of [['oci'], ['oci', 'd'], ['oci', 'd', 'app'], ['oci', 'd', 'app', 'index.json']]) {
      await trees.change('odd', { edits: [{ path, link: file.link }], blocks: [] }, { signal })
      await trees.change('odd', await image('d/app', `odd ${path.length}`, ['more']), { signal })
      await assertRight('odd')
    }
  })

  it('come back with the root that is restored', async () => {
    const early = await trees.change('back', await image('d/app', 'early', ['early']), { signal })
    await trees.change('back', await image('d/app', 'late', ['late']), { signal })
    const top = async (name: string) =>
      createDirectories().resolve({ cid: early, size: 0 }, [name], load, signal)
    const edits = [
      { path: ['docker'], link: await top('docker') },
      { path: ['oci'], link: await top('oci') }
    ]
    await Promise.all([
      trees.change('back', await image('d/app', 'beside', ['beside']), { signal }),
      trees.change('back', async () => ({ edits, blocks: [] }), { signal })
    ])
    assert.equal(String(await rootOf('back')), String(early))
  })

  it('are foretold with a change', async () => {
    const one = await image('d/app', 'one', ['one'])
    await trees.change('tell', one, { signal })
    await trees.change('tell', await image('d/app', 'two', ['two']), { signal })
    const root = await rootOf('tell')
    const change = joinChanges([removeTag('d/app', 'one'), removeTag('d/app', 'two')])
    const told = await previewChange(root, change, load, signal)
    assert.equal(String(told.root), String(await trees.change('tell', async () => change, { signal })))
    await assertRight('tell')
  })

  it('follow a merge', async () => {
    const base = await trees.change('base.merge', await image('d/app', 'base', ['base', 'moved']), { signal })
    const from = { signal, base: async () => base }
    const push = async (domain: string, ...changes: (Change | (() => Promise<Change>))[]): Promise<CID> => {
      for (const change of changes) await trees.change(domain, change, from)
      return rootOf(domain)
    }
    const ours = await push('ours.merge', await image('d/app', 'ours', ['ours']))
    const theirs = await push(
      'theirs.merge',
      await image('d/app', 'theirs', ['theirs', 'moved']),
      await image('d/other', 'other', ['other']),
      async () => removeTag('d/app', 'base')
    )
    const directories = createDirectories()
    const merge = await mergeTrees({ base, ours, theirs, domain: 'd', directories, load, signal })
    assert.equal(merge.conflicts.length, 0)
    await trees.change('ours.merge', async () => merge.change, { signal })
    const root = await rootOf('ours.merge')
    await assertRight('ours.merge')
    assert.equal(String(await afresh('ours.merge', 'fresh.merge')), String(root))
    const text = await read(root, 'oci/d/app/index.json')
    for (const tag of ['ours', 'theirs', 'moved']) assert.ok(text.includes(`"${tag}"`), tag)
    assert.ok(!text.includes('"base"'))
  })
})
