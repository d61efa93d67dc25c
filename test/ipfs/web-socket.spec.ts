import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:net'
import { addFile, content, forever, HASTY, readAll, startNode, stopNodes } from '../support/ipfs-nodes.ts'

describe('ipfs: WebSockets and the dial policy', () => {
  const servers: Server[] = []
  after(async () => {
    for (const server of servers) server.close()
    await stopNodes()
  })

  /** Counts who connects to an address of this machine. */
  async function counter(host: string, port = 0): Promise<{ port: number; count: () => number }> {
    let count = 0
    const server = createServer((socket) => {
      count++
      socket.on('error', () => undefined).destroy()
    })
    servers.push(server)
    await new Promise<void>((resolve) => server.listen(port, host, resolve))
    return { port: (server.address() as { port: number }).port, count: () => count }
  }

  it('files come over them, by name, whole', async () => {
    const bytes = content(20_000_000)
    const { ipfs: publisher, store } = await startNode({ listen: ['/ip4/127.0.0.1/tcp/0/ws'] })
    const file = await addFile(store, bytes)
    const { ipfs } = await startNode({ listen: [] })
    const addresses = publisher
      .addresses()
      .map((address) => address.replace('/ip4/127.0.0.1/', '/dns4/localhost/'))
    const peers = await ipfs.connect(addresses, { signal: forever() })
    assert.deepEqual(peers.map(String), [publisher.peerId])
    assert.ok((await readAll(ipfs.leaves(file, { peers, signal: forever() }))).equals(bytes))
  })

  it('the address that was judged is dialled, and not the name after /sni/', async () => {
    const named = await counter('127.0.0.1')
    const judged = await counter('127.0.0.2', named.port)
    const allowDial = { base: 'public', allow: ['127.0.0.2'], deny: [] } as const
    const { ipfs } = await startNode({ listen: [], allowDial, timeouts: HASTY })
    const address = `/ip4/127.0.0.2/tcp/${named.port}/tls/sni/localhost/ws`
    await assert.rejects(ipfs.connect([address], { signal: forever() }), { code: 'SOURCE_FAILED' })
    assert.deepEqual([judged.count(), named.count()], [1, 0])
  })

  it('single ranges may be allowed beside public addresses, and denied beside all', async () => {
    const seen = await counter('127.0.0.2')
    const address = `/ip4/127.0.0.2/tcp/${seen.port}/ws`
    const rules = [
      [{ base: 'public', allow: [], deny: [] }, 0],
      [{ base: 'public', allow: ['127.0.0.0/30'], deny: [] }, 1],
      [{ base: 'public', allow: ['127.0.0.0/30'], deny: ['127.0.0.2'] }, 0],
      [{ base: 'any', allow: [], deny: ['127.0.0.2/31'] }, 0],
      [{ base: 'any', allow: [], deny: ['10.0.0.0/8', '::/0'] }, 0],
      [{ base: 'any', allow: [], deny: ['10.0.0.0/8'] }, 1]
    ] as const
    for (const [allowDial, expected] of rules) {
      const before = seen.count()
      const { ipfs } = await startNode({ listen: [], allowDial, timeouts: HASTY })
      await assert.rejects(ipfs.connect([address], { signal: forever() }))
      assert.equal(seen.count() - before, expected, JSON.stringify(allowDial))
    }
  })
})
