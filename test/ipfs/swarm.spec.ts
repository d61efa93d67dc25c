import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Libp2p } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import type { CID } from 'multiformats/cid'
import type { Leaf, PeerId } from '../../src/ipfs/index.ts'
import { createSwarm, SWARM_MIN, SWARM_PROTOCOL } from '../../src/ipfs/swarm.ts'
import { createLog } from '../../src/log.ts'
import { type TestGateway, testGateway } from '../support/ipfs-gateway.ts'
import {
  addFile,
  content,
  forever,
  readAll,
  startLibp2p,
  startNode,
  stopNodes,
  type TestNode
} from '../support/ipfs-nodes.ts'
import { unhandledIn } from '../support/unhandled.ts'

describe('peers that fetch the same file', function () {
  this.timeout(30_000)
  const bytes = content(SWARM_MIN + 5)
  let publisher: TestNode
  let file: CID

  beforeEach(async () => {
    publisher = await startNode()
    file = await addFile(publisher.store, bytes)
    await publisher.ipfs.serveHttp(createServer(testGateway(publisher.store).handler))
  })
  afterEach(async () => {
    await stopNodes()
  })

  interface Puller extends TestNode {
    gateway: TestGateway
    read(size?: number): AsyncGenerator<Leaf>
  }

  /** A node that is connected to `peers`, to be asked in this order, and says what it is asked. */
  async function puller(addresses: string[], given: Parameters<typeof startNode>[0] = {}): Promise<Puller> {
    const node = await startNode(given)
    const gateway = testGateway(node.store)
    await node.ipfs.serveHttp(createServer(gateway.handler))
    const peers: PeerId[] =
      addresses.length === 0 ? [] : await node.ipfs.connect(addresses, { signal: forever() })
    return {
      ...node,
      gateway,
      read: (size = bytes.length) => node.ipfs.leaves(file, { peers, signal: forever(), size })
    }
  }

  it('are told of each other by the one whom they all ask, and ask each other first', async () => {
    const first = await puller(publisher.ipfs.addresses())
    const reading = first.read()
    await reading.next()
    const second = await puller(publisher.ipfs.addresses())
    assert.deepEqual(await readAll(second.read()), Buffer.from(bytes))
    // the first has nothing that it would serve, so the second went on to the publisher
    assert.ok(first.gateway.requests.length > 0)
    assert.ok(first.gateway.requests[0]?.startsWith(`/ipfs/${file}`))
    await reading.return(undefined)
  })

  it('are left alone when nobody else is fetching', async () => {
    const first = await puller(publisher.ipfs.addresses())
    await readAll(first.read())
    const second = await puller(publisher.ipfs.addresses())
    await readAll(second.read())
    assert.deepEqual(first.gateway.requests, [])
  })

  it('are left alone when the file is small', async () => {
    const first = await puller(publisher.ipfs.addresses())
    const reading = first.read(SWARM_MIN - 1)
    await reading.next()
    const second = await puller(publisher.ipfs.addresses())
    await readAll(second.read(SWARM_MIN - 1))
    assert.deepEqual(first.gateway.requests, [])
    await reading.return(undefined)
  })

  it('go on without one that went away without a word', async () => {
    const first = await puller(publisher.ipfs.addresses())
    const reading = first.read()
    await reading.next()
    const ended = assert.rejects(async () => {
      for await (const leaf of reading) leaf.release()
    })
    await first.ipfs.stop()
    await ended
    const second = await puller(publisher.ipfs.addresses())
    assert.deepEqual(await readAll(second.read()), Buffer.from(bytes))
  })

  for (const [what, said] of Object.entries({
    'never ends its question': (): string => '{"want"',
    'says nothing more after its question': (): string => `{"want":"${file}","offers":true}\n`
  })) {
    it(`let go of one that ${what}`, async () => {
      const [asked, asker] = [await startLibp2p(), await startLibp2p()]
      await createSwarm({
        libp2p: asked,
        offers: true,
        dialler: { connect: async () => [] },
        resting: () => false,
        failed: () => {},
        log: createLog('silent'),
        silenceMs: 200
      })
      const stream = await asker.dialProtocol(asked.getMultiaddrs(), SWARM_PROTOCOL)
      const closed = once(stream, 'close')
      stream.send(Buffer.from(said()))
      await closed
    })
  }

  it('are not asked any more when the wait is over just as they could be, and nothing of that is left', async () => {
    const [asked, asker] = [await startLibp2p(), await startLibp2p()]
    const closed = Promise.withResolvers<void>()
    await asked.handle(SWARM_PROTOCOL, (stream) => stream.addEventListener('close', () => closed.resolve()))
    const connection = await asker.dial(asked.getMultiaddrs())
    const swarm = await createSwarm({
      libp2p: asker,
      offers: true,
      dialler: { connect: async () => [] },
      resting: () => false,
      failed: () => {},
      log: createLog('silent')
    })
    const wait = new AbortController()
    const newStream = connection.newStream.bind(connection)
    connection.newStream = async (...args) => {
      const stream = await newStream(...args)
      wait.abort(new Error('nobody waits any more'))
      return stream
    }
    const unhandled = await unhandledIn(async () => {
      await assert.rejects(swarm.join(file, [asked.peerId], wait.signal), /nobody waits/)
      await closed.promise
      await new Promise((resolve) => setImmediate(resolve))
    })
    assert.deepEqual(unhandled, [])
  })

  describe('and are answered by one that', () => {
    /** A peer that has no file and answers the question with these bytes. */
    async function answering(
      answer: string | undefined
    ): Promise<{ node: Libp2p; address: string; id: PeerId }> {
      const node = await startLibp2p()
      await node.handle(SWARM_PROTOCOL, (stream) => {
        if (answer !== undefined) stream.send(Buffer.from(answer))
      })
      return { node, address: String(node.getMultiaddrs()[0]), id: node.peerId }
    }

    const nobody = String(peerIdFromString('12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA'))
    const answers: [string, string | undefined][] = [
      ['says nothing', undefined],
      ['sends no JSON', 'hello\n'],
      ['sends no object', '7\n'],
      ['sends what are no addresses', '{"peers":[["x"],7,{},null,[["/ip4/1.2.3.4"]]]}\n'],
      ['never ends its line', 'x'.repeat(100_000)],
      ['names a peer that is not there', `{"peers":[["/ip4/127.0.0.1/tcp/1/p2p/${nobody}"]]}\n`],
      [
        'names a crowd',
        `{"peers":${JSON.stringify(Array.from({ length: 50 }, (_, i) => [`/ip4/127.0.0.1/tcp/${i + 1}/p2p/${nobody}`]))}}\n`
      ]
    ]
    for (const [what, answer] of answers) {
      it(`${what}: the file comes all the same`, async () => {
        const bad = await answering(answer)
        const node = await puller([bad.address])
        await node.ipfs.connect(publisher.ipfs.addresses(), { signal: forever() })
        const peers = [bad.id, peerIdFromString(publisher.ipfs.peerId)]
        const leaves = node.ipfs.leaves(file, { peers, signal: forever(), size: bytes.length })
        assert.deepEqual(await readAll(leaves), Buffer.from(bytes))
      })
    }

    it('names a private address: it is not dialled where the policy forbids it', async () => {
      const victim = await puller([])
      const bad = await answering(`{"peers":[["${victim.ipfs.addresses()[0]}"]]}\n`)
      const asked: Record<string, number> = {}
      for (const allowDial of ['any', 'public'] as const) {
        const { ipfs } = await startNode({ allowDial })
        // one that may not dial the bad peer is dialled by it
        const identified = new Promise((resolve) => bad.node.addEventListener('peer:identify', resolve))
        await bad.node.dial(multiaddr(ipfs.addresses()[0]))
        await identified
        victim.gateway.requests.length = 0
        const leaves = ipfs.leaves(file, { peers: [bad.id], signal: forever(), size: bytes.length })
        await assert.rejects(readAll(leaves))
        asked[allowDial] = victim.gateway.requests.length
      }
      assert.deepEqual(asked, { any: 1, public: 0 })
    })
  })
})
