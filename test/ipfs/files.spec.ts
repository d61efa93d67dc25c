import assert from 'node:assert/strict'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { identity } from 'multiformats/hashes/identity'
import { sha256 } from 'multiformats/hashes/sha2'
import type { Leaf } from '../../src/ipfs/index.ts'
import { addFile, content, forever, PROFILES, readAll, startNode, stopNodes } from '../support/ipfs-nodes.ts'

describe('ipfs: the leaves of a file', () => {
  afterEach(stopNodes)

  async function pair(listen = '/ip4/127.0.0.1/tcp/0') {
    const server = await startNode({ listen: [listen] })
    const client = await startNode({ listen: [] })
    const peers = await client.ipfs.connect(server.ipfs.addresses(), { signal: forever() })
    return { server, client, peers }
  }

  for (const [name, listen] of [
    ['TCP', '/ip4/127.0.0.1/tcp/0'],
    ['WebSocket', '/ip4/127.0.0.1/tcp/0/ws']
  ] as const) {
    it(`come over ${name}`, async () => {
      const { server, client, peers } = await pair(listen)
      const bytes = content(3_500_000)
      const root = await addFile(server.store, bytes)
      assert.deepEqual(await readAll(client.ipfs.leaves(root, { peers, signal: forever() })), bytes)
    })
  }

  for (const profile of Object.keys(PROFILES) as (keyof typeof PROFILES)[]) {
    for (const leaves of [0.3, 1, 2.5, 12, 70]) {
      const size = Math.floor(leaves * PROFILES[profile].chunkSize)
      if (size > 4_000_000) continue
      it(`${profile}, ${size} bytes: content, offsets, block framing and what is kept`, async () => {
        const { server, client, peers } = await pair()
        const bytes = content(size)
        const root = await addFile(server.store, bytes, profile)
        const got: Leaf[] = []
        for await (const leaf of client.ipfs.leaves(root, { peers, signal: forever() })) got.push(leaf)
        assert.deepEqual(Buffer.concat(got.map(({ data }) => data)), bytes)
        let offset = 0
        for (const leaf of got) {
          assert.equal(leaf.offset, offset)
          assert.equal(leaf.local, false)
          offset += leaf.data.length
          const block = Buffer.concat([leaf.prefix, leaf.data, leaf.suffix])
          assert.deepEqual((await sha256.digest(block)).digest, leaf.cid.multihash.digest)
          assert.equal(leaf.prefix.length === 0, PROFILES[profile].rawLeaves)
          assert.equal(
            client.store.puts.includes(leaf.cid.toString()),
            false,
            'a leaf was put into the store'
          )
        }
        assert.equal(
          client.store.puts.length,
          new Set(server.store.puts).size - new Set(got.map(({ cid }) => cid.toString())).size
        )
        assert.deepEqual(await client.ipfs.stat(root, { peers, signal: forever() }), { size })
      })
    }

    it(`${profile}: from any byte, only what is needed`, async () => {
      const { server, client, peers } = await pair()
      const { chunkSize } = PROFILES[profile]
      const size = Math.min(chunkSize * 13 + 5, 3_000_000)
      const bytes = content(size)
      const root = await addFile(server.store, bytes, profile)
      for (const from of [1, chunkSize - 1, chunkSize, Math.floor(size / 2), size - 1, size, size + 1]) {
        let end: number | undefined
        for await (const leaf of client.ipfs.leaves(root, { peers, from, signal: forever() })) {
          if (end === undefined) assert.ok(leaf.offset <= from && from < leaf.offset + leaf.data.length)
          else assert.equal(leaf.offset, end)
          assert.deepEqual(
            Buffer.from(leaf.data),
            Buffer.from(bytes.subarray(leaf.offset, leaf.offset + leaf.data.length))
          )
          end = leaf.offset + leaf.data.length
        }
        assert.equal(end, from < size ? size : undefined)
      }
    })
  }

  it('an empty file has none, and is kept', async () => {
    const { server, client, peers } = await pair()
    for (const profile of ['unixfs-v1-2025', 'unixfs-v0-2015'] as const) {
      const root = await addFile(server.store, new Uint8Array(), profile)
      assert.equal((await readAll(client.ipfs.leaves(root, { peers, signal: forever() }))).length, 0)
      assert.deepEqual(await client.ipfs.stat(root, { peers, signal: forever() }), { size: 0 })
      assert.ok(client.store.puts.includes(root.toString()))
    }
  })

  it('inline content comes out of the CID', async () => {
    const { ipfs, store } = await startNode()
    const inline = CID.createV1(raw.code, identity.digest(Buffer.from('hello')))
    assert.equal((await readAll(ipfs.leaves(inline, { peers: [], signal: forever() }))).toString(), 'hello')
    assert.deepEqual(await ipfs.stat(inline, { peers: [], signal: forever() }), { size: 5 })
    const large = CID.createV1(raw.code, identity.digest(content(129)))
    await assert.rejects(ipfs.stat(large, { peers: [], signal: forever() }), {
      code: 'SOURCE_FAILED',
      message: /inline/
    })
    assert.deepEqual(store.puts, [])
  })

  it('come out of the own store without a peer', async () => {
    const { ipfs, store } = await startNode()
    const bytes = content(2_500_000)
    const root = await addFile(store, bytes)
    for await (const leaf of ipfs.leaves(root, { peers: [], signal: forever() })) assert.ok(leaf.local)
    assert.deepEqual(await readAll(ipfs.leaves(root, { peers: [], signal: forever() })), bytes)
  })

  it('a block is verified and kept', async () => {
    const { server, client, peers } = await pair()
    const root = await addFile(server.store, content(1000))
    const block = await client.ipfs.block(root, { peers, signal: forever() })
    assert.deepEqual((await sha256.digest(block)).digest, root.multihash.digest)
    assert.deepEqual(client.store.puts, [root.toString()])
    await client.ipfs.block(root, { peers, signal: forever() })
    assert.equal(server.store.reads.length, 1)
  })
})
