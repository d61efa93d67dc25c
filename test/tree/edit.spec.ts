import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { MemoryBlockstore } from 'blockstore-core'
import { exporter } from 'ipfs-unixfs-exporter'
import { importer } from 'ipfs-unixfs-importer'
import type { CID } from 'multiformats/cid'
import { rawCid } from '../../src/store/index.ts'
import { createDirectories, type LoadBlock } from '../../src/tree/directory.ts'
import { applyEdits, type Edit } from '../../src/tree/edit.ts'
import { keyOf, type Link, SHARD_ABOVE } from '../../src/tree/node.ts'

const signal = new AbortController().signal

/** A tree in memory, changed by edits. */
function memoryTree() {
  const blocks = new Map<string, { cid: CID; bytes: Uint8Array }>()
  const directories = createDirectories()
  const load: LoadBlock = async (cid) => {
    const block = blocks.get(keyOf(cid))
    if (block === undefined) throw new Error(`${cid} was never made`)
    return block.bytes
  }
  return {
    blocks,
    load,
    directories,
    apply: (root: Link | undefined, edits: readonly Edit[]) =>
      applyEdits(root, edits, { directories, load, signal, blocks, offered: new Map(), replaced: [] })
  }
}

const contentOf = (text: string) => Buffer.from(text)

function fileLink(text: string): Link {
  const bytes = contentOf(text)
  return { cid: rawCid(new Uint8Array(createHash('sha256').update(bytes).digest())), size: bytes.length }
}

/** The root that the library makes of the same files, with our limit for sharding. */
async function libraryRoot(paths: readonly string[]): Promise<Link> {
  const blocks = new MemoryBlockstore()
  let last: Link | undefined
  const source = paths.map((path) => ({ path: `root/${path}`, content: contentOf(path) }))
  for await (const entry of importer(source, blocks, {
    cidVersion: 1,
    rawLeaves: true,
    wrapWithDirectory: false,
    profile: 'unixfs-v1-2025',
    shardSplitThresholdBytes: SHARD_ABOVE
  })) {
    if (entry.path === 'root') last = { cid: entry.cid, size: Number(entry.size) }
  }
  return last as Link
}

const put = (path: string): Edit => ({ path: path.split('/'), link: fileLink(path) })
const remove = (path: string): Edit => ({ path: path.split('/'), link: undefined })
const hexName = (i: number) => createHash('sha256').update(String(i)).digest('hex')

describe('tree edits', () => {
  it('make the same root as the library, directories and all', async () => {
    const paths = ['a/b/c', 'a/b/d', 'a/e', 'f', 'docker/registry/v2/blobs/sha256/ab/x/data']
    const tree = memoryTree()
    assert.equal(
      (await tree.apply(undefined, paths.map(put))).cid.toString(),
      (await libraryRoot(paths)).cid.toString()
    )
  })

  it('in any order and any grouping make the same root', async () => {
    const paths = Array.from({ length: 60 }, (_, i) => `${hexName(i).slice(0, 2)}/${hexName(i)}`)
    const tree = memoryTree()
    const atOnce = await tree.apply(undefined, paths.map(put))
    let step: Link | undefined
    for (const path of paths.toReversed()) step = await tree.apply(step, [put(path)])
    assert.deepEqual(step, atOnce)
  })

  it('remove what they name with all below it, and directories that become empty', async () => {
    const tree = memoryTree()
    const kept = await tree.apply(undefined, [put('a/x')])
    const more = await tree.apply(kept, [put('b/c/d'), put('b/c/e'), put('a/y')])
    assert.deepEqual(await tree.apply(more, [remove('b/c'), remove('a/y')]), kept)
    assert.deepEqual(await tree.apply(more, [remove('b/c/d'), remove('b/c/e'), remove('a/y')]), kept)
    assert.deepEqual(await tree.apply(more, [remove('not/there'), remove('b'), remove('a/y')]), kept)
  })

  it('apply in order: what was removed can be put again in the same step', async () => {
    const tree = memoryTree()
    const root = await tree.apply(undefined, [put('a/x'), put('a/y')])
    const again = await tree.apply(root, [remove('a'), put('a/z')])
    assert.deepEqual(again, await tree.apply(undefined, [put('a/z')]))
  })

  it('are made in their order, where one is below what another one before it put or took', async () => {
    const tree = memoryTree()
    const root = await tree.apply(undefined, ['a/b/1', 'a/b/2', 'a/c', 'd'].map(put))
    const other = await tree.apply(undefined, ['a/b/3', 'a/e'].map(put))
    const a = (await tree.directories.resolve(other, ['a'], tree.load, signal)) as Link
    /** The same edits one by one, which is what their order says. */
    const oneByOne = async (edits: readonly Edit[]) => {
      let at: Link | undefined = root
      for (const edit of edits) at = await tree.apply(at, [edit])
      return at
    }
    const whole = { path: ['a'], link: a }
    for (const edits of [
      [remove('a'), remove('a/b/1')],
      [remove('a/b'), remove('a/b/1'), remove('a/b/2')],
      [remove('a/b/1'), remove('a'), remove('a/b/1'), remove('d')],
      [whole, put('a/b/4')],
      [put('a/b/4'), whole, put('x/5'), put('a/b/6'), put('a/f')],
      [whole, put('a/b/4'), whole],
      [remove('a'), put('a/b/1'), remove('a/b')]
    ])
      assert.deepEqual(
        await tree.apply(root, edits),
        await oneByOne(edits),
        edits.map(({ path }) => path.join('/')).join(', ')
      )
    assert.deepEqual(
      await tree.apply(root, [remove('a'), remove('a/b/1')]),
      await tree.apply(undefined, [put('d')])
    )
  })

  it('shard a directory past the limit as the library does, and unshard it again', async function () {
    this.timeout(60_000)
    const paths = Array.from({ length: 5000 }, (_, i) => `d/${hexName(i)}`)
    const tree = memoryTree()
    const atOnce = await tree.apply(undefined, paths.map(put))
    assert.equal(atOnce.cid.toString(), (await libraryRoot(paths)).cid.toString())

    const most = await tree.apply(undefined, paths.slice(0, 4900).map(put))
    let step = most
    for (const path of paths.slice(4900)) step = await tree.apply(step, [put(path)])
    assert.deepEqual(step, atOnce, 'one by one')
    assert.deepEqual(await tree.apply(atOnce, paths.slice(4900).map(remove)), most, 'removed again')

    const few = paths.slice(0, 100)
    assert.deepEqual(
      await tree.apply(atOnce, paths.slice(100).map(remove)),
      await tree.apply(undefined, few.map(put)),
      'small again'
    )
  })

  it('find every entry of a sharded directory, and list all in byte order', async () => {
    const names = Array.from({ length: 3000 }, (_, i) => hexName(i))
    const tree = memoryTree()
    const root = await tree.apply(
      undefined,
      names.map((name) => put(`d/${name}`))
    )
    const dir = (await tree.directories.resolve(root, ['d'], tree.load, signal)) as Link
    for (const name of names.slice(0, 200)) {
      const found = await tree.directories.resolve(root, ['d', name], tree.load, signal)
      assert.deepEqual(found, fileLink(`d/${name}`))
    }
    assert.equal(await tree.directories.resolve(root, ['d', 'none'], tree.load, signal), undefined)
    assert.deepEqual(await tree.directories.names(dir.cid, tree.load, signal), names.toSorted())
  })

  it('are read by the library like any UnixFS directory', async () => {
    const names = Array.from({ length: 3000 }, (_, i) => hexName(i))
    const tree = memoryTree()
    const root = await tree.apply(
      undefined,
      names.map((name) => put(`d/${name}`))
    )
    const blocks = new MemoryBlockstore()
    for (const { cid, bytes } of tree.blocks.values()) await blocks.put(cid, bytes)
    const name = `d/${names[1234]}`
    await blocks.put(fileLink(name).cid, contentOf(name))
    const entry = await exporter(`${root.cid}/${name}`, blocks)
    assert.equal(entry.cid.toString(), fileLink(name).cid.toString())
  })
})
