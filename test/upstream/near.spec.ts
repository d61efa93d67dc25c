/** Images of other registries that a peer has: they come from there. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { useNearGateways } from '../support/near-gateways.ts'
import { digestOf, manifest, OCI_CONFIG, OCI_LAYER, ociClient } from '../support/oci-client.ts'
import type { Login, UpstreamRegistry } from '../support/upstream-registry.ts'

const MiB = 1024 * 1024

describe('images of other registries that a peer has', function () {
  this.timeout(60_000)
  const { open: start, gateway, after, kept, pull, asked } = useNearGateways()
  let there: UpstreamRegistry

  async function open(login?: Login): Promise<void> {
    there = await start(login)
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
    let temp: string
    let auth: string

    beforeEach(async () => {
      await open(login)
      temp = await mkdtemp(join(tmpdir(), 'sw-near-'))
      auth = join(temp, 'login')
      await writeFile(auth, 'me:secret\n')
    })
    afterEach(() => rm(temp, { recursive: true }))

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

    it('stays so when it was damaged, and comes again from the upstream', async () => {
      const layer = randomBytes(2 * MiB + 1)
      there.image('a/b', '1', [layer])
      const first = await gateway({}, { auth })
      await pull(first)
      const digest = digestOf(layer) as `sha256:${string}`
      const hex = digest.slice(7)
      await writeFile(join(first.folder, 'blobs', hex.slice(0, 2), hex), randomBytes(layer.length))
      const { signal } = new AbortController()
      const before = there.sent
      await first.registry.verification.run({ rate: undefined, restart: true }, signal, () => {})
      assert.ok(there.sent - before >= layer.length)
      assert.ok(await kept(first, digest))
      assert.equal(await first.registry.content.mapped?.(digest), undefined)
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
})
