/** Many who pull the same image at once from one publisher, each behind a link of 100 Mbit/s. */
import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { useBed } from './support/bed.ts'
import { home } from './support/client.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { type Host, type Lan, makeLan, on } from './support/netns.ts'
import { available, run } from './support/process.ts'
import type { PullReport } from './support/pull-client.ts'

const MB = 1_000_000
const MBIT = 100
const PULLERS = 7
const LAYERS = 4
/** The image's size in MB; the machine's processors have to carry eight gateways at once. */
const SIZE = Number(process.env.SWARM_MB ?? 200) * MB
const CLIENT = fileURLToPath(new URL('support/pull-client.ts', import.meta.url))

describe(`a swarm of ${PULLERS} pullers behind ${MBIT} Mbit/s`, function () {
  this.timeout(600_000)
  const { keep, folder, gateway } = useBed('swarm')
  let lan: Lan
  let image: Image
  let publisher: SeawayGateway
  let root: string

  const start = (name: string, host: Host, env: Record<string, string> = {}): Promise<SeawayGateway> =>
    gateway(name, {
      prefix: on(host),
      env: { SEAWAY_SWARM_LISTEN: `/ip4/${host.ip}/tcp/4001`, SEAWAY_PUSH_BASE: 'empty', ...env }
    })

  async function exec(host: Host, command: string[], env: Record<string, string> = {}): Promise<string> {
    const [program = '', ...args] = [...on(host), ...command]
    return (await run(program, args, { env, timeout: 400_000 })).stdout
  }

  async function pull(host: Host, through: SeawayGateway): Promise<PullReport> {
    const command = [process.execPath, CLIENT, through.url, `ipfs/${root}/app`, '1']
    const report = JSON.parse(await exec(host, command)) as PullReport
    assert.equal(report.error, undefined)
    assert.ok(report.bytes >= SIZE)
    return report
  }

  const puller = (name: string, host: Host): Promise<SeawayGateway> =>
    start(name, host, { SEAWAY_PEERS: publisher.peers.join(',') })

  before(async function () {
    if (!available('ip', 'tc', 'skopeo')) this.skip()
    lan = keep(await makeLan({ count: PULLERS + 1, mbit: MBIT }))
    const layers = Array.from({ length: LAYERS }, (_, i) => ({ size: SIZE / LAYERS, seed: `layer ${i}` }))
    image = await makeImage({ dir: folder('image'), name: 'app:1', layers })
    const [host] = lan.hosts as [Host]
    publisher = await start('publisher', host)
    const target = `docker://${publisher.host}/ships.example/app:1`
    const env = await home(folder('skopeo'))
    await exec(host, ['skopeo', 'copy', '--dest-tls-verify=false', `oci:${image.layout}`, target], env)
    root = await publisher.root('ships.example')
  })

  it('feeds itself: the publisher sends the image less than 3 times, and nobody takes 3 times as long as alone', async () => {
    const [origin, ...others] = lan.hosts as [Host, ...Host[]]
    const [first] = others as [Host]
    const lonely = await puller('alone', first)
    const alone = await pull(first, lonely)
    await lonely.stop()

    const gateways = await Promise.all(others.map((host, i) => puller(`puller${i + 1}`, host)))
    const before = await Promise.all(lan.hosts.map((host) => host.counters()))
    const pulls = await Promise.all(gateways.map((through, i) => pull(others[i] as Host, through)))
    const after = await Promise.all(lan.hosts.map((host) => host.counters()))

    const uploads = after.map(({ sent }, i) => (sent - (before[i]?.sent ?? 0)) / image.size)
    const times = pulls.map(({ ms }) => ms / 1000)
    const seconds = (list: number[]) => list.map((s) => s.toFixed(1)).join(' ')
    console.log(`      alone ${seconds([alone.ms / 1000])} s; all at once ${seconds(times)} s`)
    console.log(`      sent by each, in images: ${uploads.map((n) => n.toFixed(2)).join(' ')}`)
    const [fromPublisher = 0] = uploads
    assert.ok(fromPublisher < 3, `the publisher sent the image ${fromPublisher.toFixed(2)} times`)
    // a property of who sends what to whom, not of the machine: without the others it would be 7 times
    const ratio = Math.max(...times) / (alone.ms / 1000)
    console.log(`      the last one took ${ratio.toFixed(2)} times as long as one alone`)
    assert.ok(ratio < 3, `the last one took ${ratio.toFixed(2)} times as long as one alone`)
    assert.equal(origin, lan.hosts[0])
  })
})
