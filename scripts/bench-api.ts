/**
 * `npm run bench:api`: small requests, Seaway against Debian's docker-registry. Both run at once, each in
 * a process of its own; every figure is measured alternately, five times, and the medians are compared,
 * so that a machine that is busy for a while slows both.
 *
 * Manifests are put in two ways, a thousand a round: into a fresh repository each round, and into one that
 * grows from round to round (to ten thousand tags in the end).
 *
 * Seaway writes durably (its answer comes after the sync); docker-registry 2.8.2 does not sync at all.
 *
 * `--tree N` measures something else, Seaway alone: pushes, one at a time, into a tree of N tags against
 * pushes into empty ones.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { startGateway } from '../test/e2e/support/gateway.ts'
import { load, type Measured, type Sample } from '../test/e2e/support/load.ts'
import { available, tempDir } from '../test/e2e/support/process.ts'
import { startRegistry } from '../test/e2e/support/registry.ts'
import { manifest, OCI_MANIFEST, ociClient } from '../test/support/oci-client.ts'

const ROUNDS = 5
const READS = 4000
const PUTS = 1000

/** A registry that is measured. */
interface Side {
  readonly name: string
  readonly port: number
  readonly url: string
  readonly host: string
}

/** One thing to measure: `count` requests over `connections` connections. */
interface Work {
  readonly name: string
  readonly connections: number
  /** Seaway's rate divided by docker-registry's must be at least this. */
  readonly goal: number
  readonly sample: (round: number, side: Side) => Sample | Promise<Sample>
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0

function summary(all: readonly Measured[]): Measured {
  return {
    rate: median(all.map((each) => each.rate)),
    p50: median(all.map((each) => each.p50)),
    p99: median(all.map((each) => each.p99))
  }
}

const cells = ({ rate, p50, p99 }: Measured): string =>
  rate.toFixed(0).padStart(16) + `${p50.toFixed(1).padStart(7)}${p99.toFixed(1).padStart(7)}`

/** Manifests of their own, each with a tag of its own, for a repository that has their config and layers already. */
async function puts(side: Side, repository: string, kind: string, count: number): Promise<Sample> {
  const { bytes } = await ociClient(side).image(repository, 'first')
  const { config, layers } = JSON.parse(bytes.toString()) as Record<string, unknown>
  return {
    count,
    request: (i) => ({
      method: 'PUT',
      path: `/v2/${repository}/manifests/${kind}-${i}`,
      headers: { 'content-type': OCI_MANIFEST },
      body: manifest({ config, layers, annotations: { mark: `${kind} ${i}` } }).bytes.toString()
    })
  }
}

async function againstRegistry(seaway: Side, registry: Side): Promise<void> {
  const sides = [seaway, registry]
  let digest = ''
  for (const side of sides) digest = (await ociClient(side).image('bench/app', '1')).digest
  const read = (method: string, reference: string) => (): Sample => ({
    count: READS,
    request: () => ({ method, path: `/v2/bench/app/manifests/${reference}` })
  })
  const fresh = (kind: string) => (round: number, side: Side) =>
    puts(side, `bench/${kind}-${round}`, kind, PUTS)
  const growing = (kind: string) => (round: number, side: Side) =>
    puts(side, 'bench/app', `${kind}-${round}`, PUTS)
  const works: Work[] = [
    { name: 'HEAD manifest by tag', connections: 16, goal: 3, sample: read('HEAD', '1') },
    { name: 'GET manifest by tag', connections: 16, goal: 3, sample: read('GET', '1') },
    { name: 'GET manifest by digest', connections: 16, goal: 3, sample: read('GET', digest) },
    { name: 'PUT, fresh repository', connections: 1, goal: 1, sample: fresh('one') },
    { name: 'PUT, fresh, 16 at once', connections: 16, goal: 2, sample: fresh('many') },
    { name: 'PUT, growing repository', connections: 1, goal: 1, sample: growing('one') },
    { name: 'PUT, growing, 16 at once', connections: 16, goal: 2, sample: growing('many') }
  ]
  console.log(`${ROUNDS} rounds, alternating; medians. Rates in requests a second, times in milliseconds.\n`)
  console.log(
    `${'work'.padEnd(30)}${sides.map(({ name }) => name.padStart(16) + '   p50   p99'.padStart(14)).join('')}   ratio  goal`
  )
  for (const { name, connections, goal, sample } of works) {
    const results: Measured[][] = [[], []]
    for (let round = 0; round < ROUNDS; round++) {
      for (const [i, side] of sides.entries()) {
        results[i]?.push(await load({ ...side, connections, ...(await sample(round, side)) }))
        await sleep(100)
      }
    }
    const [ours, theirs] = results.map(summary) as [Measured, Measured]
    const ratio = ours.rate / theirs.rate
    console.log(
      `${name.padEnd(30)}${cells(ours)}${cells(theirs)}${ratio.toFixed(2).padStart(8)}${String(goal).padStart(6)} ${ratio >= goal ? '' : '<- short of its goal'}`
    )
  }
}

/** What a push of one manifest takes in a tree of `tags` tags, and in an empty one; at most 1.5 times as long is the goal. */
async function intoLargeTree(large: Side, small: Side, tags: number): Promise<void> {
  for (let from = 0; from < tags; from += 10_000) {
    const sample = await puts(large, 'bench/app', `fill-${from}`, Math.min(10_000, tags - from))
    const { rate } = await load({ ...large, connections: 16, ...sample })
    console.log(`${from + sample.count} tags pushed, the last ones at ${rate.toFixed(0)} a second`)
  }
  // Both run code that is warm, and what the filling left to the database to tidy up is done.
  for (const side of [large, small])
    await load({ ...side, connections: 1, ...(await puts(side, 'warm.test/app', 'warm', PUTS)) })
  await sleep(5000)
  const results: { large: Measured[]; empty: Measured[] } = { large: [], empty: [] }
  for (let round = 0; round < 2 * ROUNDS + 1; round++) {
    const more = await puts(large, 'bench/app', `more-${round}`, 50)
    results.large.push(await load({ ...large, connections: 1, ...more }))
    // A domain of its own is a tree of its own.
    const first = await puts(small, `empty-${round}.test/app`, 'one', 50)
    results.empty.push(await load({ ...small, connections: 1, ...first }))
  }
  const [ours, empty] = [summary(results.large), summary(results.empty)]
  const ratio = empty.rate / ours.rate
  console.log(`\n${''.padEnd(30)}${'rate'.padStart(16)}    p50    p99   (pushes one at a time)`)
  console.log(`${'into an empty tree'.padEnd(30)}${cells(empty)}`)
  console.log(`${`into a tree of ${tags} tags`.padEnd(30)}${cells(ours)}`)
  console.log(
    `times as long: ${ratio.toFixed(2)} (medians ${(ours.p50 / empty.p50).toFixed(2)}), goal 1.5 ${ratio <= 1.5 ? '' : '<- short of its goal'}`
  )
}

const { values } = parseArgs({ options: { tree: { type: 'string' } } })
if (values.tree === undefined && !available('docker-registry')) process.exit(1)
const temp = tempDir('bench')
const running: { stop(): Promise<void> }[] = []
const seaway = async (dir: string): Promise<Side> => {
  const gateway = await startGateway({ dir: `${temp.path}/${dir}` })
  running.push(gateway)
  return { name: 'seaway', port: Number(new URL(gateway.url).port), url: gateway.url, host: gateway.host }
}
try {
  if (values.tree !== undefined) {
    await intoLargeTree(await seaway('large'), await seaway('small'), Number(values.tree))
  } else {
    const ours = await seaway('seaway')
    const registry = await startRegistry({ dir: `${temp.path}/registry` })
    running.push(registry)
    await againstRegistry(ours, { name: 'docker-registry', ...registry })
  }
} finally {
  for (const handle of running.toReversed()) await handle.stop()
  await temp.remove()
}
