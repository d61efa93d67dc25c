import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { digestOf } from '../../src/oci/digest.ts'
import type { BlobInfo } from '../../src/store/blob-rows.ts'
import { createCheckedFiles } from '../../src/store/checked-files.ts'
import { fileDag, LEAF_SIZE } from '../../src/store/dag.ts'
import { createLeafHashes, type LeafHashes } from '../../src/store/leaf-hashes.ts'
import { seededBytes, tempFolder } from '../support/temp.ts'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest()

describe('checked files', () => {
  const folder = tempFolder()
  const bytes = seededBytes(4 * LEAF_SIZE + 100, 1)
  const path = join(folder.path, 'file')
  const leaves = Array.from({ length: 5 }, (_, i) =>
    sha256(bytes.subarray(i * LEAF_SIZE, (i + 1) * LEAF_SIZE))
  )
  const { root, dagSize } = fileDag(leaves, bytes.length)
  const blob: BlobInfo = { digest: digestOf(bytes), size: bytes.length, cid: root, dagSize }
  /** The leaves whose hashes were asked for: each is hashed then. */
  let asked: number[] = []
  const hashes: LeafHashes = {
    async of(_, index) {
      asked.push(index)
      return leaves[index]
    }
  }
  const sorted = () => asked.toSorted((a, b) => a - b)
  const files = (ageMs: number) => createCheckedFiles({ hashes, ageMs, onDamage: () => {} })

  async function read(from: ReturnType<typeof files>, start: number, end: number): Promise<Buffer> {
    const file = await from.open(blob, path, end)
    try {
      const { buffer } = await file.read(Buffer.alloc(end - start), 0, end - start, start)
      return buffer
    } finally {
      await file.close()
    }
  }

  before(() => writeFile(path, bytes))
  beforeEach(() => {
    asked = []
  })
  after(() => folder.remove())

  it('hashes a leaf once while the file stays as it is', async () => {
    const checked = files(60_000)
    for (let i = 0; i < 3; i++) assert.ok((await read(checked, 0, bytes.length)).equals(bytes))
    assert.deepEqual(sorted(), [0, 1, 2, 3, 4])
    await utimes(path, new Date(0), new Date(0))
    await read(checked, 0, bytes.length)
    assert.equal(asked.length, 10)
  })

  it('hashes at every read when nothing is to be trusted', async () => {
    const checked = files(0)
    for (let i = 0; i < 2; i++) await read(checked, 0, bytes.length)
    assert.equal(asked.length, 10)
  })

  it('hashes what a range needs and nothing beyond it', async () => {
    const checked = files(60_000)
    assert.ok(
      (await read(checked, LEAF_SIZE - 1, LEAF_SIZE + 1)).equals(bytes.subarray(LEAF_SIZE - 1, LEAF_SIZE + 1))
    )
    assert.deepEqual(sorted(), [0, 1])
  })

  it('hashes a leaf once for all who read it at the same time', async () => {
    const checked = files(60_000)
    await Promise.all(Array.from({ length: 8 }, () => read(checked, 0, bytes.length)))
    assert.deepEqual(sorted(), [0, 1, 2, 3, 4])
  })

  it('does not hash what was just written out of memory', async () => {
    const checked = files(60_000)
    checked.written(blob, path)
    await read(checked, 0, bytes.length)
    assert.deepEqual(asked, [])
  })

  it('finds the hash of every leaf below nodes of nodes', async () => {
    const many = Array.from({ length: 2500 }, (_, i) => sha256(Buffer.from(String(i))))
    const size = 2499 * LEAF_SIZE + 7
    const dag = fileDag(many, size)
    const nodes = new Map(dag.nodes.map((node) => [node.cid.toString(), node.bytes]))
    const found = createLeafHashes(async (cid) => nodes.get(cid.toString()))
    for (const index of [0, 1, 1023, 1024, 2047, 2048, 2499]) {
      assert.ok(
        many[index]?.equals((await found.of({ cid: dag.root, size }, index)) ?? Buffer.alloc(0)),
        `leaf ${index}`
      )
    }
    nodes.delete(dag.nodes[1]?.cid.toString() ?? '')
    const lacking = createLeafHashes(async (cid) => nodes.get(cid.toString()))
    assert.equal(await lacking.of({ cid: dag.root, size }, 1024), undefined)
    assert.ok(await lacking.of({ cid: dag.root, size }, 0))
  })
})
