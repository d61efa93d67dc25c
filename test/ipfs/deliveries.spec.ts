import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { createDeliveries } from '../../src/ipfs/deliveries.ts'
import type { Lane } from '../../src/ipfs/lane.ts'
import { createQueue } from '../../src/ipfs/queue.ts'
import { leafSha256 } from '../../src/store/hash-thread.ts'
import { rawCid } from '../../src/store/index.ts'
import { borrowLeaf, returnLeaf } from '../../src/store/leaf-pool.ts'

const MiB = 1024 * 1024

describe('ipfs: what comes on the lanes of a file', () => {
  before(async () => {
    const leaf = borrowLeaf()
    while (leafSha256(leaf, leaf.length) === undefined) await sleep(10)
    returnLeaf(leaf)
  })

  it('waits for whoever will want a block again while the first one is hashed', async () => {
    const leaf = randomBytes(MiB)
    const cid = rawCid(createHash('sha256').update(leaf).digest())
    const segment = { from: 0, to: 4 * MiB, offset: 0, depth: 0 }
    const lane = { gateway: {}, segments: [segment], blocks: 0, doubted: false } as unknown as Lane
    const queue = createQueue(() => undefined)
    const deliveries = createDeliveries({
      lanes: [lane],
      queue,
      shares: { within: () => true, brings: () => true },
      cut: new WeakSet(),
      drop: (_, error) => assert.fail(error)
    })
    const wait = (offset: number) => {
      const at = { key: cid.toString(), offset, depth: 1 }
      const { waiter, given } = queue.wait(at, new AbortController().signal)
      waiter.needed = true
      return given
    }

    const first = wait(0)
    const arrive = () => {
      deliveries.begin(lane, cid, MiB)?.set(leaf)
      deliveries.ended(lane)
    }
    arrive()
    assert.equal(deliveries.begin(lane, cid, MiB), undefined, 'not null, which passes it over')
    assert.ok(leaf.equals((await first) ?? new Uint8Array()))
    assert.equal(deliveries.begin(lane, cid, MiB), undefined)
    const second = wait(2 * MiB)
    arrive()
    assert.ok(leaf.equals((await second) ?? new Uint8Array()))
  })
})
