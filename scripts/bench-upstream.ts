/**
 * `npm run bench:upstream [-- --mb=220 --rounds=5 --only=loopback,link --clients=curl,skopeo]`: an image of another
 * registry, cold and warm, through Seaway, through docker-registry as a pull-through cache, and from that registry itself
 * (docker-registry, too). All are measured in turn in each round, who is first changes, and the medians are compared.
 *
 * Cold: an image of three layers that neither cache has seen. Seaway checks and syncs what it passes on, and works out its
 * CIDs; docker-registry checks it, and syncs nothing; who pulls from the registry itself does neither. Warm: the same once
 * more, against an image with the same layers that was pushed to the gateway. curl takes the layers three at a time and
 * throws them away; skopeo checks them and writes an OCI layout.
 *
 * The registry is on loopback, then behind a link of 100 MB/s and 50 ms round trip, at whose near end connections are taken:
 * setting one up costs neither the client that asks the registry itself nor a cache a round trip. The registry's domain isn't
 * looked up in DNS (`published=no`), as those of well-known registries aren't: the name server of test gateways refuses all
 * questions, which took half a second of each cold pull.
 */
import { join } from 'node:path'
import { type Client, skopeo } from '../test/e2e/support/clients.ts'
import { startGateway } from '../test/e2e/support/gateway.ts'
import { type Image, makeImage } from '../test/e2e/support/images.ts'
import { available, run, tempDir } from '../test/e2e/support/process.ts'
import { type Registry, startRegistry } from '../test/e2e/support/registry.ts'
import { MANIFEST_TYPES } from '../test/e2e/support/wire.ts'
import { median, option, timed, verdict } from './bench-measure.ts'
import { HOST, RATE, ROUND_TRIP, startLink } from './bench-transfer-link.ts'

const SIZE = Number(option('mb', '220')) * 1e6
const ROUNDS = Number(option('rounds', '5'))
const ONLY = option('only', 'loopback,link').split(',')
const CLIENTS = option('clients', 'curl,skopeo').split(',')

/** What part of the rate of the registry itself a cold pull should have, and a warm one of that of a local image. */
const COLD_GOAL = 0.9
const WARM_GOAL = 0.95

/** The layers' parts of an image. */
const LAYERS = [0.6, 0.3, 0.1]

type Side = 'registry' | 'cache' | 'seaway' | 'local'
const TITLES: Readonly<Record<Side, string>> = {
  registry: 'the registry',
  cache: 'docker-registry',
  seaway: 'seaway',
  local: 'seaway, pushed'
}

/** Pulls `<host>/<repository>:<round>`. */
type Pull = (host: string, repository: string, round: number) => Promise<unknown>

const temp = tempDir('bench')
const running: { stop(): Promise<void> }[] = []
const keep = <T extends { stop(): Promise<void> }>(one: T): T => {
  running.push(one)
  return one
}

function curl(images: readonly Image[]): Pull {
  return async (host, repository, round) => {
    const base = `http://${host}/v2/${repository}`
    const get = ['-sS', '-f', '-H', `Accept: ${MANIFEST_TYPES}`]
    await run('curl', [...get, '-o', '/dev/null', `${base}/manifests/${round}`])
    const { configs = [], layers = [] } = images[round] ?? {}
    const blobs = [...configs, ...layers].flatMap(({ digest }) => [
      '-o',
      '/dev/null',
      `${base}/blobs/${digest}`
    ])
    await run('curl', [...get, '--parallel', '--parallel-immediate', '--parallel-max', '3', ...blobs])
  }
}

/** Measures sides in turn, each round in another order; seconds by side. */
async function alternate(
  sides: readonly Side[],
  round: number,
  measure: (side: Side) => Promise<unknown>,
  seconds: Record<Side, number[]>
): Promise<void> {
  for (const i of sides.keys()) {
    const side = sides[(i + round) % sides.length] as Side
    seconds[side].push(await timed(() => measure(side)))
  }
}

function print(what: string, sides: readonly Side[], seconds: Record<Side, number[]>, goal: number): void {
  const rate = (side: Side) => SIZE / 1e6 / median(seconds[side])
  const cells = (Object.keys(TITLES) as Side[]).map((side) =>
    (sides.includes(side) ? rate(side).toFixed(0) : '').padStart(17)
  )
  const against = sides.includes('local') ? 'local' : 'registry'
  console.log(`${what.padEnd(14)}${cells.join('')}${verdict(rate('seaway') / rate(against), goal)}`)
}

/** Cold and warm pulls with one client, through caches of their own, of a registry that is at `at`. */
async function compare(name: string, at: string, images: readonly Image[], publisher: Client): Promise<void> {
  const dir = join(temp.path, name)
  const gateway = keep(
    await startGateway({
      dir: join(dir, 'seaway'),
      env: { SEAWAY_UPSTREAMS: `up.example=http://${at} published=no` }
    })
  )
  const cache = keep(await startRegistry({ dir: join(dir, 'cache'), proxy: `http://${at}` }))
  const places: Readonly<Record<Side, [host: string, repository: string]>> = {
    registry: [at, 'bench/app'],
    cache: [cache.host, 'bench/app'],
    seaway: [gateway.host, 'up.example/bench/app'],
    local: [gateway.host, 'own.example/app']
  }
  const client = await skopeo({ dir: join(dir, 'skopeo') })
  const viaSkopeo: Pull = (host, repository, i) => client.pull(`${host}/${repository}:${i}`)
  const pull = name.includes('curl') ? curl(images) : viaSkopeo

  const none = (): Record<Side, number[]> => ({ registry: [], cache: [], seaway: [], local: [] })
  const [cold, warm] = [none(), none()]
  const coldSides = ['registry', 'cache', 'seaway'] as const
  const warmSides = ['cache', 'seaway', 'local'] as const
  for (const [round, image] of images.entries()) {
    await alternate(coldSides, round, (side) => pull(...places[side], round), cold)
    await publisher.push(image, `${places.local.join('/')}:${round}`)
    // whoever still writes what has just come is done with that then
    for (const side of warmSides) await pull(...places[side], round)
    await alternate(warmSides, round, (side) => pull(...places[side], round), warm)
  }
  const what = name.includes('curl') ? 'curl' : 'skopeo'
  print(`cold, ${what}`, coldSides, cold, COLD_GOAL)
  print(`warm, ${what}`, warmSides, warm, WARM_GOAL)
  for (const handle of running.splice(-2).toReversed()) await handle.stop()
  await run('rm', ['-r', dir])
}

async function section(title: string, name: string, registry: Registry, at: string): Promise<void> {
  const publisher = await skopeo({ dir: join(temp.path, 'publisher') })
  const images: Image[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const layers = LAYERS.map((part, i) => ({
      size: Math.round(SIZE * part),
      seed: `${name} ${round} ${i}`
    }))
    const dir = join(temp.path, `image-${name}-${round}`)
    const image = await makeImage({ dir, name: `bench:${round}`, layers })
    await publisher.push(image, `${registry.host}/bench/app:${round}`)
    images.push(image)
  }
  const titles = Object.values(TITLES).map((each) => each.padStart(17))
  console.log(
    `\n${title}: ${SIZE / 1e6} MB in ${LAYERS.length} layers, medians of ${ROUNDS}, alternating; MB/s\n`
  )
  console.log(`${''.padEnd(14)}${titles.join('')}   ratio   goal`)
  for (const client of CLIENTS) await compare(`${name}-${client}`, at, images, publisher)
  for (const { dir } of images) await run('rm', ['-r', dir])
}

if (!available('docker-registry', 'skopeo', 'curl')) process.exit(1)
try {
  if (ONLY.includes('loopback')) {
    const registry = keep(await startRegistry({ dir: join(temp.path, 'near') }))
    await section('registry on loopback', 'loopback', registry, registry.host)
  }
  if (ONLY.includes('link')) {
    const link = keep(startLink())
    const registry = keep(await startRegistry({ dir: join(temp.path, 'far'), address: HOST }))
    const far = await link.through(registry.port)
    const title = `registry behind ${RATE / 1e6} MB/s and ${ROUND_TRIP} ms`
    await section(title, 'link', registry, `${far.host}:${far.port}`)
  }
} finally {
  for (const handle of running.toReversed()) await handle.stop()
  await temp.remove()
}
