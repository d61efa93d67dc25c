/** What is marked of a tree, and what needn't be read for it. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import type { Digest } from '../../src/oci/digest.ts'
import { type Block, nodeCid, rawCid } from '../../src/store/dag.ts'
import { blockName, createHashSet } from '../../src/store/hash-set.ts'
import { createDirectories } from '../../src/tree/directory.ts'
import { applyEdits, type Edit } from '../../src/tree/edit.ts'
import { onlyFileOf } from '../../src/tree/known.ts'
import {
  blobPath,
  imageBlobPath,
  layerLink,
  linkFile,
  revisionType,
  smallFile
} from '../../src/tree/layout.ts'
import { markTree } from '../../src/tree/mark.ts'
import { changeFlat, EMPTY_FLAT, keyOf, type Link } from '../../src/tree/node.ts'

const signal = new AbortController().signal
const hexOf = (text: string) => createHash('sha256').update(text).digest('hex')
const nameOf = (cid: CID) => Buffer.from(blockName(cid.multihash.bytes)).toString('hex')

/** The folder that has one file, and what a link to it says. */
function folder(name: string, link: Link): { sha256: Uint8Array; total: number } {
  const { cid, bytes } = changeFlat(EMPTY_FLAT, [[name, link]]).block
  return { sha256: blockName(cid.multihash.bytes), total: bytes.length + link.size }
}

describe('the only file of a folder', () => {
  const hex = hexOf('content')
  const content = (size: number): Link => ({ cid: rawCid(Buffer.from(hex, 'hex')), size })

  it('is content of the digest that names the folder, whatever its size', () => {
    for (const size of [0, 1, 26, 71, 127, 128, 129, 16_383, 16_384, 1024 * 1024]) {
      const { sha256, total } = folder('data', content(size))
      assert.equal(Buffer.from(onlyFileOf(hex, sha256, total) ?? []).toString('hex'), hex, `${size}`)
    }
  })

  it('is the link file of that digest', () => {
    const { link } = linkFile(`sha256:${hex}` as Digest)
    const { sha256, total } = folder('link', link)
    assert.equal(Buffer.from(onlyFileOf(hex, sha256, total) ?? []).toString('hex'), nameOf(link.cid))
  })

  it('is not known of any other folder', () => {
    const { link } = linkFile(`sha256:${hex}` as Digest)
    const others = [
      folder('data', { ...content(100), cid: nodeCid(Buffer.from(hex, 'hex')) }),
      folder('data', { ...content(100), cid: rawCid(Buffer.from(hexOf('other'), 'hex')) }),
      folder('link', linkFile(`sha256:${hexOf('other')}` as Digest).link),
      folder('current', link)
    ]
    for (const { sha256, total } of others) assert.equal(onlyFileOf(hex, sha256, total), undefined)
    const { sha256, total } = folder('data', content(100))
    assert.equal(onlyFileOf(hexOf('other'), sha256, total), undefined)
    for (const wrong of [0, 1, total - 1, total + 1]) assert.equal(onlyFileOf(hex, sha256, wrong), undefined)
  })
})

describe('marking a tree', () => {
  const COUNT = 500

  /** A tree of `COUNT` blobs, so that its folders are sharded, with files beside link files and large blobs. */
  async function tree() {
    const offered = new Map<string, Block>()
    const blobs: { digest: Digest; link: Link }[] = []
    const edits: Edit[] = []
    for (let i = 0; i < COUNT; i++) {
      const hex = hexOf(`${i}`)
      const digest = `sha256:${hex}` as Digest
      const isLarge = i % 50 === 0
      const cid = isLarge ? nodeCid(Buffer.from(hexOf(`node ${i}`), 'hex')) : rawCid(Buffer.from(hex, 'hex'))
      const blob = { digest, link: { cid, size: i * 1000 } }
      blobs.push(blob)
      const file = linkFile(digest)
      offered.set(keyOf(file.block.cid), file.block)
      edits.push({ path: blobPath(digest), link: blob.link })
      edits.push({ path: layerLink('app', digest), link: file.link })
      edits.push({ path: imageBlobPath('app', digest), link: blob.link })
      if (i % 7 !== 0) continue
      const type = smallFile('application/x')
      offered.set(keyOf(type.block.cid), type.block)
      edits.push({ path: revisionType('app', digest), link: type.link })
    }
    const blocks = new Map<string, Block>()
    const root = await applyEdits(undefined, edits, {
      directories: createDirectories(),
      load: async (cid) => blocks.get(keyOf(cid))?.bytes ?? assert.fail(`${cid} was asked for`),
      signal,
      offered,
      blocks,
      replaced: []
    })
    const byHash = new Map([...blocks.values()].map((block) => [nameOf(block.cid), block.bytes]))
    return { root: root.cid, blobs, byHash }
  }

  async function marked(root: CID, byHash: ReadonlyMap<string, Uint8Array>) {
    const live = createHashSet()
    const read: string[] = []
    const missing: string[] = []
    await markTree(root, {
      blocks: async (multihashes) =>
        multihashes.map((multihash) => {
          const name = Buffer.from(blockName(multihash)).toString('hex')
          read.push(name)
          return byHash.get(name)
        }),
      live,
      sha256Of: async () => undefined,
      onMissing: (cid) => missing.push(nameOf(cid)),
      signal
    })
    return { has: (hex: string) => live.has(Buffer.from(hex, 'hex')), read, missing }
  }

  it('marks every block and all content, and reads no folder that follows from its name', async () => {
    const { root, blobs, byHash } = await tree()
    const { has, read, missing } = await marked(root, byHash)
    for (const name of byHash.keys()) assert.ok(has(name), name)
    for (const { digest, link } of blobs) assert.ok(has(digest.slice(7)) && has(nameOf(link.cid)), digest)
    assert.ok(!has(hexOf('something else')))
    // Of large blobs the node is asked for, which is with the blob if anywhere.
    assert.deepEqual(missing, [])
    assert.ok(read.length < byHash.size / 2, `${read.length} of ${byHash.size} blocks were read`)
    assert.equal(new Set(read).size, read.length)
  })

  it('says which directory is missing', async () => {
    const { root, byHash } = await tree()
    const { read } = await marked(root, byHash)
    const directory = read.findLast((name) => byHash.has(name)) ?? assert.fail()
    byHash.delete(directory)
    assert.deepEqual((await marked(root, byHash)).missing, [directory])
  })
})
