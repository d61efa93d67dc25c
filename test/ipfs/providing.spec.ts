import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import { createProvider, type Routing } from '../../src/ipfs/index.ts'
import { createLog } from '../../src/log.ts'
import { rawCid } from '../../src/store/index.ts'
import { memoryRecords } from '../support/ipfs-nodes.ts'

type Told = Pick<Routing, 'provide' | 'provides'>

/** The schedule alone; that a DHT takes note is shown in test/e2e/finding.spec.ts. */
describe('ipfs: telling the network what is here', () => {
  const cid = (text: string): CID => rawCid(createHash('sha256').update(text).digest())
  const hour = 3_600_000

  /** Notes what it is told; each CID is taken by as many peers as `peers` says. */
  function network(peers: (told: CID) => number | Promise<number>) {
    const told: string[] = []
    let atOnce = 0
    const state = { told, most: 0 }
    const routing: Told = {
      provides: true,
      async provide(one) {
        state.most = Math.max(state.most, ++atOnce)
        told.push(one.toString())
        const count = await peers(one)
        atOnce--
        return count
      }
    }
    return { routing, state }
  }

  function provider(routing: Told, cids: readonly CID[], kept = new Map<string, Uint8Array>()) {
    return createProvider({
      routing,
      offered: async function* () {
        yield* cids
      },
      records: memoryRecords(kept),
      intervalMs: 22 * hour,
      deadlineMs: 1000,
      log: createLog('silent')
    })
  }
  const round = { signal: new AbortController().signal, progress: () => {} }

  it('tells of everything, a few at a time, counts who took note, and says when again', async () => {
    const cids = Array.from({ length: 50 }, (_, i) => cid(`${i}`))
    const { routing, state } = network(async (one) => {
      await new Promise((resolve) => setImmediate(resolve))
      return one.equals(cids[7] ?? cid('7')) ? 0 : 20
    })
    const made = provider(routing, cids)
    const { last, next, running } = await made.round(round)
    assert.deepEqual(state.told.toSorted(), cids.map(String).toSorted())
    assert.ok(state.most > 1 && state.most <= 8)
    assert.deepEqual([last?.told, last?.failed, running], [49, 1, undefined])
    assert.ok((next ?? 0) > Date.now() + 21 * hour)
    await made.stop()
  })

  it('begins the next round when it is due, not at every start', async () => {
    const kept = new Map<string, Uint8Array>()
    const first = provider(network(() => 1).routing, [cid('a')], kept)
    await first.round(round)
    await first.stop()
    const again = provider(network(() => 1).routing, [cid('a')], kept)
    again.start()
    while (again.status().next === undefined) await new Promise((resolve) => setImmediate(resolve))
    assert.ok((again.status().next ?? 0) > Date.now() + 21 * hour)
    assert.equal(again.status().last?.told, 1)
    await again.stop()
  })

  it('tries again soon when nobody could be told', async () => {
    const made = provider(network(() => 0).routing, [cid('a')])
    const { last, next } = await made.round(round)
    assert.deepEqual([last?.told, last?.failed], [0, 1])
    assert.ok((next ?? 0) < Date.now() + 2 * 60_000)
    await made.stop()
  })

  it('tells of what is new at once, and of a root that was replaced meanwhile not at all', async () => {
    const hold = Promise.withResolvers<void>()
    const { routing, state } = network(async () => {
      await hold.promise
      return 1
    })
    const made = provider(routing, [])
    made.add([cid('busy')])
    while (state.told.length === 0) await new Promise((resolve) => setImmediate(resolve))
    made.add([cid('root 1')])
    made.add([cid('root 2')], cid('root 1'))
    hold.resolve()
    while (made.status().waiting > 0) await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(state.told, [cid('busy').toString(), cid('root 2').toString()])
    await made.stop()
  })

  it('ends a round when it is stopped', async () => {
    const { routing } = network(() => new Promise(() => {}))
    const silent: Told = {
      ...routing,
      provide: (_, signal) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener('abort', () => reject(signal.reason as Error))
        )
    }
    const made = provider(silent, [cid('a')])
    const waiting = made.round(round)
    await made.stop()
    assert.equal((await waiting).last, undefined)
  })
})
