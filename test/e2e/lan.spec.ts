/** Gateways on one local network, and a registry behind a line whose bytes are counted. */
import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { useBed } from './support/bed.ts'
import { home } from './support/client.ts'
import { waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { type Host, makeLan, on } from './support/netns.ts'
import { available, run } from './support/process.ts'
import type { PullReport } from './support/pull-client.ts'
import { type Registry, startRegistry } from './support/registry.ts'

const MB = 1_000_000
/** Of the image's layers, in bytes. */
const SIZE = 32 * MB
const LAYERS = 4
const CLIENT = fileURLToPath(new URL('support/pull-client.ts', import.meta.url))

describe('two gateways on one local network', function () {
  this.timeout(120_000)
  const { keep, folder, gateway } = useBed('lan')
  let hosts: [Host, Host, Host]
  let upstream: Registry
  let first: SeawayGateway

  const start = (name: string, host: Host, env: Record<string, string> = {}): Promise<SeawayGateway> =>
    gateway(name, {
      prefix: on(host),
      env: {
        SEAWAY_SWARM_LISTEN: `/ip4/${host.ip}/tcp/0`,
        SEAWAY_UPSTREAMS: `lan.example=${upstream.url} published=no`,
        SEAWAY_MDNS: 'yes',
        // a busy machine may be slow to answer, which is not what is tested
        SEAWAY_PEER_TIMEOUT: '10s',
        SEAWAY_LOG_LEVEL: 'info',
        ...env
      }
    })

  async function exec(host: Host, command: string[], env: Record<string, string> = {}): Promise<string> {
    const [program = '', ...args] = [...on(host), ...command]
    return (await run(program, args, { env, timeout: 100_000 })).stdout
  }

  /** Pulls the image as docker does, and says how many bytes the upstream sent meanwhile, all headers included. */
  async function pull(host: Host, through: SeawayGateway): Promise<number> {
    const [, , line] = hosts
    const before = (await line.counters()).sent
    const command = [process.execPath, CLIENT, through.url, 'lan.example/team/app', '1']
    const report = JSON.parse(await exec(host, command)) as PullReport
    assert.equal(report.error, undefined)
    assert.ok(report.bytes >= SIZE)
    return (await line.counters()).sent - before
  }

  const met = (one: SeawayGateway): Promise<void> =>
    waitFor('a neighbour to be found', async () =>
      (await one.logged()).some(({ msg }) => msg === 'found on the local network')
    )

  before(async function () {
    if (!available('ip', 'tc', 'skopeo', 'docker-registry', 'curl')) this.skip()
    const lan = keep(await makeLan({ count: 3, mbit: 800 }))
    for (const { namespace } of lan.hosts)
      await run('ip', ['-n', namespace, 'route', 'add', '224.0.0.0/4', 'dev', 'eth0'])
    hosts = lan.hosts as [Host, Host, Host]
    const [, , line] = hosts
    upstream = keep(await startRegistry({ dir: folder('upstream'), on: line, port: 5000 }))
    const layers = Array.from({ length: LAYERS }, (_, i) => ({ size: SIZE / LAYERS, seed: `layer ${i}` }))
    const image: Image = await makeImage({ dir: folder('image'), name: 'app:1', layers })
    const target = `docker://${upstream.host}/team/app:1`
    const env = await home(folder('skopeo'))
    await exec(line, ['skopeo', 'copy', '--dest-tls-verify=false', `oci:${image.layout}`, target], env)
    first = await start('first', hosts[0])
    const sent = await pull(hosts[0], first)
    assert.ok(sent >= SIZE, 'the first one has it from the upstream')
  })

  it('the second has an image from the first, with less than 1 % of it over the line', async () => {
    const second = await start('second', hosts[1])
    await met(second)
    const sent = await pull(hosts[1], second)
    console.log(`      ${sent} bytes over the line, ${((sent / SIZE) * 100).toFixed(3)} % of the image`)
    assert.ok(sent < SIZE / 100, `${sent} bytes came from the upstream`)
    await second.stop()
  })

  it('one that finds nobody there who has it, pulls it from the upstream', async () => {
    await first.stop()
    const empty = await start('empty', hosts[0])
    const third = await start('third', hosts[1])
    await met(third)
    const sent = await pull(hosts[1], third)
    assert.ok(sent >= SIZE && sent < SIZE * 1.1)
    await empty.stop()
  })
})
