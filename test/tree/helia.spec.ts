import assert from 'node:assert/strict'
import { type UnixFS, unixfs } from '@helia/unixfs'
import { MemoryBlockstore } from 'blockstore-core'
import type { CID } from 'multiformats/cid'
import { digestOf } from '../../src/oci/digest.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { createDirectories, createTreeWriter, putManifest, removeTag } from '../../src/tree/index.ts'
import { tempFolder } from '../support/temp.ts'

/** Helia's own file system over our blocks: whatever it says of a tree must be what we say. */
describe('a registry tree, read and written by @helia/unixfs', () => {
  const signal = new AbortController().signal
  const folder = tempFolder()
  const scratch = new MemoryBlockstore()
  let store: Store
  let fs: UnixFS
  let root: CID

  function writer() {
    return createTreeWriter({
      blocks: store.blocks,
      records: store.records,
      directories: createDirectories(),
      load: () => async (cid) => (await store.blocks.find(cid)) ?? assert.fail(`${cid} was not kept`),
      deadlineMs: 10_000
    })
  }

  async function keep(text: string) {
    const bytes = Buffer.from(text)
    const body = store.incoming.create(`tree-${text.length}-${text.slice(0, 8)}`)
    await body.append(bytes)
    const blob = await store.blobs.commit(body, digestOf(bytes))
    return { digest: blob.digest, link: { cid: blob.cid, size: blob.dagSize } }
  }

  const push = async (text: string, tag: string) => ({
    name: 'ships.example/app',
    manifest: await keep(text),
    tags: [tag],
    blobs: [await keep(`layer of ${text}`)],
    subject: undefined,
    mediaType: undefined
  })

  before(async () => {
    store = await openStore({ folder: folder.path, reserve: 0 })
    // Reads come out of our store; what the library writes goes elsewhere.
    fs = unixfs({
      blockstore: {
        get: (cid, options) => {
          const read = async function* () {
            const found = await store.blocks.find(cid)
            if (found !== undefined) yield found
            else yield* scratch.get(cid, options)
          }
          return read()
        },
        put: (cid, bytes, options) => scratch.put(cid, bytes, options),
        has: (cid) => store.blocks.has(cid)
      }
    })
    const trees = writer()
    for (const tag of ['one', 'two', 'three']) {
      root = await trees.change('ships.example', putManifest(await push(`manifest ${tag}`, tag)), { signal })
    }
  })
  after(async () => {
    await store.close()
    await folder.remove()
  })

  const cat = async (path: string) => {
    const chunks: Uint8Array[] = []
    for await (const chunk of fs.cat(root, { path, signal })) chunks.push(chunk)
    return Buffer.concat(chunks).toString()
  }

  const list = async (path: string) => {
    const names: string[] = []
    for await (const entry of fs.ls(root, { path, signal })) names.push(entry.name)
    return names.sort()
  }

  it("is Distribution's layout, with links and blobs where a stock registry looks for them", async () => {
    const base = 'docker/registry/v2'
    const repository = `${base}/repositories/ships.example/app`
    assert.deepEqual(await list(repository), ['_layers', '_manifests'])
    assert.deepEqual(await list(`${repository}/_manifests/tags`), ['one', 'three', 'two'])
    const digest = await cat(`${repository}/_manifests/tags/two/current/link`)
    assert.equal(digest, digestOf(Buffer.from('manifest two')))
    const hex = digest.slice(7)
    assert.equal(await cat(`${repository}/_manifests/tags/two/index/sha256/${hex}/link`), digest)
    assert.equal(await cat(`${repository}/_manifests/revisions/sha256/${hex}/link`), digest)
    assert.equal(await cat(`${base}/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`), 'manifest two')
    const layer = digestOf(Buffer.from('layer of manifest two')).slice(7)
    assert.equal(await cat(`${repository}/_layers/sha256/${layer}/link`), `sha256:${layer}`)
    assert.equal(
      await cat(`${base}/blobs/sha256/${layer.slice(0, 2)}/${layer}/data`),
      'layer of manifest two'
    )
  })

  it('has the root that the library makes of the same change', async () => {
    const trees = writer()
    const path = 'docker/registry/v2/repositories/ships.example/app/_manifests/tags'
    const without = await trees.change('ships.example', removeTag('ships.example/app', 'three'), { signal })
    // The library removes from one directory at a time, so its new directory is put in place level by level.
    const levels = path.split('/')
    let child = await fs.rm((await fs.stat(root, { path })).cid, 'three')
    for (let i = levels.length - 1; i >= 0; i--) {
      const parent = i === 0 ? root : (await fs.stat(root, { path: levels.slice(0, i).join('/') })).cid
      child = await fs.cp(child, parent, levels[i] as string, { force: true })
    }
    assert.equal(without.toString(), child.toString())
  })

  it('changes that arrive together become one root that has them all', async () => {
    const trees = writer()
    const roots: string[] = []
    trees.onRoot((_, made) => roots.push(made.toString()))
    const pushes = await Promise.all(Array.from({ length: 16 }, (_, i) => push(`together ${i}`, `t${i}`)))
    const answers = await Promise.all(
      pushes.map((change) => trees.change('ships.example', putManifest(change), { signal }))
    )
    assert.ok(roots.length < 16, `${roots.length} roots`)
    assert.equal(answers.at(-1)?.toString(), (await trees.root('ships.example'))?.toString())
    const view = await trees.view('ships.example')
    const tags = await view?.tags('ships.example/app', signal)
    for (let i = 0; i < 16; i++) assert.ok(tags?.includes(`t${i}`), `t${i}`)
    // Another process reads the same root from the disk.
    assert.equal((await writer().root('ships.example'))?.toString(), answers.at(-1)?.toString())
  })

  it('a change that is refused leaves the others of its group alone', async () => {
    const trees = writer()
    const [good, bad] = await Promise.allSettled([
      trees.change('ships.example', putManifest(await push('beside', 'beside')), { signal }),
      trees.change('ships.example', () => Promise.reject(new Error('refused')), { signal })
    ])
    assert.deepEqual([good?.status, bad?.status], ['fulfilled', 'rejected'])
    assert.ok(await (await trees.view('ships.example'))?.tag('ships.example/app', 'beside', signal))
  })

  it('remembers every root that it has had, and lists repositories in byte order', async () => {
    const trees = writer()
    assert.equal(await trees.had('ships.example', root), true)
    assert.equal(await trees.had('other.example', root), false)
    const change = await push('x', 'x')
    for (const name of ['o/b', 'o/a-b', 'o/a', 'o/a/c', 'o/a0']) {
      await trees.change('o', putManifest({ ...change, name }), { signal })
    }
    const all: string[] = []
    for await (const name of (await trees.view('o'))?.repositories('', signal) ?? []) all.push(name)
    assert.deepEqual(all, ['o/a', 'o/a-b', 'o/a/c', 'o/a0', 'o/b'])
    const rest: string[] = []
    for await (const name of (await trees.view('o'))?.repositories('o/a-b', signal) ?? []) rest.push(name)
    assert.deepEqual(rest, ['o/a/c', 'o/a0', 'o/b'])
  })
})
