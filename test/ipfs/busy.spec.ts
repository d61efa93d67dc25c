import assert from 'node:assert/strict'
import { createLimiter } from '../../src/ipfs/index.ts'
import { useHttpServers } from '../support/http-servers.ts'
import { testGateway } from '../support/ipfs-gateway.ts'
import { addFile, content, forever, HASTY, readAll, startNode, stopNodes } from '../support/ipfs-nodes.ts'

/** A source that says when it may be asked again. @see https://www.rfc-editor.org/rfc/rfc9110#field.retry-after */
describe('ipfs: sources that are busy', () => {
  const { listen } = useHttpServers()
  afterEach(stopNodes)

  /** A gateway that refuses the first `times` requests, with what it answered and when. */
  async function busy(times: number, retryAfter: string | undefined) {
    const server = await startNode()
    const gateway = testGateway(server.store)
    const asked: number[] = []
    const address = await listen((request, answer) => {
      asked.push(performance.now())
      if (asked.length > times) return gateway.handler(request, answer)
      answer.writeHead(503, retryAfter === undefined ? {} : { 'retry-after': retryAfter }).end('come back')
    })
    return { store: server.store, asked, address }
  }

  it('are asked again when they said, and not before', async () => {
    const { store, asked, address } = await busy(2, '1')
    const bytes = content(2_500_000)
    const file = await addFile(store, bytes)
    const { ipfs } = await startNode({ listen: [] })
    const got = await readAll(ipfs.leaves(file, { peers: [], gateways: [address], signal: forever() }))
    assert.deepEqual(got, Buffer.from(bytes))
    const gaps = asked.slice(1).map((at, i) => at - (asked[i] ?? 0))
    // timers may be a millisecond early
    assert.ok(gaps.length === 2 && gaps.every((gap) => gap >= 990), `${gaps}`)
    assert.deepEqual(store.reads, [], 'and nobody else was')
  })

  it('are given up when they stay so for longer than a source may be silent', async () => {
    const { store, address } = await busy(1000, '1')
    const file = await addFile(store, content(2_500_000))
    const { ipfs } = await startNode({ listen: [], timeouts: HASTY })
    await assert.rejects(
      readAll(ipfs.leaves(file, { peers: [], gateways: [address], signal: forever() })),
      /no peer is connected/
    )
  })

  it('are asked again for a path, too, and not put aside for it', async () => {
    const { store, asked, address } = await busy(1, '1')
    const file = await addFile(store, content(2_500_000))
    const { ipfs } = await startNode({ listen: [] })
    const peers = await ipfs.connect([address], { signal: forever() })
    assert.equal(await ipfs.path(file, [], { peers, signal: forever() }), 4)
    assert.equal(asked.length, 2)
    assert.equal(await ipfs.path(file, [], { peers, signal: forever() }), 4)
    assert.equal(asked.length, 3)
  })

  it('are asked again for something small, for as long as the question is worth it', async () => {
    const accept = 'text/plain'
    let asked = 0
    const address = await listen((_, answer) => {
      if (++asked < 3) answer.writeHead(503, { 'retry-after': '0' }).end('come back')
      else answer.writeHead(200, { 'content-type': accept }).end('here')
    })
    const { ipfs } = await startNode({ listen: [] })
    const question = { path: '/small', accept, maxBytes: 100, signal: forever() }
    const answers: string[] = []
    for await (const { bytes } of ipfs.ask([address], question)) answers.push(Buffer.from(bytes).toString())
    assert.deepEqual([answers, asked], [['here'], 3])

    asked = Number.NEGATIVE_INFINITY
    const hasty = { ...question, signal: AbortSignal.timeout(300) }
    await assert.rejects(
      async () => {
        for await (const _ of ipfs.ask([address], hasty)) assert.fail('answered')
      },
      { name: 'TimeoutError' }
    )
  })

  it('are failures like any other when they do not say when', async () => {
    const { store, asked, address } = await busy(1000, undefined)
    const file = await addFile(store, content(2_500_000))
    const { ipfs } = await startNode({ listen: [] })
    await assert.rejects(
      readAll(ipfs.leaves(file, { peers: [], gateways: [address], signal: forever() })),
      /no peer is connected/
    )
    assert.equal(asked.length, 1)
  })

  it('and sources are read no faster than the limit allows', async () => {
    const { store, address } = await busy(0, undefined)
    const bytes = content(8_000_000)
    const file = await addFile(store, bytes)
    const limits = { up: createLimiter(undefined), down: createLimiter(4_000_000) }
    const { ipfs } = await startNode({ listen: [], limits })
    const begun = performance.now()
    const got = await readAll(ipfs.leaves(file, { peers: [], gateways: [address], signal: forever() }))
    assert.equal(got.length, bytes.length)
    // a burst, and two pieces of at most a leaf: the one that was let in on credit, and the last one
    const ms = performance.now() - begun
    assert.ok(ms >= ((8_000_000 - 400_000 - 2 * 1024 * 1024) / 4_000_000) * 1000, `${ms}`)
  })
})
