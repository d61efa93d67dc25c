/** Whatever a peer says or sends, clients get the right images, and nothing wrong is kept. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { createServer, type RequestListener } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { MemoryBlockstore } from 'blockstore-core'
import type { CID } from 'multiformats/cid'
import { MAPPINGS_PATH } from '../../src/ipfs/mappings.ts'
import { carFrame, type TestGateway, testGateway } from '../support/ipfs-gateway.ts'
import { addFile, startNode, type TestNode } from '../support/ipfs-nodes.ts'
import { useNearGateways } from '../support/near-gateways.ts'
import { digestOf, ociClient } from '../support/oci-client.ts'
import type { UpstreamRegistry } from '../support/upstream-registry.ts'

const MiB = 1024 * 1024

describe('images of other registries from a peer that is not what it should be', function () {
  this.timeout(60_000)
  const { open: start, after, kept, pull } = useNearGateways()
  let there: UpstreamRegistry

  async function open(): Promise<void> {
    there = await start()
  }

  let bad: TestNode
  let files: TestGateway
  let questions: string[]

  /** A peer that says of every digest what `says` does. */
  async function peer(says: RequestListener): Promise<void> {
    bad = await startNode()
    files = testGateway(bad.store)
    questions = []
    const handler: RequestListener = (request, answer) => {
      if (request.url?.startsWith(MAPPINGS_PATH) !== true) return files.handler(request, answer)
      questions.push(request.url)
      says(request, answer)
    }
    await bad.ipfs.serveHttp(createServer(handler))
  }

  /** Says that blobs are where `claims` says. */
  const claiming =
    (claims: ReadonlyMap<string, { cid: CID; size: number }>): RequestListener =>
    (request, answer) => {
      const digests = (request.url?.split('digests=')[1] ?? '').split(',')
      const blobs = digests.flatMap((digest) => {
        const claim = claims.get(digest)
        return claim === undefined ? [] : [{ digest, cid: claim.cid.toString(), size: claim.size }]
      })
      answer.setHeader('content-type', 'application/json').end(JSON.stringify({ blobs }))
    }

  it('with other content for a digest: it is found out, told, kept nowhere, and not asked again', async () => {
    await open()
    const layers = [randomBytes(3 * MiB), randomBytes(2 * MiB)]
    const made = there.image('a/b', '1', layers)
    const claims = new Map<string, { cid: CID; size: number }>()
    await peer(claiming(claims))
    const wrong = layers.map(({ length }) => randomBytes(length))
    for (const [i, layer] of layers.entries())
      claims.set(digestOf(layer), {
        cid: await addFile(bad.store, wrong[i] as Buffer),
        size: layer.length
      })
    const server = await after(bad.ipfs)
    await pull(server)
    assert.ok(files.sent > 0, 'its content was fetched')
    assert.ok((server.ipfs.health().find(({ source }) => source === bad.ipfs.peerId)?.lies ?? 0) > 0)
    for (const bytes of wrong) {
      assert.equal(await kept(server, digestOf(bytes)), undefined)
      const leaf = await addFile(new MemoryBlockstore(), bytes.subarray(0, MiB))
      assert.equal(await server.store.blocks.has(leaf), false)
    }
    assert.deepEqual(await server.store.incoming.list(), [])
    const before = questions.length
    there.image('a/b', '2', [randomBytes(2 * MiB)])
    await pull(server, '2')
    assert.equal(questions.length, before)
    assert.ok(await kept(server, made.layers[0] as string))
  })

  it('though it was right before: a client that has got some of it is cut off, and gets the blob when it comes back', async () => {
    await open()
    const layers = [randomBytes(2 * MiB), randomBytes(5 * MiB)]
    const [right, wrong] = layers.map((layer) => digestOf(layer)) as [string, string]
    there.image('a/b', '1', layers)
    const claims = new Map<string, { cid: CID; size: number }>()
    await peer(claiming(claims))
    claims.set(right, { cid: await addFile(bad.store, layers[0] as Buffer), size: 2 * MiB })
    claims.set(wrong, { cid: await addFile(bad.store, randomBytes(5 * MiB)), size: 5 * MiB })
    const server = await after(bad.ipfs)
    const client = ociClient(server)
    const get = (path: string) => client.expect(200, 'GET', `/v2/up.example/a/b/${path}`)
    await get('manifests/1')
    assert.equal(digestOf((await get(`blobs/${right}`)).body), right)
    assert.equal(there.count(/^GET .*blobs/), 0)
    await assert.rejects(get(`blobs/${wrong}`), /aborted|hang up|ECONNRESET/)
    assert.equal(await kept(server, wrong), undefined)
    assert.equal(digestOf((await get(`blobs/${wrong}`)).body), wrong)
    assert.equal(there.count(/^GET .*blobs/), 1)
  })

  it('that has only the beginning: the upstream sends the rest', async () => {
    await open()
    const layer = randomBytes(6 * MiB)
    there.image('a/b', '1', [layer])
    const claims = new Map<string, { cid: CID; size: number }>()
    await peer(claiming(claims))
    claims.set(digestOf(layer), { cid: await addFile(bad.store, layer), size: layer.length })
    // it has lost what comes after two leaves
    for (let at = 2 * MiB; at < layer.length; at += MiB)
      await bad.store.delete(await addFile(new MemoryBlockstore(), layer.subarray(at, at + MiB)))
    const server = await after(bad.ipfs)
    await pull(server)
    const ranges = there.headers.flatMap(({ range }) => range ?? [])
    assert.equal(ranges.length, 1)
    assert.match(ranges[0] as string, /^bytes=[1-9]\d*-$/)
  })

  it('that sends it byte by byte: the upstream sends what is missing', async () => {
    await open()
    const layer = randomBytes(4 * MiB)
    there.image('a/b', '1', [layer])
    const claims = new Map<string, { cid: CID; size: number }>()
    await peer(claiming(claims))
    claims.set(digestOf(layer), { cid: await addFile(bad.store, layer), size: layer.length })
    // fast enough not to count as silent, and over bitswap as slow
    bad.store.serving = () => new Promise(() => undefined)
    files.sending = async (index, answer) => {
      if (index < 2) return undefined
      const leaf = layer.subarray(MiB, 2 * MiB)
      const frame = carFrame(await addFile(new MemoryBlockstore(), leaf), leaf)
      for (let at = 0; !answer.destroyed && at < frame.length; at += 200) {
        answer.write(frame.subarray(at, at + 200))
        await sleep(100)
      }
      return null
    }
    const server = await after(bad.ipfs)
    await pull(server)
    assert.match(there.headers.flatMap(({ range }) => range ?? []).join(), /^bytes=\d+-$/)
  })

  for (const [what, says] of [
    ['says nothing', () => undefined],
    ['answers with what is no JSON', (_, res) => res.setHeader('content-type', 'application/json').end('{')],
    [
      'answers without end',
      (_, res) => {
        res.setHeader('content-type', 'application/json')
        const more = () => void (res.destroyed || res.write(' '.repeat(65_536), more))
        more()
      }
    ],
    ['knows nothing of the kind', (_, res) => res.writeHead(404).end()]
  ] as [string, RequestListener][]) {
    it(`and ${what}: the upstream sends it, and the peer is left alone for a while`, async () => {
      await open()
      there.image('a/b', '1', [randomBytes(2 * MiB), 'small'])
      await peer(says)
      const server = await after(bad.ipfs)
      await pull(server)
      assert.equal(questions.length, 1)
    })
  }

  it('and names files that cannot be it: nothing of them is fetched', async () => {
    await open()
    const layer = randomBytes(2 * MiB)
    there.image('a/b', '1', [layer, 'small'])
    const claims = new Map<string, { cid: CID; size: number }>()
    await peer(claiming(claims))
    // another size than the manifest says, and a CID that doesn't follow from the digest of so few bytes
    claims.set(digestOf(layer), { cid: await addFile(bad.store, randomBytes(3 * MiB)), size: 3 * MiB })
    claims.set(digestOf('small'), { cid: await addFile(bad.store, Buffer.from('other')), size: 5 })
    const server = await after(bad.ipfs)
    await pull(server)
    assert.deepEqual(files.requests, [])
  })
})
