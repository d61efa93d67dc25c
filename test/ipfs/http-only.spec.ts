import assert from 'node:assert/strict'
import type { CID } from 'multiformats/cid'
import { useHttpServers } from '../support/http-servers.ts'
import { testGateway } from '../support/ipfs-gateway.ts'
import {
  addFile,
  content,
  forever,
  readAll,
  startNode,
  stopNodes,
  type TestNode,
  WatchedBlockstore
} from '../support/ipfs-nodes.ts'

/** One source has an HTTP address only; another one is connected, and is of no use. */
describe('a source that has an HTTP address only, beside one that is connected', () => {
  const bytes = content(3_000_000)
  const { listen } = useHttpServers()
  let useless: TestNode
  let store: WatchedBlockstore
  let file: CID

  beforeEach(async () => {
    useless = await startNode()
    store = new WatchedBlockstore()
    file = await addFile(store, bytes)
  })
  afterEach(stopNodes)

  it('gives blocks', async () => {
    const node = await startNode()
    const gateway = await listen(testGateway(store).handler)
    const peers = await node.ipfs.connect([...useless.ipfs.addresses(), gateway], { signal: forever() })
    const block = await node.ipfs.block(file, { peers, signal: forever() })
    assert.deepEqual(Buffer.from(block), Buffer.from(store.peek(file)))
  })

  it('gives files, and their sizes', async () => {
    const node = await startNode()
    const gateway = await listen(testGateway(store).handler)
    const peers = await node.ipfs.connect([...useless.ipfs.addresses(), gateway], { signal: forever() })
    assert.deepEqual(await node.ipfs.stat(file, { peers, signal: forever() }), { size: bytes.length })
    assert.deepEqual(await readAll(node.ipfs.leaves(file, { peers, signal: forever() })), Buffer.from(bytes))
  })

  it('gives them when it had failed a moment before', async () => {
    const node = await startNode()
    let failing = true
    const { handler } = testGateway(store)
    const gateway = await listen((request, answer) => {
      if (failing) request.socket.destroy()
      else handler(request, answer)
    })
    const peers = await node.ipfs.connect([...useless.ipfs.addresses(), gateway], { signal: forever() })
    await assert.rejects(node.ipfs.block(file, { peers, signal: forever() }))
    failing = false
    const block = await node.ipfs.block(file, { peers, signal: forever() })
    assert.deepEqual(Buffer.from(block), Buffer.from(store.peek(file)))
  })

  it("is asked for a file's root once, and not again for what is in the store", async () => {
    const node = await startNode()
    const asked: string[] = []
    const { handler } = testGateway(store)
    const gateway = await listen((request, answer) => {
      asked.push(request.url ?? '')
      handler(request, answer)
    })
    const peers = await node.ipfs.connect([gateway], { signal: forever() })
    for (let i = 0; i < 3; i++)
      assert.deepEqual(await node.ipfs.stat(file, { peers, signal: forever() }), { size: bytes.length })
    assert.deepEqual(await readAll(node.ipfs.leaves(file, { peers, signal: forever() })), Buffer.from(bytes))
    assert.equal(asked.filter((url) => url.includes('dag-scope=block')).length, 1, asked.join('\n'))
  })

  it('is named with what it answered when nobody has the block', async () => {
    const node = await startNode()
    const gateway = await listen((_, answer) => void answer.writeHead(500).end())
    const name = gateway.replace(/\/p2p\/.*/, '')
    for (const others of [[], useless.ipfs.addresses()]) {
      const peers = await node.ipfs.connect([...others, gateway], { signal: forever() })
      await assert.rejects(node.ipfs.block(file, { peers, signal: forever() }), (error: Error) => {
        assert.ok(error.message.includes(`${name} answered 500`), error.message)
        return true
      })
    }
  })
})
