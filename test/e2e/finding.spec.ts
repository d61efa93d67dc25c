/**
 * Finding peers whom no record names: through a DHT and delegated routing, both of real Kubo nodes, through those
 * met before, and by mDNS between two machines on a switch.
 */
import assert from 'node:assert/strict'
import { useBed } from './support/bed.ts'
import { type Bind, startBind } from './support/bind.ts'
import { home } from './support/client.ts'
import { waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { type Kubo, startKubo } from './support/kubo.ts'
import { type Host, makeLan, on } from './support/netns.ts'
import { available, run } from './support/process.ts'
import { startRegistry } from './support/registry.ts'
import { startUpstreamRelay } from './support/upstream-relay.ts'
import { refusalOf, repository } from './support/wire.ts'

/** A Kubo node that is part of a DHT on loopback, and tells over HTTP what it finds there. */
const DHT_SERVER = {
  'Routing.Type': 'dhtserver',
  'Routing.LoopbackAddressesOnLanDHT': true,
  'Gateway.ExposeRoutingAPI': true
}

interface Provided {
  enabled: boolean
  last?: { told: number; failed: number; at: number }
  next?: number
}

describe('finding peers', function () {
  this.timeout(180_000)
  const { folder, keep, gateway } = useBed('finding')
  const layer = Buffer.alloc(3_000_000, 'what others look for ')
  let bind: Bind
  let kubos: Kubo[]
  let publisher: SeawayGateway
  let root: string

  const routed = (): Record<string, string> => ({
    SEAWAY_ROUTING: 'public',
    SEAWAY_BOOTSTRAP: kubos.map(({ multiaddr }) => multiaddr).join(','),
    SEAWAY_DELEGATED_ROUTERS: '',
    SEAWAY_LOG_LEVEL: 'info'
  })
  const start = (name: string, env: Record<string, string> = {}): Promise<SeawayGateway> =>
    gateway(name, { dns: bind.server, env })
  const provide = async (through: SeawayGateway, ...more: string[]): Promise<Provided> =>
    JSON.parse((await through.seaway(['provide', '--json', ...more])).stdout) as Provided
  const read = (through: SeawayGateway, tag: string) =>
    repository(through.url, 'ships.example/app').readImage(tag)

  /** Publishes the publisher's root, and nobody who has it. */
  async function publishNobody(): Promise<void> {
    root = await publisher.root('ships.example')
    await bind.setTxt('ships.example', { _dnslink: `dnslink=/ipfs/${root}` })
  }

  /** Who told a gateway where to find something. */
  async function foundBy(through: SeawayGateway): Promise<unknown[]> {
    const lines = await through.logged()
    return lines.filter(({ msg }) => msg === 'found a provider').map(({ by }) => by)
  }

  before(async function () {
    if (!available('ipfs', 'named', 'dig', 'nsupdate', 'tsig-keygen')) this.skip()
    bind = keep(await startBind({ dir: folder('named'), zones: { 'ships.example': [] } }))
    kubos = await Promise.all(
      [0, 1, 2].map(async (i) => keep(await startKubo({ dir: folder(`kubo${i}`), settings: DHT_SERVER })))
    )
    const [first, second, third] = kubos as [Kubo, Kubo, Kubo]
    for (const one of [second, third]) await one.ipfs(['swarm', 'connect', first.multiaddr])
    await second.ipfs(['swarm', 'connect', third.multiaddr])
    publisher = await start('publisher', routed())
  })

  it('tells the DHT of a pushed root and its blobs, where Kubo finds them', async () => {
    await repository(publisher.url, 'ships.example/app').putImage('1', layer)
    await publishNobody()
    const { stdout } = await run('ipfs', ['add', '-n', '-Q', '--cid-version=1', '--chunker=size-1048576'], {
      input: layer,
      env: { IPFS_PATH: folder('kubo0/repo'), HOME: folder('kubo0') }
    })
    const peer = /\/p2p\/(\w+)$/.exec(publisher.peers[0] ?? '')?.[1]
    assert.ok(peer)
    // told without being asked to; a node of the DHT knows it as soon as it was
    for (const cid of [root, stdout.trim()]) {
      await waitFor(`Kubo to find who provides ${cid}`, async () => {
        const asked = ['routing', 'findprovs', '--num-providers=1', cid]
        const found = await kubos[2]?.ipfs(asked, { allowFailure: true, timeout: 20_000 })
        return found?.stdout.trim() === peer
      })
    }
    // root, config, layer and manifest
    const { enabled, last, next } = await provide(publisher)
    assert.equal(enabled, true)
    assert.deepEqual([last?.told, last?.failed], [4, 0])
    assert.ok((next ?? 0) > Date.now() + 20 * 3_600_000, 'and again in 22 hours')
  })

  it('does not tell it all again after a restart', async () => {
    const before = await provide(publisher, '--status')
    await publisher.stop()
    publisher = await start('publisher', routed())
    await waitFor(
      'the schedule to be known',
      async () => (await provide(publisher, '--status')).next !== undefined
    )
    const after = await provide(publisher, '--status')
    assert.deepEqual(after.last, before.last)
    assert.ok(Math.abs((after.next ?? 0) - (before.next ?? 0)) < 10_000)
  })

  it('fails in words where nobody can be found', async () => {
    const lost = await start('lost')
    const refusal = await refusalOf(await repository(lost.url, 'ships.example/app').getManifest('1'))
    assert.equal(refusal.code, 'SOURCE_FAILED')
    assert.match(refusal.message, /has no usable ipfsnode= record/)
  })

  it('pulls from a provider that the DHT names', async () => {
    const puller = await start('by-dht', routed())
    await read(puller, '1')
    assert.deepEqual(new Set(await foundBy(puller)), new Set(['local DHT']))
    await puller.stop()
  })

  it('pulls from a provider that a delegated router names', async () => {
    const router = kubos[0]?.gateway as string
    const puller = await start('by-http', {
      ...routed(),
      SEAWAY_BOOTSTRAP: '',
      SEAWAY_DELEGATED_ROUTERS: router
    })
    await read(puller, '1')
    assert.deepEqual(new Set(await foundBy(puller)), new Set([router]))
    assert.equal((await provide(puller)).enabled, false)
  })

  it('tells nobody of what it only has from others, where that is the policy', async () => {
    const puller = await start('by-dht', { ...routed(), SEAWAY_SEED: 'published' })
    const quiet = await provide(puller)
    assert.deepEqual([quiet.last?.told, quiet.last?.failed], [0, 0])
  })

  it('has the config of an image of another registry from a provider that the DHT names', async function () {
    if (!available('docker-registry')) this.skip()
    const registry = keep(await startRegistry({ dir: folder('registry') }))
    const relay = keep(await startUpstreamRelay(registry.url))
    // its config is that of the publisher's image, and so is its layer
    const { layer: large } = await repository(registry.url, 'team/app').putImage('1', layer)
    const puller = await start('through', {
      ...routed(),
      SEAWAY_UPSTREAMS: `up.example=${relay.url} published=no`,
      // a busy machine may be slow to answer, which is not what is tested
      SEAWAY_PEER_TIMEOUT: '20s'
    })
    await repository(puller.url, 'up.example/team/app').readImage('1')
    const blobs = relay.matching(/^GET .*\/blobs\//).map(({ path }) => path)
    assert.deepEqual(blobs, [`/v2/team/app/blobs/${large}`], 'no CID is known of a larger one')
    assert.deepEqual(new Set(await foundBy(puller)), new Set(['local DHT']))
    await puller.stop()
  })

  it('asks those it met before when nobody is named any more', async () => {
    const puller = await start('met')
    await bind.setTxt('ships.example', {
      _dnslink: `dnslink=/ipfs/${root}`,
      '@': `ipfsnode=${JSON.stringify(publisher.peers)}`
    })
    await read(puller, '1')
    await puller.stop()

    await repository(publisher.url, 'ships.example/app').putImage('2', Buffer.from('another layer'))
    await publishNobody()
    const again = await start('met')
    await read(again, '2')
    await again.stop()
    // and when those who are named are dead
    await repository(publisher.url, 'ships.example/app').putImage('3', Buffer.from('one more layer'))
    root = await publisher.root('ships.example')
    await bind.setTxt('ships.example', {
      _dnslink: `dnslink=/ipfs/${root}`,
      '@': `ipfsnode=/ip4/127.0.0.1/tcp/1/p2p/${publisher.peers[0]?.split('/p2p/')[1]}`
    })
    await read(await start('met'), '3')
  })
})

describe('finding neighbours', function () {
  this.timeout(180_000)
  const { folder, keep, gateway } = useBed('mdns')

  it('pulls a root from a gateway on the same network that nobody named', async function () {
    if (!available('ip', 'tc', 'skopeo')) this.skip()
    const image: Image = await makeImage({
      dir: folder('image'),
      name: 'app:1',
      layers: [{ size: 3_000_000, seed: 'lan' }]
    })
    const lan = keep(await makeLan({ count: 2, mbit: 1000 }))
    for (const { namespace } of lan.hosts)
      await run('ip', ['-n', namespace, 'route', 'add', '224.0.0.0/4', 'dev', 'eth0'])
    const [one, two] = lan.hosts as [Host, Host]
    const start = (name: string, host: Host, mdns: 'yes' | 'no') =>
      gateway(name, {
        prefix: on(host),
        env: {
          SEAWAY_SWARM_LISTEN: `/ip4/${host.ip}/tcp/4001`,
          SEAWAY_MDNS: mdns,
          SEAWAY_LOG_LEVEL: 'info',
          SEAWAY_PULL_TIMEOUT: '8s'
        }
      })
    const skopeo = async (host: Host, ...args: string[]) => {
      const [command = '', ...rest] = [...on(host), 'skopeo', ...args]
      return run(command, rest, { env: await home(folder('skopeo')), allowFailure: true })
    }

    const publisher = await start('publisher', one, 'yes')
    const target = `docker://${publisher.host}/ships.example/app:1`
    await skopeo(one, 'copy', '--dest-tls-verify=false', `oci:${image.layout}`, target)
    const root = await publisher.root('ships.example')
    const pull = (through: SeawayGateway) =>
      skopeo(
        two,
        'copy',
        '--src-tls-verify=false',
        `docker://${through.host}/ipfs/${root}/app:1`,
        `dir:${folder('got')}`
      )

    const deaf = await start('deaf', two, 'no')
    const failed = await pull(deaf)
    assert.notEqual(failed.status, 0)
    await deaf.stop()

    const puller = await start('puller', two, 'yes')
    await waitFor('the neighbour to be found', async () =>
      (await puller.logged()).some(({ msg }) => msg === 'found on the local network')
    )
    const got = await pull(puller)
    assert.equal(got.status, 0, got.stderr)
  })
})
