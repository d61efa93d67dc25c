import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import { openStore, rawCid, type Store } from '../../src/store/index.ts'
import { createDirectories, createTreeWriter, type LoadBlock } from '../../src/tree/index.ts'
import { tempFolder } from '../support/temp.ts'

const signal = new AbortController().signal

/** A file at `path`, as a change of a tree. */
function file(path: string) {
  const bytes = Buffer.from(path)
  const cid = rawCid(new Uint8Array(createHash('sha256').update(bytes).digest()))
  return { edits: [{ path: path.split('/'), link: { cid, size: bytes.length } }], blocks: [{ cid, bytes }] }
}

describe('the writer of trees', () => {
  const folder = tempFolder()
  let store: Store
  before(async () => void (store = await openStore({ folder: folder.path, reserve: 0 })))
  after(async () => {
    await store.close()
    await folder.remove()
  })

  function writer(load?: LoadBlock) {
    const stored: LoadBlock = async (cid) =>
      (await store.blocks.find(cid)) ?? assert.fail(`${cid} was not kept`)
    return createTreeWriter({
      blocks: store.blocks,
      records: store.records,
      directories: createDirectories(),
      load: () => load ?? stored,
      deadlineMs: 10_000
    })
  }

  /** The folder `top` of a root. */
  async function topOf(root: CID) {
    const load: LoadBlock = async (cid) =>
      (await store.blocks.find(cid)) ?? assert.fail(`${cid} was not kept`)
    return createDirectories().entry(root, 'top', load, signal)
  }

  /** All blocks below a root, by walking the store alone. */
  async function paths(domain: string): Promise<string[]> {
    const trees = writer()
    const view = await trees.view(domain)
    assert.ok(view !== undefined)
    const directories = createDirectories()
    const load: LoadBlock = async (cid) =>
      (await store.blocks.find(cid)) ?? assert.fail(`${cid} was not kept`)
    const found: string[] = []
    const walk = async (cid: typeof view.root, path: string): Promise<void> => {
      for (const name of await directories.names(cid, load, signal)) {
        const link = await directories.entry(cid, name, load, signal)
        assert.ok(link !== undefined)
        if (link.cid.code === 0x70) await walk(link.cid, `${path}${name}/`)
        else {
          assert.equal(Buffer.from(await load(link.cid, signal)).toString(), path + name)
          found.push(path + name)
        }
      }
    }
    await walk(view.root, '')
    return found
  }

  it('keeps every block of a root, whether its edits came alone, at once, or undid each other', async () => {
    const trees = writer()
    const names = Array.from(
      { length: 900 },
      (_, i) => `many/${createHash('sha256').update(`${i}`).digest('hex')}`
    )
    await trees.change('one', file(names[0] as string), { signal })
    await Promise.all(names.slice(1).map((name) => trees.change('one', file(name), { signal })))
    const remove = (path: string) => ({ edits: [{ path: path.split('/'), link: undefined }], blocks: [] })
    await Promise.all([
      trees.change('one', file('gone/a'), { signal }),
      trees.change('one', remove('gone'), { signal }),
      trees.change('one', async () => file('after/job'), { signal }),
      trees.change('one', remove(names[5] as string), { signal }),
      trees.change('one', file('kept/b'), { signal })
    ])
    const expected = [...names.filter((_, i) => i !== 5), 'after/job', 'kept/b']
    assert.deepEqual(await paths('one'), expected.sort())
  })

  it('keeps what one change says of a folder, when another one beside it says something below', async () => {
    const trees = writer()
    const remove = (path: string) => ({ edits: [{ path: path.split('/'), link: undefined }], blocks: [] })
    const [whole, other] = [await trees.change('whole', file('top/theirs'), { signal }), 'order']
    for (const path of ['top/ours', 'gone/a', 'gone/b']) await trees.change(other, file(path), { signal })
    await Promise.all([
      // as a merge or a restore puts it, with a push and a removal right behind
      trees.change(
        other,
        async () => ({
          edits: [{ path: ['top'], link: await topOf(whole) }],
          blocks: []
        }),
        { signal }
      ),
      trees.change(other, file('top/pushed'), { signal }),
      trees.change(other, remove('gone'), { signal }),
      trees.change(other, remove('gone/a'), { signal })
    ])
    assert.deepEqual(await paths(other), ['top/pushed', 'top/theirs'])
  })

  it('answers for no change that is not in the root, when a change beside it fails', async () => {
    await writer().change('two', file('here/before'), { signal })
    let failures = 1
    const trees = writer(async (cid) => {
      if (failures-- > 0) throw new Error('the source is lost for a moment')
      return (await store.blocks.find(cid)) ?? assert.fail(`${cid} was not kept`)
    })
    const answers = await Promise.allSettled([
      trees.change('two', file('here/plain'), { signal }),
      trees.change('two', async () => file('here/worked-out'), { signal })
    ])
    assert.deepEqual(
      answers.map(({ status }) => status),
      ['fulfilled', 'rejected']
    )
    assert.deepEqual(await paths('two'), ['here/before', 'here/plain'])
  })
})
