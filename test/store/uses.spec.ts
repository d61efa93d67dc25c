/** Those who rely on content and those who remove it never miss each other. */
import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import type { Digest } from '../../src/oci/digest.ts'
import { createHashSet } from '../../src/store/hash-set.ts'
import { createUses } from '../../src/store/uses.ts'

const digest = (i: number): Digest => `sha256:${String(i).padStart(64, '0')}`

describe('uses', () => {
  it('leaves what was touched, and takes what was not', () => {
    const uses = createUses()
    uses.touch(digest(1))
    const since = performance.now()
    uses.touch(digest(2))
    const { digests, release } = uses.condemn([digest(1), digest(2), digest(3)], since)
    assert.deepEqual([...digests], [digest(1), digest(3)])
    // and not twice at a time
    assert.equal(uses.condemn([digest(1)], since).digests.size, 0)
    release()
    assert.equal(uses.condemn([digest(1)], since).digests.size, 1)
  })

  it('has those who come later wait for the end of a removal', async () => {
    const uses = createUses()
    const { release } = uses.condemn([digest(1)], performance.now())
    let waited = true
    const expecting = uses.expect([digest(2), digest(1)]).then(() => {
      waited = false
    })
    await turn()
    assert.equal(waited, true)
    release()
    await expecting
    assert.equal(uses.settled(digest(1)), undefined)
  })

  it('waits for what had begun before, and for nothing else', async () => {
    const uses = createUses()
    const [first, second] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    void uses.during(() => first.promise)
    let drained = false
    const draining = uses.drained().then(() => {
      drained = true
    })
    void uses.during(() => second.promise)
    await turn()
    assert.equal(drained, false)
    first.resolve()
    await draining
    second.resolve()
  })

  it('takes what it has forgotten for touched as long ago as the oldest that it knows', () => {
    const uses = createUses(2)
    uses.touch(digest(1))
    const since = performance.now()
    for (const i of [2, 3, 4]) uses.touch(digest(i))
    assert.ok(uses.touched(digest(1)) >= since, 'forgotten, so it could have been just before')
    assert.equal(uses.condemn([digest(1)], since).digests.size, 0)
  })
})

describe('a hash set', () => {
  it('knows what was added, and nothing else, through every growth', () => {
    const set = createHashSet()
    const bytes = (i: number) => Buffer.from(`${i}`.padStart(i % 2 === 0 ? 32 : 37, 'x'))
    for (let i = 0; i < 50_000; i++) assert.equal(set.add(bytes(i)), true)
    for (let i = 0; i < 50_000; i++) {
      assert.equal(set.has(bytes(i)), true)
      assert.equal(set.has(bytes(i + 50_000)), false)
    }
    assert.equal(set.add(bytes(7)), false)
    assert.equal(set.size, 50_000)
  })

  it('tells strings apart that differ in one bit, or in length', () => {
    const set = createHashSet()
    const zeros = Buffer.alloc(32)
    set.add(zeros)
    for (let bit = 0; bit < 256; bit++) {
      const other = Buffer.alloc(32)
      other[bit >> 3] = 1 << (bit & 7)
      assert.equal(set.has(other), false, `bit ${bit}`)
    }
    for (const length of [0, 31, 33, 64]) assert.equal(set.has(Buffer.alloc(length)), false)
  })
})
