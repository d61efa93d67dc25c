import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { createPresence } from '../../src/ipfs/presence.ts'

const LEAF = 1024

/** A raw leaf's CID; no bytes have it. */
function leaf(n: number): CID {
  const sha256 = new Uint8Array(32)
  new DataView(sha256.buffer).setUint32(0, n)
  return CID.createV1(0x55, Digest.create(0x12, sha256))
}

/** The presence of a file of `count` leaves; `here` says which are. */
function bed(count: number, here: (n: number) => boolean) {
  const looked: number[] = []
  const numbers = new Map(Array.from({ length: count }, (_, n) => [leaf(n).toString(), n]))
  const stop = new AbortController()
  let found = 0
  const presence = createPresence({
    async has(cid) {
      const n = numbers.get(cid.toString()) ?? -1
      looked.push(n)
      await delay(1)
      return here(n)
    },
    signal: stop.signal,
    found: () => void found++
  })
  presence.add(
    0,
    Array.from({ length: count }, (_, n) => ({ cid: leaf(n), size: LEAF }))
  )
  return { presence, looked, stop, found: () => found }
}

describe('ipfs: which leaves are here', () => {
  it('looks for few before the first is known, and then for all', async () => {
    const { presence, looked, found } = bed(300, (n) => n % 100 === 99)
    assert.equal(await presence.look(leaf(0), 0), false)
    assert.ok(looked.length < 30, `${looked.length} were looked for`)
    assert.ok(presence.unknownAfter(0) < 30 * LEAF)
    for (const end = Date.now() + 5000; looked.length < 300 && Date.now() < end; ) await delay(5)
    assert.deepEqual(
      looked,
      Array.from({ length: 300 }, (_, n) => n),
      'each once, in order'
    )
    await delay(20)
    assert.equal(found(), 3)
    assert.equal(presence.hereAfter(0), 99 * LEAF)
    assert.equal(presence.hereAfter(99 * LEAF), 199 * LEAF)
    assert.equal(presence.unknownAfter(0), Number.POSITIVE_INFINITY)
  })

  it('says of one that lies far behind whether it is here', async () => {
    const { presence } = bed(300, (n) => n === 299)
    assert.equal(await presence.look(leaf(299), 299 * LEAF), true)
    assert.equal(await presence.look(leaf(298), 298 * LEAF), false)
  })

  it('ends when the file is no longer read', async () => {
    const { looked, stop } = bed(300, () => false)
    stop.abort()
    await delay(50)
    assert.ok(looked.length < 100, `${looked.length} were looked for`)
  })
})
