/**
 * Trees that others wrote, and ours in the hands of others: Debian's docker-registry and Kubo at both ends.
 */
import assert from 'node:assert/strict'
import { cp } from 'node:fs/promises'
import { useBed } from './support/bed.ts'
import { type Bind, startBind } from './support/bind.ts'
import { type Client, skopeo } from './support/clients.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { busyboxLayer, type Image, makeImage } from './support/images.ts'
import { type Kubo, startKubo } from './support/kubo.ts'
import { available } from './support/process.ts'
import { startRegistry } from './support/registry.ts'
import { repository } from './support/wire.ts'

/** How `ipfs add` made files before IPIP-499: 256 KiB pieces in dag-pb leaves, 174 links a node, CIDv0. */
const OLD_PROFILE = ['--cid-version=0', '--raw-leaves=false', '--chunker=size-262144', '--max-file-links=174']

describe('trees of others', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('trees')
  let bind: Bind
  let kubo: Kubo
  let client: Client
  let image: Image

  before(async function () {
    if (!available('docker-registry', 'skopeo', 'ipfs', 'named', 'dig', 'nsupdate', 'tsig-keygen'))
      this.skip()
    bind = keep(await startBind({ dir: folder('named'), zones: { 'ships.example': [] } }))
    kubo = keep(await startKubo({ dir: folder('kubo') }))
    client = await skopeo({ dir: folder('skopeo') })
    image = await makeImage({
      dir: folder('image'),
      name: 'app:1',
      // More than 174 pieces of 256 KiB, so that the file has nodes above its nodes.
      layers: [busyboxLayer(), { size: 50_000_000, seed: 'deep' }, { size: 1000, seed: 'small' }],
      platforms: ['linux/amd64', 'linux/arm64']
    })
  })

  const start = (name: string): Promise<SeawayGateway> => gateway(name, { dns: bind.server })

  /** Pushes the image into docker-registry, adds its data folder to Kubo, and returns the root. */
  async function added(name: string, repositoryName: string): Promise<string> {
    const registry = keep(await startRegistry({ dir: folder(name) }))
    await client.push(image, `${registry.host}/${repositoryName}:1`)
    await registry.stop()
    return (await kubo.ipfs(['add', '-rQ', ...OLD_PROFILE, registry.storage])).stdout.trim()
  }

  /** Publishes a root of Kubo's as ships.example. */
  const publish = (root: string): Promise<void> =>
    bind.setTxt('ships.example', {
      _dnslink: `dnslink=/ipfs/${root}`,
      '@': `ipfsnode=${JSON.stringify([kubo.multiaddr])}`
    })

  /** Pulls by skopeo, and reads the whole index with every digest checked. */
  async function pulls(from: SeawayGateway, name: string): Promise<void> {
    assert.deepEqual((await client.pull(`${from.host}/${name}:1`)).diffIds, image.diffIds)
    const [digest] = await repository(from.url, name).readImage('1')
    assert.equal(digest, image.top.digest)
  }

  describe("a docker-registry's data folder, added to Kubo with the older profile", () => {
    let root: string

    before(async () => {
      root = await added('registry', 'app')
    })

    it('has the form that it is meant to have', async () => {
      assert.match(root, /^Qm/)
      const blob = image.layers[1]?.digest.replace('sha256:', '') ?? ''
      const path = `/ipfs/${root}/docker/registry/v2/blobs/sha256/${blob.slice(0, 2)}/${blob}/data`
      const node = JSON.parse((await kubo.ipfs(['dag', 'get', path])).stdout) as { Links: unknown[] }
      assert.equal(node.Links.length, 2)
    })

    it('pulls by its domain', async () => {
      await publish(root)
      await pulls(await start('by-domain'), 'ships.example/app')
    })

    it('pulls by its root CID, from whoever is connected', async () => {
      const through = await start('by-root')
      const cid = (await kubo.ipfs(['cid', 'base32', root])).stdout.trim()
      await kubo.ipfs(['swarm', 'connect', through.peers[0] ?? ''])
      await pulls(through, `ipfs/${cid}/app`)
    })
  })

  it("the original driver's form, with the domain in its repositories' names, pulls by its domain", async () => {
    await publish(await added('driver', 'ships.example/app'))
    await pulls(await start('driver-form'), 'ships.example/app')
  })

  it('what was pulled from Kubo goes on to the next gateway without Kubo', async () => {
    const through = await start('first')
    await pulls(through, 'ships.example/app')
    const link = JSON.parse((await bind.dig('_dnslink.ships.example'))[0] ?? '""') as string
    await bind.setTxt('ships.example', { _dnslink: link, '@': `ipfsnode=${through.peers[0]}` })
    await pulls(await start('second'), 'ships.example/app')
  })

  it('a push to a domain with such a tree adds to it, under the names that it has', async () => {
    await publish(await added('plain', 'app'))
    const adder = await start('adder')
    await client.push(image, `${adder.host}/ships.example/app:2`)
    const answer = await fetch(`${adder.url}/v2/ships.example/app/tags/list`)
    assert.deepEqual(((await answer.json()) as { tags: string[] }).tags, ['1', '2'])
    const ours = adder.peers.map((peer) => `ipfsnode=${peer}`)
    const link = `dnslink=/ipfs/${await adder.root('ships.example')}`
    await bind.setTxt('ships.example', { _dnslink: link, '@': [...ours, `ipfsnode=${kubo.multiaddr}`] })
    const reader = await start('reader')
    for (const tag of ['1', '2']) {
      const [digest] = await repository(reader.url, 'ships.example/app').readImage(tag)
      assert.equal(digest, image.top.digest)
    }
  })

  describe('a tree of ours, fetched by Kubo over bitswap and written out as files', () => {
    it('is served by docker-registry, digest for digest', async () => {
      const ours = await start('ours')
      await client.push(image, `${ours.host}/docks.example/app:1`)
      await client.push(image, `${ours.host}/docks.example/deep/er/app:2`)
      const root = await ours.root('docks.example')
      await kubo.ipfs(['swarm', 'connect', ours.peers[0] ?? ''])
      await kubo.ipfs(['get', '--output', folder('written'), root])
      // docker-registry locks and cleans what it serves; the files themselves stay as they were written.
      await cp(folder('written'), folder('served'), { recursive: true })
      const registry = keep(await startRegistry({ dir: folder('stock'), storage: folder('served') }))
      for (const name of ['docks.example/app:1', 'docks.example/deep/er/app:2']) {
        assert.deepEqual((await client.pull(`${registry.host}/${name}`)).diffIds, image.diffIds)
        const [path = '', tag = ''] = name.split(':')
        const read = await repository(registry.url, path).readImage(tag)
        assert.equal(read[0], image.top.digest)
        assert.equal(read.length, 1 + 2 * (1 + 1 + image.layers.length))
      }
    })
  })
})
