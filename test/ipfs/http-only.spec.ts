import assert from 'node:assert/strict'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { CID } from 'multiformats/cid'
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
  const servers: Server[] = []
  let useless: TestNode
  let store: WatchedBlockstore
  let file: CID

  beforeEach(async () => {
    useless = await startNode()
    store = new WatchedBlockstore()
    file = await addFile(store, bytes)
  })
  afterEach(async () => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections()
      server.close()
    }
    await stopNodes()
  })

  async function address(handler: RequestListener): Promise<string> {
    const server = createServer(handler)
    servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return `/ip4/127.0.0.1/tcp/${(server.address() as AddressInfo).port}/http`
  }

  it('gives blocks', async () => {
    const node = await startNode()
    const gateway = await address(testGateway(store).handler)
    const peers = await node.ipfs.connect([...useless.ipfs.addresses(), gateway], { signal: forever() })
    const block = await node.ipfs.block(file, { peers, signal: forever() })
    assert.deepEqual(Buffer.from(block), Buffer.from(store.peek(file)))
  })

  it('gives files, and their sizes', async () => {
    const node = await startNode()
    const gateway = await address(testGateway(store).handler)
    const peers = await node.ipfs.connect([...useless.ipfs.addresses(), gateway], { signal: forever() })
    assert.deepEqual(await node.ipfs.stat(file, { peers, signal: forever() }), { size: bytes.length })
    assert.deepEqual(await readAll(node.ipfs.leaves(file, { peers, signal: forever() })), Buffer.from(bytes))
  })

  it('gives them when it had failed a moment before', async () => {
    const node = await startNode()
    let failing = true
    const { handler } = testGateway(store)
    const gateway = await address((request, answer) => {
      if (failing) request.socket.destroy()
      else handler(request, answer)
    })
    const peers = await node.ipfs.connect([...useless.ipfs.addresses(), gateway], { signal: forever() })
    await assert.rejects(node.ipfs.block(file, { peers, signal: forever() }))
    failing = false
    const block = await node.ipfs.block(file, { peers, signal: forever() })
    assert.deepEqual(Buffer.from(block), Buffer.from(store.peek(file)))
  })
})
