import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:net'
import { CID } from 'multiformats/cid'
import { RegistryError } from '../../src/oci/errors.ts'
import {
  addFile,
  content,
  forever,
  HASTY,
  memoryRecords,
  startNode,
  stopNodes
} from '../support/ipfs-nodes.ts'

describe('ipfs: the node and its connections', () => {
  const servers: Server[] = []
  afterEach(async () => {
    for (const server of servers.splice(0)) server.close()
    await stopNodes()
  })

  /** A TCP port that takes connections and never says a word. */
  async function silentPort(): Promise<number> {
    const server = createServer((socket) => socket.on('error', () => socket.destroy()).unref())
    servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return (server.address() as { port: number }).port
  }

  it('keeps its peer id with its records, and has another with others', async () => {
    const kept = new Map<string, Uint8Array>()
    const first = await startNode({ records: memoryRecords(kept) })
    await first.ipfs.stop()
    const again = await startNode({ records: memoryRecords(kept) })
    assert.equal(again.ipfs.peerId, first.ipfs.peerId)
    assert.deepEqual([...kept.keys()], ['libp2p/key'])
    assert.notEqual((await startNode()).ipfs.peerId, first.ipfs.peerId)
    kept.set('libp2p/key', content(10))
    await assert.rejects(startNode({ records: memoryRecords(kept) }), /private key.*can't be read/)
  })

  it('publishes what it listens on, or what it is told to announce, with its peer id', async () => {
    const { ipfs } = await startNode({ listen: ['/ip4/127.0.0.1/tcp/0', '/ip4/127.0.0.1/tcp/0/ws'] })
    assert.equal(ipfs.addresses().length, 2)
    for (const address of ipfs.addresses()) {
      assert.match(address, /^\/ip4\/127\.0\.0\.1\/tcp\/[1-9]\d*(\/ws)?\/p2p\/12D3/)
      assert.ok(address.endsWith(`/p2p/${ipfs.peerId}`))
    }
    const announced = await startNode({
      announce: [
        '/ip4/127.0.0.1/tcp/4001',
        '/dns4/example.com/tcp/4001',
        '/dns4/example.com/tcp/443/tls/http'
      ]
    })
    const id = `/p2p/${announced.ipfs.peerId}`
    assert.deepEqual(announced.ipfs.addresses(), [
      `/dns4/example.com/tcp/4001${id}`,
      `/dns4/example.com/tcp/443/tls/http${id}`,
      `/ip4/127.0.0.1/tcp/4001${id}`
    ])
  })

  it('takes itself, and one it is connected to, for no error', async () => {
    const [a, b] = await Promise.all([startNode(), startNode()])
    const signal = forever()
    assert.deepEqual(await a.ipfs.connect(a.ipfs.addresses(), { signal }), [])
    for (let times = 0; times < 2; times++) {
      const peers = await a.ipfs.connect([...a.ipfs.addresses(), ...b.ipfs.addresses()], { signal })
      assert.deepEqual(peers.map(String), [b.ipfs.peerId])
    }
  })

  it('connects through whichever address answers, also to several at once', async () => {
    const dead = await silentPort()
    const [a, b] = await Promise.all([startNode(), startNode()])
    const client = await startNode({ listen: [] })
    const addresses = [
      `/ip4/127.0.0.1/tcp/1/p2p/${b.ipfs.peerId}`,
      `/ip4/127.0.0.1/tcp/${dead}/p2p/${b.ipfs.peerId}`,
      ...b.ipfs.addresses()
    ]
    const both = await Promise.all(
      [addresses, addresses, a.ipfs.addresses()].map((list) =>
        client.ipfs.connect(list, { signal: forever() })
      )
    )
    assert.deepEqual(
      both.map((peers) => peers.map(String)),
      [[b.ipfs.peerId], [b.ipfs.peerId], [a.ipfs.peerId]]
    )
  })

  it('connects by an address without a peer id', async () => {
    const [a, b] = await Promise.all([startNode(), startNode()])
    const bare = b.ipfs.addresses().map((address) => address.replace(/\/p2p\/.*/, ''))
    assert.deepEqual((await a.ipfs.connect(bare, { signal: forever() })).map(String), [b.ipfs.peerId])
  })

  it('names every address and its failure when none answers', async () => {
    const client = await startNode({ timeouts: HASTY })
    const other = await startNode()
    const stranger = `${other.ipfs.addresses()[0]?.replace(/\/p2p\/.*/, '')}/p2p/12D3KooWHRTWyaMAkCwESwn4E6C6pKyNxvGgvKvf2qiz2HrZ5fnr`
    const refused = '/ip4/127.0.0.1/tcp/1'
    const addresses = [refused, 'nonsense', '/unix/tmp/some.sock', stranger]
    await assert.rejects(client.ipfs.connect(addresses, { signal: forever() }), (error) => {
      assert.ok(error instanceof RegistryError)
      assert.equal(error.code, 'SOURCE_FAILED')
      for (const address of addresses)
        assert.ok(error.message.includes(address), `${address}: ${error.message}`)
      assert.match(error.message, /ECONNREFUSED/)
      assert.match(error.message, /not a multiaddr/)
      assert.match(error.message, /answered as another peer/)
      return true
    })
    await assert.rejects(client.ipfs.connect([], { signal: forever() }), { code: 'SOURCE_FAILED' })
  })

  it('ends a dial that nobody answers with SOURCE_TIMEOUT', async () => {
    const client = await startNode({ timeouts: HASTY })
    const silent = `/ip4/127.0.0.1/tcp/${await silentPort()}`
    await assert.rejects(client.ipfs.connect([silent], { signal: forever() }), {
      code: 'SOURCE_TIMEOUT',
      message: /no answer within 400 ms/
    })
  })

  it('ends a dial with its caller', async () => {
    const client = await startNode()
    const silent = `/ip4/127.0.0.1/tcp/${await silentPort()}`
    const signal = AbortSignal.timeout(50)
    await assert.rejects(client.ipfs.connect([silent], { signal }), { name: 'TimeoutError' })
  })

  it('dials no private address when told so', async () => {
    const other = await startNode()
    const client = await startNode({ allowDial: 'public' })
    await assert.rejects(client.ipfs.connect(other.ipfs.addresses(), { signal: forever() }), {
      code: 'SOURCE_FAILED',
      message: /127\.0\.0\.1 isn't a public address/
    })
    await assert.rejects(
      client.ipfs.connect(['/dns4/localhost/tcp/4001'], { signal: forever() }),
      /localhost/
    )
  })

  it('refuses what is no file', async () => {
    const { ipfs, store } = await startNode()
    const signal = forever()
    const directory = CID.parse('QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn')
    await store.put(directory, Buffer.from([0x0a, 0x02, 0x08, 0x01]))
    await assert.rejects(ipfs.stat(directory, { peers: [], signal }), /is a directory, not a file/)
    await assert.rejects(ipfs.leaves(directory, { peers: [], signal }).next(), /is a directory, not a file/)
    const cbor = CID.createV1(0x71, (await addFile(store, content(5))).multihash)
    await assert.rejects(ipfs.stat(cbor, { peers: [], signal }), /codec 0x71/)
    await assert.rejects(ipfs.leaves(cbor, { peers: [], signal }).next(), /codec 0x71/)
  })

  it('ends what is under way when it is stopped', async () => {
    const [server, client] = await Promise.all([startNode(), startNode()])
    const peers = await client.ipfs.connect(server.ipfs.addresses(), { signal: forever() })
    const root = await addFile(server.store, content(10))
    server.store.serving = () => new Promise(() => {})
    const block = assert.rejects(client.ipfs.block(root, { peers, signal: forever() }), /stopping/)
    await client.ipfs.stop()
    await block
  })
})
