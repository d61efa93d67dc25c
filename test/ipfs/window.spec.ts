import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { addFile, content, forever, startNode, stopNodes, type TestNode } from '../support/ipfs-nodes.ts'

const MiB = 1024 * 1024

describe('ipfs: reading ahead', function () {
  this.timeout(60_000)
  afterEach(stopNodes)

  async function pair() {
    const server = await startNode()
    const client = await startNode({ listen: [] })
    const peers = await client.ipfs.connect(server.ipfs.addresses(), { signal: forever() })
    return { server, client, peers }
  }

  /** Waits until the peer is asked for nothing more. */
  async function quiet({ store }: TestNode): Promise<number> {
    for (let before = -1; before !== store.reads.length; await sleep(150)) before = store.reads.length
    return store.reads.length
  }

  it('a slow consumer has no more than the window fetched', async () => {
    const { server, client, peers } = await pair()
    const root = await addFile(server.store, content(48 * MiB))
    let taken = 0
    for await (const { data } of client.ipfs.leaves(root, { peers, signal: forever() })) {
      assert.equal(data.length, MiB)
      taken++
      if (taken % 12 !== 0) continue
      const reads = await quiet(server)
      assert.ok(reads <= 1 + taken + 16, `${reads} blocks were fetched for ${taken} taken`)
    }
    assert.equal(taken, 48)
    assert.equal(server.store.reads.length, 49)
  })

  it('many slow consumers share one window, and all get on', async () => {
    const { server, client, peers } = await pair()
    const files = await Promise.all(Array.from({ length: 8 }, () => addFile(server.store, content(20 * MiB))))
    let taken = 0
    const readers = files.map((root) => client.ipfs.leaves(root, { peers, signal: forever() }))
    for (let round = 0; round < 20; round++) {
      for (const reader of readers) {
        const { done, value } = await reader.next()
        assert.equal(done, false)
        assert.equal(value?.offset, round * MiB)
        taken++
      }
      if (round % 8 !== 7) continue
      const reads = await quiet(server)
      assert.ok(reads <= 8 + taken + 64 + 8, `${reads} blocks were fetched for ${taken} taken`)
    }
    for (const reader of readers) assert.equal((await reader.next()).done, true)
  })

  for (const [how, leave] of [
    ['leaving the loop', undefined],
    ['an abort', new AbortController()]
  ] as const) {
    it(`${how} stops everything`, async () => {
      const { server, client, peers } = await pair()
      const root = await addFile(server.store, content(48 * MiB))
      const signal = leave?.signal ?? forever()
      try {
        for await (const _ of client.ipfs.leaves(root, { peers, signal })) {
          if (leave === undefined) break
          leave.abort()
        }
      } catch (error) {
        assert.equal(error, signal.reason)
      }
      const reads = await quiet(server)
      assert.ok(reads <= 1 + 1 + 3, `${reads} blocks were fetched for one`)
      // the window is free again: another file gets all of it
      const next = await addFile(server.store, content(4 * MiB))
      let size = 0
      for await (const { data } of client.ipfs.leaves(next, { peers, signal: forever() })) size += data.length
      assert.equal(size, 4 * MiB)
    })
  }
})
