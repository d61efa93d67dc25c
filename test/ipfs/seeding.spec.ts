import assert from 'node:assert/strict'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import type { CID } from 'multiformats/cid'
import { createOffer, type SeedPolicy } from '../../src/ipfs/index.ts'
import { createLog } from '../../src/log.ts'
import { digestOf } from '../../src/oci/digest.ts'
import { type BlobInfo, openStore, type Store } from '../../src/store/index.ts'
import { seededBytes, tempFolder } from '../support/temp.ts'

const MiB = 1024 * 1024
const log = createLog('silent')

describe('ipfs: what is offered', () => {
  const temp = tempFolder()
  let store: Store
  let mine: BlobInfo
  let other: BlobInfo
  let tree: CID

  async function blob(bytes: Uint8Array): Promise<BlobInfo> {
    const writer = store.incoming.create(`blob-${bytes.length}`)
    await writer.append(bytes)
    return store.blobs.commit(writer, digestOf(bytes))
  }

  /** A directory with files in it, their blocks among the store's small ones. */
  async function directory(files: Record<string, Uint8Array>, wrap: object = {}): Promise<CID> {
    const source = Object.entries(files).map(([path, content]) => ({ path: `t/${path}`, content }))
    let root: CID | undefined
    for await (const { cid, path } of importer(source, store.blocks, {
      rawLeaves: true,
      cidVersion: 1,
      chunker: fixedSize({ chunkSize: MiB }),
      ...wrap
    })) {
      if (path === 't') root = cid
    }
    assert.ok(root)
    return root
  }

  before(async () => {
    store = await openStore({ folder: temp.path, reserve: 0 })
    // both begin with the same leaf, so that it can't be what tells them apart
    const start = seededBytes(MiB, 1)
    mine = await blob(Buffer.concat([start, seededBytes(2 * MiB + 5, 2)]))
    other = await blob(Buffer.concat([start, seededBytes(3 * MiB, 3)]))
    tree = await directory({ 'a/link': Buffer.from('sha256:mine'), data: await bytesOf(mine) })
  })
  after(async () => {
    await store.close()
    await temp.remove()
  })

  async function bytesOf(info: BlobInfo): Promise<Uint8Array> {
    return store.blobs.readSmall(info, 10 * MiB)
  }

  /** An offer that has followed what it was told of. */
  async function offer(policy: SeedPolicy, ...roots: CID[]) {
    const made = createOffer({ policy, store, log })
    for (const root of roots) made.include(root)
    // whoever asks in between waits for that
    await made.find(tree)
    return made
  }

  /** The leaf of a blob at a place, by its CID. */
  async function leafOf(info: BlobInfo, at: number): Promise<CID> {
    const { rawCid } = await import('../../src/store/index.ts')
    const { createHash } = await import('node:crypto')
    const bytes = (await bytesOf(info)).subarray(at, at + MiB)
    return rawCid(createHash('sha256').update(bytes).digest())
  }

  it("with 'all' is everything, with 'none' nothing", async () => {
    const [all, none] = [await offer('all'), await offer('none', tree)]
    for (const cid of [tree, mine.cid, other.cid, await leafOf(other, MiB)]) {
      assert.ok(await all.find(cid))
      assert.equal(await all.has(cid), true)
      assert.equal(await none.find(cid), undefined)
      assert.equal(await none.has(cid), false)
    }
    assert.equal(await none.openFile(mine.cid, await leafOf(mine, 0)), undefined)
  })

  it("with 'published' is what is below the roots, and no other blob, though they share a leaf", async () => {
    assert.equal(await (await offer('published')).find(tree), undefined)
    const made = await offer('published', tree)
    for (const cid of [
      tree,
      mine.cid,
      await leafOf(mine, 0),
      await leafOf(mine, MiB),
      await leafOf(mine, 2 * MiB)
    ])
      assert.ok(await made.find(cid), `${cid}`)
    assert.equal(await made.find(other.cid), undefined)
    assert.equal(await made.find(await leafOf(other, MiB)), undefined)
    const open = await made.openFile(mine.cid, await leafOf(mine, 0))
    assert.ok(open)
    await open.file.close()
    assert.equal(await made.openFile(other.cid, await leafOf(other, 0)), undefined)
  })

  it('passes over what is not here, and finds it when it has come', async () => {
    const late = Buffer.from('comes later')
    const root = await directory({ here: Buffer.from('here'), late })
    const { rawCid } = await import('../../src/store/index.ts')
    const { createHash } = await import('node:crypto')
    const cid = rawCid(createHash('sha256').update(late).digest())
    await store.blocks.delete(cid)
    const made = await offer('published', root)
    assert.ok(await made.find(root))
    await store.blocks.put(cid, late)
    assert.equal(await made.find(cid), undefined)
    made.include(root)
    assert.ok(await made.find(cid))
    await made.stop()
  })

  it('does not read what it has marked whole before', async () => {
    const marks: string[] = []
    const counted = {
      ...store,
      blocks: Object.assign(Object.create(store.blocks) as Store['blocks'], {
        find: async (cid: CID) => {
          marks.push(cid.toString())
          return store.blocks.find(cid)
        },
        has: (cid: CID) => store.blocks.has(cid)
      })
    }
    const made = createOffer({ policy: 'published', store: counted, log })
    made.include(tree)
    await made.stop()
    assert.deepEqual(marks, [])
  })
})
