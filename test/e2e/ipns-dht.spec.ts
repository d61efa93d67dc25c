/** IPNS records in a DHT, which is of real Kubo nodes on loopback: put by Seaway and got by Kubo, and the other way. */
import assert from 'node:assert/strict'
import { useBed } from './support/bed.ts'
import { type Client, skopeo } from './support/clients.ts'
import { waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { type Kubo, startKubo } from './support/kubo.ts'
import { available } from './support/process.ts'
import { repository } from './support/wire.ts'

describe('IPNS in a DHT', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('ipnsdht')
  let kubos: Kubo[]
  let client: Client
  let image: Image
  let publisher: SeawayGateway
  const settings = { 'Routing.Type': 'dhtserver', 'Routing.LoopbackAddressesOnLanDHT': true }
  const routed = (): Record<string, string> => ({
    SEAWAY_ROUTING: 'public',
    SEAWAY_BOOTSTRAP: kubos.map(({ multiaddr }) => multiaddr).join(','),
    SEAWAY_DELEGATED_ROUTERS: ''
  })

  before(async function () {
    if (!available('ipfs', 'skopeo')) this.skip()
    kubos = await Promise.all(
      [0, 1].map(async (i) => keep(await startKubo({ dir: folder(`kubo${i}`), settings })))
    )
    await kubos[1]?.ipfs(['swarm', 'connect', kubos[0]?.multiaddr ?? ''])
    client = await skopeo({ dir: folder('skopeo') })
    image = await makeImage({ dir: folder('image'), name: 'app:1', layers: [{ size: 50_000, seed: 'dht' }] })
    publisher = await gateway('publisher', { env: { ...routed(), SEAWAY_PUSH_BASE: 'empty' } })
    await client.push(image, `${publisher.host}/ships.example/app:1`)
  })

  it("Seaway puts its record there, and Kubo's resolve finds it", async () => {
    const root = await publisher.root('ships.example')
    const { stdout } = await publisher.seaway(['publish', 'ships.example', '--ipns', '--force', '--json'])
    const { ipns, advice } = JSON.parse(stdout)
    assert.deepEqual(
      advice.filter((line: string) => line.includes('did not take')),
      []
    )
    for (const kubo of kubos) {
      const resolved = await kubo.ipfs(['name', 'resolve', '--nocache', `/ipns/${ipns}`])
      assert.equal(resolved.stdout.trim(), `/ipfs/${root}`)
      assert.ok((await kubo.ipfs(['routing', 'get', `/ipns/${ipns}`])).stdout.length > 100)
    }
  })

  it('Kubo puts its record there, and Seaway pulls by the name', async () => {
    const root = await publisher.root('ships.example')
    const [kubo] = kubos as [Kubo]
    const { stdout } = await kubo.ipfs(['name', 'publish', '--resolve=false', '--quieter', `/ipfs/${root}`])
    const name = stdout.trim()
    const reader = await gateway('reader', { env: { ...routed(), SEAWAY_PEERS: publisher.peers.join(',') } })
    await waitFor('the name to be found', async (signal) => {
      const answer = await repository(reader.url, `ipns/${name}/app`).getManifest('1', signal)
      return answer.status === 200
    })
    assert.deepEqual((await client.pull(`${reader.host}/ipns/${name}/app:1`)).diffIds, image.diffIds)
  })
})
