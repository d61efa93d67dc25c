import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { appendFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MemoryBlockstore } from 'blockstore-core'
import type { CID } from 'multiformats/cid'
import { type LiveFile, liveBlocks } from '../../src/ipfs/live.ts'
import { rawCid } from '../../src/store/index.ts'
import { content } from './../support/ipfs-nodes.ts'
import { tempFolder } from '../support/temp.ts'

const LEAF = 1000

describe('a file that is still arriving', () => {
  const temp = tempFolder()
  const bytes = content(2 * LEAF + 10)
  let kept: MemoryBlockstore
  let moved: PromiseWithResolvers<void>
  let written: number
  let ended: boolean
  let tail: ReturnType<LiveFile['tail']>

  beforeEach(async () => {
    kept = new MemoryBlockstore()
    moved = Promise.withResolvers()
    written = 0
    ended = false
    tail = undefined
    await writeFile(join(temp.path, 'file'), '')
  })
  after(() => temp.remove())

  const place = (index: number) => ({
    offset: index * LEAF,
    length: Math.min(LEAF, bytes.length - index * LEAF)
  })
  const leaf = (index: number): Uint8Array =>
    bytes.subarray(place(index).offset, place(index).offset + place(index).length)
  const cid = (index: number): CID => rawCid(createHash('sha256').update(leaf(index)).digest())
  const find = (index: number, stallMs = 5000) => {
    const file: LiveFile = {
      path: join(temp.path, 'file'),
      written: () => written,
      tail: () => tail,
      ended: () => ended,
      moved: () => moved.promise
    }
    const store = {
      find: async (wanted: CID) =>
        (await kept.has(wanted)) ? Buffer.concat([...(kept.get(wanted) as Generator<Uint8Array>)]) : undefined
    }
    return liveBlocks(store, file, { stallMs }).find(cid(index), place(index))
  }
  function move(): void {
    moved.resolve()
    moved = Promise.withResolvers()
  }

  it('gives a leaf that has been written', async () => {
    await appendFile(join(temp.path, 'file'), leaf(0))
    written = LEAF
    assert.deepEqual(Buffer.from((await find(0)) ?? []), Buffer.from(leaf(0)))
  })

  it('waits for one that has not', async () => {
    const found = find(1)
    await appendFile(join(temp.path, 'file'), bytes.subarray(0, 2 * LEAF))
    written = LEAF
    move()
    written = 2 * LEAF
    move()
    assert.deepEqual(Buffer.from((await found) ?? []), Buffer.from(leaf(1)))
  })

  it('gives the last piece as soon as it is known', async () => {
    const found = find(2)
    tail = { from: 2 * LEAF, bytes: leaf(2) }
    move()
    assert.deepEqual(Buffer.from((await found) ?? []), Buffer.from(leaf(2)))
  })

  it('gives it out of the store when it has moved there', async () => {
    const found = find(2)
    await kept.put(cid(2), leaf(2))
    ended = true
    move()
    assert.deepEqual(Buffer.from((await found) ?? []), Buffer.from(leaf(2)))
  })

  it('has no more to give when it has failed', async () => {
    const found = find(2)
    ended = true
    move()
    assert.equal(await found, undefined)
  })

  it('is given up when nothing moves', async () => {
    await assert.rejects(find(1, 20), /did not arrive for 20 ms/)
  })
})
