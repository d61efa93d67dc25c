/** A gateway behind a router that translates addresses, and those who want something of it. */
import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { useBed } from './support/bed.ts'
import { home as clientHome } from './support/client.ts'
import { waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { type Kubo, startKubo } from './support/kubo.ts'
import { type Internet, type Machine, makeInternet } from './support/nat.ts'
import { available, run } from './support/process.ts'
import type { PullReport } from './support/pull-client.ts'

const CLIENT = fileURLToPath(new URL('support/pull-client.ts', import.meta.url))
const PORT = 4001
const SIZE = 5_000_000

describe('behind a NAT', function () {
  this.timeout(180_000)
  const { folder, keep, gateway } = useBed('nat')
  let internet: Internet
  let image: Image
  let relay: SeawayGateway

  const machine = (kind: 'open' | 'hidden', i: number): Machine => internet[kind][i] as Machine

  async function exec(where: Machine, command: string[], env: Record<string, string> = {}): Promise<string> {
    const [program = '', ...args] = [...where.prefix, ...command]
    return (await run(program, args, { env })).stdout
  }

  const start = (name: string, where: Machine, env: Record<string, string> = {}): Promise<SeawayGateway> =>
    gateway(name, {
      prefix: where.prefix,
      env: {
        SEAWAY_SWARM_LISTEN: `/ip4/${where.ip}/tcp/${PORT}`,
        SEAWAY_PUSH_BASE: 'empty',
        SEAWAY_LOG_LEVEL: 'info',
        SEAWAY_BLOCK_TIMEOUT: '3s',
        ...env
      }
    })

  /** A gateway behind the first router with the image, and the addresses that it prints for its record. */
  async function publish(name: string, through: string) {
    const where = machine('hidden', 0)
    const publisher = await start(name, where, { SEAWAY_RELAYS: through })
    const target = `docker://${publisher.host}/ships.example/app:1`
    const env = await clientHome(folder(`${name}-skopeo`))
    await exec(where, ['skopeo', 'copy', '--dest-tls-verify=false', `oci:${image.layout}`, target], env)
    const [, node = ''] = await publisher.records('ships.example')
    const addresses = JSON.parse(
      (/ipfsnode=(\[.*\])/.exec(node)?.[1] ?? '[]').replaceAll('\\"', '"')
    ) as string[]
    return { publisher, root: await publisher.root('ships.example'), addresses }
  }

  /** Pulls the image on a machine, through a gateway of its own that knows nothing but the addresses. */
  async function pull(name: string, where: Machine, from: { root: string; addresses: string[] }) {
    const puller = await start(name, where, { SEAWAY_PEERS: from.addresses.join(',') })
    const command = [process.execPath, CLIENT, puller.url, `ipfs/${from.root}/app`, '1']
    const report = JSON.parse(await exec(where, command)) as PullReport
    const links = await exec(where, ['ss', '-tnH', 'state', 'established'])
    await puller.stop()
    return { report, links }
  }

  before(async function () {
    if (!available('ip', 'iptables', 'ss', 'sysctl', 'skopeo', 'ipfs')) this.skip()
    internet = keep(await makeInternet({ open: 3, hidden: 2 }))
    image = await makeImage({
      dir: folder('image'),
      name: 'app:1',
      layers: [{ size: SIZE, seed: 'nat' }]
    })
    relay = await start('relay', machine('open', 0), { SEAWAY_RELAY_SERVER: 'yes' })
  })

  it('prints its public address where it has one', () => {
    assert.deepEqual(
      relay.peers.map((address) => address.split('/p2p/')[0]),
      [`/ip4/${machine('open', 0).ip}/tcp/${PORT}`]
    )
  })

  describe('through a relay of our own', () => {
    let from: Awaited<ReturnType<typeof publish>>

    it('prints its relayed address in its record', async () => {
      from = await publish('home', relay.peers[0] as string)
      const peer = from.addresses[0]?.split('/p2p/').at(-1)
      assert.ok(from.addresses.includes(`${relay.peers[0]}/p2p-circuit/p2p/${peer}`))
    })

    it('is reached by somebody with a public address, to whom it then connects itself', async () => {
      const where = machine('open', 1)
      const { report, links } = await pull('open', where, from)
      assert.equal(report.error, undefined)
      assert.ok(report.bytes > SIZE)
      assert.match(links, new RegExp(`${where.ip}:${PORT} +11\\.77\\.0\\.100:`), 'the router connected to it')
    })

    it('is reached by somebody behind another router, all the way through the relay', async () => {
      const { report, links } = await pull('hidden', machine('hidden', 1), from)
      assert.equal(report.error, undefined)
      assert.ok(report.bytes > SIZE)
      assert.match(links, new RegExp(`${machine('open', 0).ip}:${PORT}`))
      assert.doesNotMatch(links, /11\.77\.0\.100/)
    })

    it('comes back to a relay that was restarted', async () => {
      const seen = async (): Promise<number> =>
        (await from.publisher.logged()).filter(({ msg }) => msg === 'reachable through a relay').length
      const before = await seen()
      await relay.stop()
      relay = await start('relay', machine('open', 0), { SEAWAY_RELAY_SERVER: 'yes' })
      await waitFor('another place at the relay', async () => (await seen()) > before, { deadline: 60_000 })
      await from.publisher.stop()
    })
  })

  describe("through Kubo's relay, which carries 128 KiB", () => {
    let kubo: Kubo
    let from: Awaited<ReturnType<typeof publish>>

    before(async () => {
      const { ip, prefix } = machine('open', 2)
      const settings = {
        'Swarm.RelayService.Enabled': true,
        // it offers that only when others have assured it that it is public
        'Internal.Libp2pForceReachability': 'public'
      }
      kubo = keep(await startKubo({ dir: folder('kubo'), host: ip, prefix, settings }))
      from = await publish('home-by-kubo', kubo.multiaddr)
    })

    it('is reached by somebody with a public address, to whom it then connects itself', async () => {
      const { report, links } = await pull('open-too', machine('open', 1), from)
      assert.equal(report.error, undefined)
      assert.match(links, /11\.77\.0\.100:/)
    })

    it('fails in words for somebody behind another router: TCP holes are not punched', async () => {
      const { report } = await pull('hidden-too', machine('hidden', 1), from)
      assert.match(report.error ?? '', /SOURCE_FAILED|NAME_UNKNOWN|SOURCE_TIMEOUT|terminated/)
    })
  })
})
