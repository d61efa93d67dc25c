import assert from 'node:assert/strict'
import { createServer, type RequestListener, type Server } from 'node:http'
import { importer } from 'ipfs-unixfs-importer'
import { CID } from 'multiformats/cid'
import { createTrustlessApp } from '../../src/http/trustless.ts'
import { createLog } from '../../src/log.ts'
import { createContent } from '../../src/registry/content.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { createDirectories } from '../../src/tree/index.ts'
import { carFrame, carHeader } from '../support/ipfs-gateway.ts'
import { forever, PATIENT, startNode, stopNodes } from '../support/ipfs-nodes.ts'
import { tempFolder } from '../support/temp.ts'

describe('ipfs: the blocks along a path', () => {
  const temp = tempFolder()
  let store: Store
  let servers: Server[] = []
  let requests: string[] = []
  let misbehave: RequestListener | undefined

  before(async () => {
    store = await openStore({ folder: temp.path, reserve: 0 })
  })
  after(async () => {
    await store.close()
    await temp.remove()
  })
  afterEach(async () => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections()
      server.close()
    }
    servers = []
    requests = []
    misbehave = undefined
    await stopNodes()
  })

  /** A directory of files, in the shape the library gives it. */
  async function add(files: readonly string[], options: object = {}): Promise<CID> {
    const source = files.map((path) => ({ path: `top/${path}`, content: Buffer.from(`is ${path}`) }))
    let root: CID | undefined
    for await (const { cid, path } of importer(source, store.blocks, {
      cidVersion: 1,
      rawLeaves: true,
      ...options
    }))
      if (path === 'top') root = cid
    assert.ok(root)
    return root
  }

  /** A peer that serves the store, and one that is connected to it. */
  async function pair(over: 'http' | 'stream') {
    const app = createTrustlessApp({
      content: createContent(store.blocks, createDirectories()),
      log: createLog('silent')
    })
    const handle = app.callback()
    const http = createServer((request, answer) => {
      requests.push(request.url ?? '')
      if (misbehave === undefined) void handle(request, answer)
      else misbehave(request, answer)
    })
    servers.push(http)
    const server = await startNode()
    const client = await startNode({ listen: [], timeouts: PATIENT })
    const addresses = server.ipfs.addresses()
    if (over === 'stream') await server.ipfs.serveHttp(http)
    else {
      await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
      const { port } = http.address() as { port: number }
      addresses.push(`/ip4/127.0.0.1/tcp/${port}/http/p2p/${server.ipfs.peerId}`)
    }
    const peers = await client.ipfs.connect(addresses, { signal: forever() })
    return { client, peers }
  }

  for (const over of ['http', 'stream'] as const) {
    it(`come in one request (${over}), and are kept`, async () => {
      const root = await add(['a/b/c/link', 'a/b/d/link', 'x/link'])
      const { client, peers } = await pair(over)
      const come = await client.ipfs.path(root, ['a', 'b', 'c', 'link'], { peers, signal: forever() })
      assert.equal(come, 5)
      assert.deepEqual(requests, [`/ipfs/${root}/a/b/c/link?format=car&dag-scope=block`])
      assert.equal(client.store.puts.length, 5)
      assert.ok(client.store.puts.includes(root.toString()))
    })
  }

  it('come through sharded directories', async () => {
    const names = Array.from({ length: 3000 }, (_, i) => String(i).padStart(64, 'x'))
    const root = await add(names)
    const { client, peers } = await pair('http')
    const come = await client.ipfs.path(root, [names[77] as string], { peers, signal: forever() })
    assert.ok(come >= 3 && come < 6, `${come} blocks`)
    const { entry } = createDirectories()
    const found = await entry(root, names[77] as string, async (cid) => client.store.peek(cid), forever())
    assert.ok(found)
    assert.equal(requests.length, 1)
  })

  it('two who want the same path share the request', async () => {
    const root = await add(['a/link'])
    const { client, peers } = await pair('http')
    await Promise.all(
      [1, 2, 3].map(() => client.ipfs.path(root, ['a', 'link'], { peers, signal: forever() }))
    )
    assert.equal(requests.length, 1)
  })

  it('a peer that has no such path is neither believed nor blamed', async () => {
    const root = await add(['a/link'])
    const { client, peers } = await pair('http')
    assert.equal(await client.ipfs.path(root, ['b', 'link'], { peers, signal: forever() }), 0)
    assert.equal(await client.ipfs.path(root, ['a', 'link'], { peers, signal: forever() }), 3)
  })

  const lies: [string, (root: CID, other: CID) => Buffer][] = [
    ['a wrong block', (root) => Buffer.concat([carHeader(root), carFrame(root, Buffer.from('no'))])],
    [
      'a block that is not on the path',
      (root, other) =>
        Buffer.concat([carHeader(root), carFrame(other, Buffer.from('true, but not asked for'))])
    ],
    [
      'half a block',
      (root) => Buffer.concat([carHeader(root), carFrame(root, Buffer.alloc(100)).subarray(0, 60)])
    ],
    ['no CAR at all', () => Buffer.from('<html>')]
  ]
  for (const [what, bytes] of lies) {
    it(`${what} is kept by nobody`, async () => {
      const root = await add(['a/link'])
      const { hash } = await import('node:crypto')
      const { rawCid } = await import('../../src/store/dag.ts')
      const other = rawCid(hash('sha256', 'true, but not asked for', 'buffer'))
      const { client, peers } = await pair('http')
      misbehave = (_, answer) => {
        answer.writeHead(200, { 'content-type': 'application/vnd.ipld.car' })
        answer.end(bytes(root, other))
      }
      assert.equal(await client.ipfs.path(root, ['a', 'link'], { peers, signal: forever() }), 0)
      assert.deepEqual(client.store.puts, [])
    })
  }

  it('a silent peer costs a part of the deadline, and is left alone then', async () => {
    const root = await add(['a/link'])
    const { client, peers } = await pair('http')
    misbehave = () => {}
    const begun = Date.now()
    assert.equal(await client.ipfs.path(root, ['a', 'link'], { peers, signal: forever() }), 0)
    assert.ok(Date.now() - begun < PATIENT.blockMs)
    assert.equal(await client.ipfs.path(root, ['a', 'link'], { peers, signal: forever() }), 0)
    assert.equal(requests.length, 1)
  })

  it('an abort ends the wait', async () => {
    const root = await add(['a/link'])
    const { client, peers } = await pair('http')
    misbehave = () => {}
    const signal = AbortSignal.timeout(20)
    await assert.rejects(client.ipfs.path(root, ['a', 'link'], { peers, signal }))
    assert.equal(CID.parse(root.toString()).toString(), root.toString())
  })
})
