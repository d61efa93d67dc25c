import assert from 'node:assert/strict'
import { unixfs } from '@helia/unixfs'
import { multiaddr } from '@multiformats/multiaddr'
import { heliaNode } from '../support/helia-node.ts'
import { addFile, content, startNode, stopNodes } from '../support/ipfs-nodes.ts'

describe('ipfs: a Helia node of stock parts', () => {
  afterEach(stopNodes)

  it('fetches a file over bitswap, all of whose leaves it wants at once', async () => {
    const { ipfs, store } = await startNode()
    const bytes = content(160 * 1024 * 1024)
    const file = await addFile(store, bytes)
    const [address = ''] = ipfs.addresses()
    const helia = await heliaNode(address)
    try {
      const session = helia.blockstore.createSession(file, { providers: [multiaddr(address)] })
      let at = 0
      for await (const piece of unixfs({ ...helia, blockstore: session }).cat(file)) {
        assert.ok(Buffer.from(bytes.buffer, bytes.byteOffset + at, piece.length).equals(piece))
        at += piece.length
      }
      assert.equal(at, bytes.length)
    } finally {
      await helia.stop()
    }
  })
})
