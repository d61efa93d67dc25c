import assert from 'node:assert/strict'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { CID } from 'multiformats/cid'
import { MAPPINGS_PATH, MAX_ASKED, type Sought } from '../../src/ipfs/mappings.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { nodeCid } from '../../src/store/dag.ts'
import { rawCid } from '../../src/store/index.ts'
import { forever, PATIENT, startLibp2p, startNode, stopNodes, type TestNode } from '../support/ipfs-nodes.ts'

const MiB = 1024 * 1024

describe('who has blobs that are known only by their digests', function () {
  this.timeout(30_000)
  const timeouts = { ...PATIENT, answerMs: 20_000 }
  const servers: Server[] = []
  const large: Sought = { digest: digestOf(Buffer.from('large')), size: 5 * MiB }
  const small: Sought = { digest: digestOf(Buffer.from('small')), size: 5 }
  const file = (n: number): CID => nodeCid(Buffer.alloc(32, n))

  afterEach(async () => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections()
      server.close()
    }
    await stopNodes()
  })

  interface Peer extends TestNode {
    questions: string[]
    handler: RequestListener
  }

  /** A gateway that says these things. */
  async function peer(blobs: readonly { digest: Digest; cid: CID | string; size: unknown }[]): Promise<Peer> {
    const node = await startNode({ timeouts })
    const questions: string[] = []
    const handler: RequestListener = (request, answer) => {
      questions.push(request.url ?? '')
      answer
        .setHeader('content-type', 'application/json')
        .end(JSON.stringify({ blobs: blobs.map((one) => ({ ...one, cid: one.cid.toString() })) }))
    }
    await node.ipfs.serveHttp(createServer(handler))
    return { ...node, questions, handler }
  }

  const saying = (digest: Digest, cid: CID, size: number) => peer([{ digest, cid, size }])
  const follows = (digest: Digest): CID => rawCid(Buffer.from(digest.slice(7), 'hex'))

  async function find(asker: TestNode, sought: readonly Sought[], addresses: readonly string[] = []) {
    return asker.ipfs.mappings.find(sought, { addresses, signal: forever() })
  }

  const over: [string, (one: Peer) => Promise<string[]>][] = [
    ['a libp2p stream', async (one) => one.ipfs.addresses()],
    [
      'plain HTTP',
      async (one) => {
        const server = createServer(one.handler).listen(0, '127.0.0.1')
        servers.push(server)
        await new Promise((resolve) => server.once('listening', resolve))
        const { port } = server.address() as AddressInfo
        return [`/ip4/127.0.0.1/tcp/${port}/http/p2p/${one.ipfs.peerId}`]
      }
    ]
  ]
  for (const [what, addressesOf] of over) {
    it(`is said by a gateway that is named, over ${what}`, async () => {
      const one = await peer([
        { digest: large.digest, cid: file(1), size: 5 * MiB },
        { digest: small.digest, cid: follows(small.digest), size: 5 }
      ])
      const asker = await startNode({ timeouts })
      const found = await find(asker, [large, small], await addressesOf(one))
      assert.deepEqual(one.questions, [`${MAPPINGS_PATH}?digests=${large.digest},${small.digest}`])
      const mapping = found.get(large.digest)
      assert.equal(mapping?.cid.toString(), file(1).toString())
      assert.equal(mapping?.size, 5 * MiB)
      assert.deepEqual(mapping?.peers.map(String), [one.ipfs.peerId])
      // nothing proves the one, and the other's CID follows from its digest
      assert.equal(mapping?.proven, false)
      assert.equal(found.get(small.digest)?.proven, true)
    })
  }

  it('is asked of gateways that we have connected to, and of no other peers', async () => {
    const one = await saying(large.digest, file(1), 5 * MiB)
    const other = await startLibp2p()
    const asker = await startNode({ timeouts })
    // whoever connects to us needn't hear what we look for
    const stranger = await saying(large.digest, file(2), 5 * MiB)
    await stranger.ipfs.connect(asker.ipfs.addresses(), { signal: forever() })
    assert.equal(await asker.ipfs.mappings.any([]), false)
    await asker.ipfs.connect(other.getMultiaddrs().map(String), { signal: forever() })
    assert.equal(await asker.ipfs.mappings.any([]), false)
    await asker.ipfs.connect(one.ipfs.addresses(), { signal: forever() })
    // what a peer speaks is known a moment after it is connected
    while (!(await asker.ipfs.mappings.any([]))) await new Promise((resolve) => setTimeout(resolve, 5))
    assert.equal((await find(asker, [large])).size, 1)
    assert.deepEqual(stranger.questions, [])
  })

  it('is nobody where what is said cannot be so', async () => {
    const wrong = [
      { digest: large.digest, cid: file(1), size: 4 * MiB },
      { digest: large.digest, cid: file(1), size: -1 },
      { digest: large.digest, cid: file(1), size: '5242880' },
      { digest: large.digest, cid: 'what', size: 5 * MiB },
      { digest: large.digest, cid: follows(large.digest), size: 5 * MiB },
      { digest: small.digest, cid: file(1), size: 5 },
      { digest: digestOf(Buffer.from('not asked for')), cid: file(1), size: 5 * MiB }
    ]
    for (const one of wrong) {
      const liar = await peer([one])
      assert.equal((await find(await startNode({ timeouts }), [large, small], liar.ipfs.addresses())).size, 0)
      assert.equal(liar.questions.length, 1)
    }
  })

  it('is not asked again for a while who was wrong, and believed before others who was right', async () => {
    const [a, b, c] = [
      await saying(large.digest, file(1), 5 * MiB),
      await saying(large.digest, file(2), 5 * MiB),
      await saying(large.digest, file(2), 5 * MiB)
    ]
    const asker = await startNode({ timeouts })
    const all = [a, b, c].flatMap((one) => one.ipfs.addresses())
    ;(await find(asker, [large], a.ipfs.addresses())).get(large.digest)?.proved()
    const sought = [large, { digest: digestOf(Buffer.from('nobody has it')) }]
    const right = (await find(asker, sought, all)).get(large.digest)
    assert.deepEqual([right?.cid.toString(), right?.proven], [file(1).toString(), true])
    right?.refuted(true)
    assert.ok((asker.ipfs.health().find(({ source }) => source === a.ipfs.peerId)?.lies ?? 0) > 0)
    const asked = a.questions.length
    const next = (await find(asker, sought, all)).get(large.digest)
    assert.equal(a.questions.length, asked)
    assert.deepEqual([next?.cid.toString(), next?.proven], [file(2).toString(), false])
    assert.equal(next?.peers.length, 2)
  })

  it('is asked for so many at once at most', async () => {
    const one = await peer([])
    const asker = await startNode({ timeouts })
    const many = Array.from({ length: MAX_ASKED + 5 }, (_, i) => ({
      digest: digestOf(Buffer.from(String(i)))
    }))
    await find(asker, many, one.ipfs.addresses())
    assert.equal(one.questions[0]?.split(',').length, MAX_ASKED)
  })

  it('is asked for until the caller leaves', async () => {
    const gone = new Error('the client has gone')
    const node = await startNode({ timeouts })
    const leaving = new AbortController()
    await node.ipfs.serveHttp(createServer(() => leaving.abort(gone)))
    const asker = await startNode({ timeouts })
    const options = { addresses: node.ipfs.addresses(), signal: leaving.signal }
    await assert.rejects(asker.ipfs.mappings.find([large], options), gone)
  })
})
