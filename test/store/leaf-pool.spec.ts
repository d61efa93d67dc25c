import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { digestOf } from '../../src/oci/digest.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { borrowLeaf, leafNumber, returnLeaf } from '../../src/store/leaf-pool.ts'
import { tempFolder } from '../support/temp.ts'

/** More than there are buffers that go round. */
const BODIES = 70

describe('store: the buffers that go round', () => {
  const temp = tempFolder()
  let store: Store

  before(async () => {
    store = await openStore({ folder: temp.path, reserve: 0 })
  })
  after(async () => {
    await store.close()
    await temp.remove()
  })

  /** How many of so many that are borrowed go round. */
  function left(): number {
    const borrowed = Array.from({ length: BODIES }, () => borrowLeaf())
    for (const leaf of borrowed) returnLeaf(leaf)
    return borrowed.filter((leaf) => leafNumber(leaf) !== undefined).length
  }

  for (const [what, size] of [
    ['small', 1000],
    ['with a part of a leaf at their end', 200_000]
  ] as const) {
    it(`come back from bodies that are ${what}, and from those that are given up`, async () => {
      const before = left()
      for (let i = 0; i < BODIES; i++) {
        const writer = store.incoming.create(`body-${size}-${i}`)
        const bytes = randomBytes(size)
        await writer.append(bytes)
        if (i % 2 === 0) {
          await writer.abort()
          continue
        }
        const { digest } = await store.blobs.commit(writer, digestOf(bytes))
        const info = await store.blobs.stat(digest)
        assert.ok(info)
        const pieces: Buffer[] = []
        for await (const piece of await store.blobs.read(info)) pieces.push(Buffer.from(piece as Uint8Array))
        assert.ok(Buffer.concat(pieces).equals(bytes))
      }
      assert.equal(left(), before)
    })
  }
})
