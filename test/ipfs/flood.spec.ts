/** Peers that send much more over bitswap than they were asked for. */
import assert from 'node:assert/strict'
import type { CID } from 'multiformats/cid'
import { type BitswapPeer, blocksMessage, lengthOf, startBitswapPeer } from '../support/bitswap-peer.ts'
import {
  addFile,
  content,
  forever,
  PATIENT,
  startNode,
  stopNodes,
  type TestNode
} from '../support/ipfs-nodes.ts'

const MiB = 1024 * 1024

describe('ipfs: a peer that floods', () => {
  let bad: BitswapPeer | undefined
  afterEach(async () => {
    await bad?.stop()
    await stopNodes()
  })

  /** A good peer that has a few blocks, one that answers with `flood` instead, and a client connected to both. */
  async function trio(flood: (cid: CID, bytes: Uint8Array) => AsyncGenerator<Uint8Array>) {
    const [good, client] = await Promise.all([startNode(), startNode({ listen: [], timeouts: PATIENT })])
    const blocks: CID[] = []
    for (let i = 0; i < 4; i++) blocks.push(await addFile(good.store, content(MiB)))
    let sent = 0
    let asked = 0
    bad = await startBitswapPeer({
      find: () => undefined,
      async *instead(cid) {
        if (!good.store.has(cid)) return
        asked++
        for await (const piece of flood(cid, good.store.peek(cid))) {
          sent += piece.length
          yield piece
        }
      }
    })
    const peers = await client.ipfs.connect([bad.multiaddr], { signal: forever() })
    peers.push(...(await client.ipfs.connect(good.ipfs.addresses(), { signal: forever() })))
    return { client, peers, blocks, sent: () => sent, asked: () => asked, address: bad.multiaddr }
  }

  /** It is asked once, cut off, and has no part in anything afterwards. */
  async function isShutOut(flood: Parameters<typeof trio>[0]): Promise<void> {
    const { client, peers, blocks, sent, asked, address } = await trio(flood)
    const [first, ...others] = blocks
    await client.ipfs.block(first as CID, { peers, signal: forever() })
    await untilCut(client, address)
    for (const cid of others) await client.ipfs.block(cid, { peers, signal: forever() })
    assert.ok(sent() < 64 * MiB, `${sent()} bytes were taken of it`)
    const [id] = peers.map(String)
    await assert.rejects(client.ipfs.connect([address], { signal: forever() }), /flooded/)
    const unnamed = address.replace(/\/p2p\/.*/, '')
    await assert.rejects(client.ipfs.connect([unnamed], { signal: forever() }), /could be reached/)
    const only = peers.slice(0, 1)
    const nowhere = await addFile((await startNode()).store, content(10))
    await assert.rejects(
      client.ipfs.block(nowhere, { peers: only, signal: forever() }),
      new RegExp(`${id} isn't asked for another \\d+ s, for it has flooded us`)
    )
    assert.equal(asked(), 1)
  }

  async function untilCut(client: TestNode, address: string): Promise<void> {
    const id = address.split('/p2p/')[1]
    for (const end = Date.now() + 20_000; ; await new Promise((resolve) => setTimeout(resolve, 10))) {
      const health = client.ipfs.health().find(({ source }) => source === id)
      if ((health?.failures ?? 0) > 0) return
      assert.ok(Date.now() < end, 'it was never cut off')
    }
  }

  it('with a message of 3 GiB is left alone before it has said more than its length', () =>
    isShutOut(async function* () {
      yield lengthOf(3 * 1024 ** 3)
      for (let i = 0; i < 3 * 1024; i++) yield Buffer.alloc(MiB)
    }))

  it('with the block that it was asked for, again and again, gives it once', () =>
    isShutOut(async function* (cid, bytes) {
      for (let i = 0; i < 3 * 1024; i++) yield blocksMessage([{ cid, bytes }])
    }))

  it('with messages that say nothing is left alone', () =>
    isShutOut(async function* () {
      // an unknown field, as the newer versions of a protocol have them
      const nothing = Buffer.concat([Buffer.from([0x7a]), lengthOf(MiB), Buffer.alloc(MiB)])
      for (let i = 0; i < 3 * 1024; i++) yield Buffer.concat([lengthOf(nothing.length), nothing])
    }))

  it('is not one that sends a lot because it was asked for a lot', async () => {
    const [good, client] = await Promise.all([startNode(), startNode({ listen: [] })])
    const peers = await client.ipfs.connect(good.ipfs.addresses(), { signal: forever() })
    for (let i = 0; i < 40; i++) {
      const cid = await addFile(good.store, content(MiB))
      await client.ipfs.block(cid, { peers, signal: forever() })
    }
    assert.equal(client.ipfs.health().find(({ source }) => source === good.ipfs.peerId)?.failures, 0)
  })
})
