/** Images of other registries that a peer has: they come from there, whatever peers may say of them. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { MemoryBlockstore } from 'blockstore-core'
import type { CID } from 'multiformats/cid'
import type { UpstreamSetting } from '../../src/config-values.ts'
import { MAPPINGS_PATH } from '../../src/ipfs/mappings.ts'
import { createUpstreams, type Upstreams } from '../../src/upstream/index.ts'
import { carFrame, type TestGateway, testGateway } from '../support/ipfs-gateway.ts'
import { addFile, startNode, stopNodes, type TestNode } from '../support/ipfs-nodes.ts'
import { digestOf, manifest, OCI_CONFIG, OCI_LAYER, ociClient } from '../support/oci-client.ts'
import {
  type RegistryServer,
  type RegistryServerOptions,
  startRegistryServer
} from '../support/registry-server.ts'
import { type Login, startUpstreamRegistry, type UpstreamRegistry } from '../support/upstream-registry.ts'

const MiB = 1024 * 1024

describe('images of other registries that a peer has', function () {
  this.timeout(60_000)
  let there: UpstreamRegistry
  const servers: RegistryServer[] = []
  const opened: Upstreams[] = []
  let temp: string

  beforeEach(async () => {
    temp = await mkdtemp(join(tmpdir(), 'sw-near-'))
  })
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.stop()
    for (const upstreams of opened.splice(0)) upstreams.stop()
    await stopNodes()
    await there.stop()
    await rm(temp, { recursive: true })
  })

  async function open(login?: Login): Promise<void> {
    there = await startUpstreamRegistry(login === undefined ? {} : { login })
  }

  /** A gateway that serves peers, too. */
  async function gateway(
    options: RegistryServerOptions = {},
    setting: Partial<UpstreamSetting> = {}
  ): Promise<RegistryServer> {
    const upstreams = createUpstreams({
      settings: new Map([['up.example', { off: false, urls: [there.url], ...setting }]]),
      auth: '',
      ttlMs: 3_600_000,
      timeoutMs: 1500,
      allowDial: 'any'
    })
    opened.push(upstreams)
    const server = await startRegistryServer({ upstreams, seed: 'all', ...options })
    servers.push(server)
    return server
  }

  const after = (first: { addresses(): string[] }, setting?: Partial<UpstreamSetting>) =>
    gateway({ peers: first.addresses() }, setting)

  const kept = (server: RegistryServer, digest: string) =>
    server.store.blobs.stat(digest as `sha256:${string}`)

  /** Pulls an image as clients do, and every digest is right. */
  async function pull(server: RegistryServer, reference = '1'): Promise<void> {
    const client = ociClient(server)
    const answer = await client.expect(200, 'GET', `/v2/up.example/a/b/manifests/${reference}`)
    assert.equal(digestOf(answer.body), answer.headers['docker-content-digest'])
    const { config, layers, manifests } = answer.json<{
      config: { digest: string }
      layers: { digest: string }[]
      manifests?: { digest: string }[]
    }>()
    if (manifests !== undefined) {
      for (const { digest } of manifests) await pull(server, digest)
      return
    }
    for (const { digest } of [config, ...layers]) {
      const { body } = await client.expect(200, 'GET', `/v2/up.example/a/b/blobs/${digest}`)
      assert.equal(digestOf(body), digest)
      // a client has it a moment before it is durable
      for (const end = Date.now() + 10_000; (await kept(server, digest)) === undefined; await sleep(10))
        assert.ok(Date.now() < end, `${digest} is not kept`)
    }
  }

  /** What the upstream is asked for while something is done. */
  async function asked(work: () => Promise<void>): Promise<string[]> {
    const before = there.asked.length
    await work()
    return there.asked.slice(before).map((line) => line.replace(/sha256:.*/, 'DIGEST'))
  }

  it('comes from the peer: the upstream is only asked what the tag stands for', async () => {
    await open()
    there.image('a/b', '1', [randomBytes(3 * MiB + 5), randomBytes(2 * MiB), 'small'])
    const first = await gateway()
    await pull(first)
    const second = await after(first)
    assert.deepEqual(await asked(() => pull(second)), ['HEAD /v2/a/b/manifests/1'])
    assert.deepEqual(await asked(() => pull(second)), [])
  })

  it('comes with its index and children', async () => {
    await open()
    const made = there.image('a/b', 'amd64', [randomBytes(2 * MiB)])
    there.index('a/b', '1', [made, there.image('a/b', 'arm64', ['other'])])
    const first = await gateway()
    await pull(first)
    const second = await after(first)
    assert.deepEqual(await asked(() => pull(second)), ['HEAD /v2/a/b/manifests/1'])
  })

  it('comes from the upstream where the peer offers nothing', async () => {
    await open()
    const made = there.image('a/b', '1', [randomBytes(2 * MiB)])
    for (const seed of ['none', 'published'] as const) {
      const first = await gateway({ seed })
      await pull(first)
      const second = await after(first)
      const lines = await asked(() => pull(second))
      assert.equal(lines.filter((line) => line.startsWith('GET')).length, 3, seed + lines.join())
      assert.ok(await kept(second, made.layers[0] as string))
    }
  })

  it('are told of to the network, but not the trees that name them', async () => {
    await open()
    const made = there.image('a/b', '1', [randomBytes(2 * MiB)])
    const first = await gateway()
    await pull(first)
    await ociClient(first).image('ships.example/app', '1')
    const told: string[] = []
    for await (const cid of first.registry.seeding.all(new AbortController().signal)) told.push(String(cid))
    assert.ok(told.includes(String((await kept(first, made.layers[0] as string))?.cid)))
    assert.ok(told.includes(String(await first.registry.root('ships.example'))))
    assert.ok(!told.includes(String(await first.registry.root('up.example'))))
  })

  it('of a repository that is not known to have a digest, none is had from peers', async () => {
    await open()
    const made = there.image('a/b', '1', [randomBytes(2 * MiB)])
    const first = await gateway()
    await pull(first)
    const second = await after(first)
    const client = ociClient(second)
    await client.expect(404, 'GET', `/v2/up.example/other/blobs/sha256:${'0'.repeat(64)}`)
    await client.expect(404, 'GET', `/v2/up.example/other/manifests/${made.digest}`)
  })

  describe('that not everybody may have', () => {
    const login: Login = { kind: 'basic', user: 'me', password: 'secret' }
    let auth: string

    beforeEach(async () => {
      await open(login)
      auth = join(temp, 'login')
      await writeFile(auth, 'me:secret\n')
    })

    it('comes from the upstream, and is not offered to peers in any way', async () => {
      const made = there.image('a/b', '1', [randomBytes(2 * MiB + 1), 'small'])
      const first = await gateway({}, { auth })
      await pull(first)
      for (const digest of [made.digest, ...made.layers] as `sha256:${string}`[]) {
        assert.equal(await first.registry.content.mapped?.(digest), undefined)
        const { cid } = (await kept(first, digest)) ?? {}
        assert.ok(cid)
        await assert.rejects(first.registry.content.block(cid), /not in this gateway/)
      }
      for await (const cid of first.registry.seeding.all(new AbortController().signal))
        for (const digest of made.layers)
          assert.notEqual(cid.toString(), (await kept(first, digest))?.cid.toString())
      const second = await after(first, { auth })
      const lines = await asked(() => pull(second))
      assert.equal(lines.filter((line) => line.startsWith('GET /v2/a/b/blobs')).length, 3)
    })

    it('is given to peers where the operator says so', async () => {
      there.image('a/b', '1', [randomBytes(2 * MiB + 1)])
      const first = await gateway({}, { auth, peers: true })
      await pull(first)
      const second = await after(first, { auth, peers: true })
      const lines = await asked(() => pull(second))
      assert.deepEqual(
        lines.filter((line) => line.startsWith('GET')),
        []
      )
    })

    it('is given to peers once it was pushed to a tree of our own', async () => {
      const layer = randomBytes(2 * MiB + 1)
      there.image('a/b', '1', [layer])
      const first = await gateway({}, { auth })
      await pull(first)
      const digest = digestOf(layer) as `sha256:${string}`
      assert.equal(await first.registry.content.mapped?.(digest), undefined)
      const client = ociClient(first)
      // as docker pushes what it has pulled from the same host
      const query = `?mount=${digest}&from=up.example/a/b`
      await client.expect(201, 'POST', `/v2/ships.example/app/blobs/uploads/${query}`)
      assert.equal(await first.registry.content.mapped?.(digest), undefined)
      const config = await client.blob('ships.example/app', '{}', OCI_CONFIG)
      const layers = [{ mediaType: OCI_LAYER, digest, size: layer.length }]
      await client.put('ships.example/app', manifest({ config, layers }), '1')
      assert.equal((await first.registry.content.mapped?.(digest))?.size, layer.length)
    })
  })

  describe('from a peer that is not what it should be', () => {
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
      [
        'answers with what is no JSON',
        (_, res) => res.setHeader('content-type', 'application/json').end('{')
      ],
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
})
