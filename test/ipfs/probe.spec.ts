import assert from 'node:assert/strict'
import { createServer, type Server as HttpServer } from 'node:http'
import { createServer as createTcpServer, type Server } from 'node:net'
import { type Ipfs, ProbeFailure } from '../../src/ipfs/index.ts'
import { testGateway } from '../support/ipfs-gateway.ts'
import {
  addFile,
  content,
  forever,
  HASTY,
  startNode,
  stopNodes,
  type TestNode
} from '../support/ipfs-nodes.ts'

const MiB = 1024 * 1024

/** A peer id that nobody here has. */
const NOBODY = '12D3KooWQ7ijcbCSmYXyrsPmVGZbmHMvM7gMRRiiRURXjqYdxM3x'

describe('ipfs: probes of single addresses and ways', () => {
  const servers: (Server | HttpServer)[] = []
  let peer: TestNode
  let ipfs: Ipfs

  before(async () => {
    peer = await startNode()
    ipfs = (await startNode({ listen: [], timeouts: { ...HASTY, dialMs: 2000, blockMs: 2000 } })).ipfs
  })
  after(async () => {
    for (const server of servers) server.close()
    await stopNodes()
  })

  async function portOf(server: Server | HttpServer): Promise<number> {
    servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return (server.address() as { port: number }).port
  }

  async function closedPort(): Promise<number> {
    const server = createTcpServer()
    const port = await portOf(server)
    await new Promise((resolve) => server.close(resolve))
    return port
  }

  const own = (): string => peer.ipfs.addresses()[0] as string
  const silent = (): Server => createTcpServer((socket) => socket.on('error', () => socket.destroy()).unref())

  it('take an address that works, also while its peer is connected', async () => {
    await ipfs.probe.address(own(), forever())
    await ipfs.probe.address(own(), forever())
    const { handler } = testGateway(peer.store)
    const port = await portOf(
      createServer((request, answer) =>
        request.url?.startsWith('/ipfs/bafkqaaa') ? answer.writeHead(404).end() : handler(request, answer)
      )
    )
    await assert.rejects(
      ipfs.probe.address(`/ip4/127.0.0.1/tcp/${port}/http`, forever()),
      /no trustless gateway/
    )
  })

  const failures: Record<string, [address: () => Promise<string> | string, kind: string, says: RegExp]> = {
    'nobody listens at': [
      async () => `/ip4/127.0.0.1/tcp/${await closedPort()}`,
      'refused',
      /connection refused/
    ],
    'nobody listens at, over HTTP': [
      async () => `/ip4/127.0.0.1/tcp/${await closedPort()}/http`,
      'refused',
      /connection refused/
    ],
    'nobody listens at, over a WebSocket': [
      async () => `/ip4/127.0.0.1/tcp/${await closedPort()}/ws`,
      'refused',
      /connection refused/
    ],
    'takes connections, but no WebSocket': [
      async () => `/ip4/127.0.0.1/tcp/${await portOf(createServer((_, answer) => answer.end()))}/ws`,
      'failed',
      /no WebSocket/
    ],
    'takes connections and says nothing': [
      async () => `/ip4/127.0.0.1/tcp/${await portOf(silent())}`,
      'timeout',
      /no answer within 2000 ms/
    ],
    'another peer answers at': [
      () => own().replace(/\/p2p\/.*/, `/p2p/${NOBODY}`),
      'other-peer',
      /answered as another peer, 12D3/
    ],
    'has no transport here': [
      () => '/ip4/127.0.0.1/udp/4001/quic-v1',
      'unsupported',
      /nothing here can dial/
    ],
    'is none': [() => '/ip4/127.0.0.1/nonsense/1', 'malformed', /not a multiaddr/]
  }
  for (const [what, [address, kind, says]] of Object.entries(failures)) {
    it(`name what is wrong with an address that ${what}`, async () => {
      await assert.rejects(ipfs.probe.address(await address(), forever()), (error: unknown) => {
        assert.ok(error instanceof ProbeFailure, String(error))
        assert.equal(error.kind, kind)
        assert.match(error.message, says)
        return true
      })
    })
  }

  it('name the policy, for libp2p and HTTP alike', async () => {
    const { ipfs: careful } = await startNode({ listen: [], allowDial: 'public' })
    for (const address of [own(), '/ip4/10.0.0.1/tcp/80/http']) {
      await assert.rejects(careful.probe.address(address, forever()), (error: unknown) => {
        assert.ok(error instanceof ProbeFailure && error.kind === 'policy', String(error))
        assert.match(error.message, /isn't a public address/)
        return true
      })
    }
  })

  it('end with the signal of who asked', async () => {
    const gone = new AbortController()
    const address = `/ip4/127.0.0.1/tcp/${await portOf(silent())}`
    const probe = ipfs.probe.address(address, gone.signal)
    gone.abort(new Error('not wanted any more'))
    await assert.rejects(probe, /not wanted any more/)
  })

  it('fetch the first leaf of a file by one way alone, and keep nothing', async () => {
    const bytes = content(3 * MiB)
    const file = await addFile(peer.store, bytes)
    const http = testGateway(peer.store)
    const stream = testGateway(peer.store)
    const port = await portOf(createServer(http.handler))
    const id = peer.ipfs.peerId
    const looker = await startNode({ listen: [] })
    const addresses = [own(), `/ip4/127.0.0.1/tcp/${port}/http/p2p/${id}`]
    const peers = await looker.ipfs.connect(addresses, { signal: forever() })
    const first = (way: 'http' | 'stream' | 'bitswap') =>
      looker.ipfs.probe.firstLeaf(file, way, { peers, signal: forever() })
    const served = (): number => peer.store.reads.length

    assert.equal(await first('stream'), undefined, 'a peer that serves no HTTP over streams has no such way')
    await peer.ipfs.serveHttp(createServer(stream.handler))
    const before = served()
    assert.equal(await first('http'), MiB)
    assert.ok(http.requests.length > 0)
    assert.equal(stream.requests.length, 0)
    assert.equal(served(), before, 'nothing came over bitswap')
    const asked = http.requests.length
    assert.equal(await first('stream'), MiB)
    assert.ok(stream.requests.length > 0)
    assert.equal(served(), before)
    assert.equal(await first('bitswap'), MiB)
    assert.ok(served() > before)
    assert.equal(http.requests.length, asked)
    assert.deepEqual(looker.store.puts, [])
  })

  it('ask peers also for what is in the own store', async () => {
    const bytes = content(1000)
    const looker = await startNode({ listen: [] })
    const file = await addFile(looker.store, bytes)
    const peers = await looker.ipfs.connect([own()], { signal: forever() })
    const first = () => looker.ipfs.probe.firstLeaf(file, 'bitswap', { peers, signal: forever() })
    await assert.rejects(first(), new RegExp(`peer ${peer.ipfs.peerId} `))
    await addFile(peer.store, bytes)
    assert.equal(await first(), 1000)

    const large = content(3 * MiB)
    const { handler, requests } = testGateway(peer.store)
    const port = await portOf(createServer(handler))
    const address = `/ip4/127.0.0.1/tcp/${port}/http/p2p/${peer.ipfs.peerId}`
    const named = await looker.ipfs.connect([address], { signal: forever() })
    const both = await addFile(looker.store, large)
    const read = () => looker.ipfs.probe.firstLeaf(both, 'http', { peers: named, signal: forever() })
    await assert.rejects(read(), /did not send/)
    await addFile(peer.store, large)
    assert.equal(await read(), MiB)
    assert.ok(requests.length >= 2)
  })

  it('say who did not send it', async () => {
    const file = await addFile(peer.store, content(3 * MiB))
    const liar = testGateway(peer.store)
    liar.sending = async (index) => (index === 1 ? Buffer.alloc(MiB) : undefined)
    const port = await portOf(createServer(liar.handler))
    const looker = await startNode({ listen: [] })
    const address = `/ip4/127.0.0.1/tcp/${port}/http/p2p/${peer.ipfs.peerId}`
    const peers = await looker.ipfs.connect([address], { signal: forever() })
    await assert.rejects(
      looker.ipfs.probe.firstLeaf(file, 'http', { peers, signal: forever() }),
      new RegExp(`${port}/http.* sent a wrong block`)
    )
  })
})
