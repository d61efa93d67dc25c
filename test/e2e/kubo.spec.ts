/** Kubo, the other implementation, at either end of every transport that it speaks. */
import assert from 'node:assert/strict'
import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { useBed } from './support/bed.ts'
import { type Bind, startBind } from './support/bind.ts'
import { type Client, skopeo } from './support/clients.ts'
import { startDelegatedRouter } from './support/delegated-router.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { type Kubo, type KuboOptions, startKubo } from './support/kubo.ts'
import { available } from './support/process.ts'
import { startRegistry } from './support/registry.ts'
import { startTlsRelay } from './support/tls-relay.ts'
import { digestOf } from './support/wire.ts'

/** The profile `unixfs-v1-2025`, spelt out. @see https://specs.ipfs.tech/ipips/ipip-0499/ */
const PROFILE = ['--cid-version=1', '--raw-leaves', '--chunker=size-1048576', '--max-file-links=1024']

describe('Kubo', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('kubo')
  let bind: Bind
  let client: Client
  let image: Image
  /** A registry's data folder, as it is on disk. */
  let storage: string
  /** A gateway to which the image was pushed, and the root of its tree. */
  let ours: SeawayGateway
  let ourRoot: string
  let nodes = 0

  const kubo = async (
    settings: Record<string, unknown> = {},
    more: Partial<KuboOptions> = {}
  ): Promise<Kubo> => keep(await startKubo({ dir: folder(`kubo${++nodes}`), settings, ...more }))

  before(async function () {
    if (!available('ipfs', 'skopeo', 'docker-registry', 'openssl', 'named', 'dig', 'nsupdate', 'tsig-keygen'))
      this.skip()
    bind = keep(await startBind({ dir: folder('named'), zones: { 'ships.example': [] } }))
    client = await skopeo({ dir: folder('skopeo') })
    image = await makeImage({
      dir: folder('image'),
      name: 'app:1',
      layers: [
        { size: 20_000_000, seed: 'large' },
        { size: 1000, seed: 'small' }
      ]
    })
    const registry = keep(await startRegistry({ dir: folder('registry') }))
    await client.push(image, `${registry.host}/app:1`)
    await registry.stop()
    storage = registry.storage
    ours = await gateway('ours', { dns: bind.server })
    await client.push(image, `${ours.host}/docks.example/app:1`)
    ourRoot = await ours.root('docks.example')
  })

  /** Pulls the image of ships.example, whose records name these addresses, through a gateway that has nothing. */
  async function pulls(name: string, root: string, addresses: string[]): Promise<SeawayGateway> {
    await bind.setTxt('ships.example', {
      _dnslink: `dnslink=/ipfs/${root}`,
      '@': `ipfsnode=${JSON.stringify(addresses)}`
    })
    const through = await gateway(name, { dns: bind.server, env: { SEAWAY_LOG_LEVEL: 'info' } })
    assert.deepEqual((await client.pull(`${through.host}/ships.example/app:1`)).diffIds, image.diffIds)
    return through
  }
  const add = async (node: Kubo): Promise<string> =>
    (await node.ipfs(['add', '-rQ', ...PROFILE, storage])).stdout.trim()

  describe('has the image, and Seaway pulls it', () => {
    it('over bitswap, where it offers nothing else', async () => {
      const node = await kubo({ 'Experimental.GatewayOverLibp2p': false })
      await pulls('bitswap', await add(node), [node.multiaddr])
      assert.ok((await node.bitswap()).sent >= 20, 'every leaf was sent over bitswap')
    })

    it('over its HTTP gateway, where its record names nothing else', async () => {
      const node = await kubo()
      await pulls('http', await add(node), [`${node.http}/p2p/${node.peerId}`])
      assert.equal((await node.bitswap()).sent, 0)
    })

    it('over its HTTP gateway by an address that names no peer', async () => {
      const node = await kubo()
      await pulls('nameless', await add(node), [node.http])
      assert.equal((await node.bitswap()).sent, 0)
    })

    it('over HTTP on a libp2p stream, where its record names its swarm address only', async () => {
      const node = await kubo()
      await pulls('libp2p', await add(node), [node.multiaddr])
      const { sent } = await node.bitswap()
      assert.ok(sent < 10, `${sent} blocks were sent over bitswap`)
    })
  })

  describe('fetches what was pushed to Seaway', () => {
    /** Whether the image's blobs are in what Kubo wrote out, byte for byte. */
    async function holds(written: string): Promise<void> {
      for (const { digest, size } of [...image.layers, ...image.configs, image.top]) {
        const hex = digest.replace('sha256:', '')
        const file = join(written, 'docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data')
        assert.equal((await stat(file)).size, size)
        assert.equal(await digestOf(await readFile(file)), digest)
      }
      assert.ok((await readdir(join(written, 'docker/registry/v2/repositories'))).length > 0)
    }

    it('over bitswap', async () => {
      const node = await kubo()
      await node.ipfs(['swarm', 'connect', ours.peers[0] ?? ''])
      await node.ipfs(['get', '--output', folder('by-bitswap'), ourRoot])
      await holds(folder('by-bitswap'))
      assert.ok((await node.bitswap()).received >= 20)
    })

    // Kubo fetches over HTTP from TLS and HTTP/2 only, as a reverse proxy gives it; not from plain http addresses
    it('over HTTPS, from a reverse proxy in front of the gateway', async () => {
      const relay = keep(await startTlsRelay({ dir: folder('tls'), target: ours.url }))
      const id = ours.peers[0]?.split('/p2p/')[1] ?? ''
      const router = keep(
        await startDelegatedRouter({ id, addresses: [`/ip4/127.0.0.1/tcp/${relay.port}/tls/http`] })
      )
      const node = await kubo(
        {
          'HTTPRetrieval.Enabled': true,
          'Routing.Type': 'delegated',
          'Routing.DelegatedRouters': [router.url],
          'Provide.Enabled': false
        },
        // Go's way to be told of another authority
        { env: { SSL_CERT_FILE: relay.ca } }
      )
      await node.ipfs(['get', '--output', folder('by-https'), ourRoot])
      await holds(folder('by-https'))
      assert.ok(router.asked.length > 0)
      assert.ok(relay.passed > 20_000_000, `${relay.passed} bytes came over HTTPS`)
      assert.equal((await node.ipfs(['swarm', 'peers'])).stdout, '', 'connected to nobody')
    })
  })

  it('gives a layer the CID that it has in a tree of ours', async () => {
    const node = await kubo()
    await node.ipfs(['swarm', 'connect', ours.peers[0] ?? ''])
    for (const { digest } of image.layers) {
      const hex = digest.replace('sha256:', '')
      const path = `/ipfs/${ourRoot}/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`
      const here = (await node.ipfs(['resolve', path])).stdout.trim()
      const file = join(image.dir, 'blobs/sha256', hex)
      const there = (await node.ipfs(['add', '-Q', '--only-hash', ...PROFILE, file])).stdout.trim()
      assert.equal(here, `/ipfs/${there}`)
    }
  })

  it("and does so by its own profile's name", async () => {
    const node = await kubo()
    const { stdout } = await node.ipfs(['config', 'profile', 'apply', 'unixfs-v1-2025'])
    assert.ok(stdout.length > 0)
    const [layer] = image.layers
    const hex = layer?.digest.replace('sha256:', '') ?? ''
    const file = join(image.dir, 'blobs/sha256', hex)
    await node.ipfs(['swarm', 'connect', ours.peers[0] ?? ''])
    const path = `/ipfs/${ourRoot}/docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`
    const here = (await node.ipfs(['resolve', path])).stdout.trim()
    const there = (await node.ipfs(['add', '-Q', '--only-hash', '--offline', file])).stdout.trim()
    assert.equal(here, `/ipfs/${there}`)
  })
})
