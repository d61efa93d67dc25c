/**
 * `npm run bench:store [-- --only=transfer,growth,memory --rounds=5 --mb=220 --counts=1000,10000,100000 --gb=2
 * --slow-seconds=30 --full --docker]`: what the store costs.
 *
 * - transfer: a layer pushed and pulled, against Debian's docker-registry, measured in turn, five times; the medians
 *   are compared. Seaway works out CIDs and syncs what it answers for; docker-registry 2.8.2 does neither. Dirty pages
 *   are written out before each measurement, so that nobody waits for what somebody else left.
 * - growth: how long a start and a collection take with so many blobs, and with 100,000 blobs that claim 1 TB.
 * - memory: the gateway's peak while a large blob is pushed, and pulled by a client that takes 5 MB/s. `--full` is
 *   10 GB, and the slow client to its end: 35 minutes.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Client, docker, skopeo } from '../test/e2e/support/clients.ts'
import { startDocker } from '../test/e2e/support/docker.ts'
import { startGateway } from '../test/e2e/support/gateway.ts'
import { type Image, makeImage } from '../test/e2e/support/images.ts'
import { available, run, tempDir } from '../test/e2e/support/process.ts'
import { startRegistry } from '../test/e2e/support/registry.ts'
import { randomBytes } from '../test/e2e/support/tar.ts'
import { flag, median, option, timed, verdict } from './bench-measure.ts'
import { growth } from './bench-store-growth.ts'
import { memory } from './bench-store-memory.ts'

const ONLY = option('only', 'transfer,growth,memory').split(',')
const ROUNDS = Number(option('rounds', '5'))
const SIZE = Number(option('mb', '220')) * 1e6

/** One thing to measure: how many seconds it took. */
interface Work {
  readonly name: string
  readonly goal: number
  run(side: Side, round: number): Promise<number>
}

interface Side {
  readonly name: string
  readonly host: string
  readonly url: string
}

const temp = tempDir('bench')
const running: { stop(): Promise<void> }[] = []

/** Pushes a file by curl, as one PUT or (of unknown length, as docker does) one PATCH. */
async function curlPush(side: Side, file: string, digest: string, way: 'PUT' | 'PATCH'): Promise<number> {
  const begin = await fetch(`${side.url}/v2/bench/curl/blobs/uploads/`, { method: 'POST' })
  const location = new URL(begin.headers.get('location') ?? '', side.url)
  const curl = [
    '-sS',
    '-f',
    '-H',
    'Content-Type: application/octet-stream',
    '-H',
    'Expect:',
    '-o',
    '/dev/null'
  ]
  return timed(async () => {
    let last = location
    if (way === 'PATCH') {
      const chunked = ['-X', 'PATCH', '-H', 'Transfer-Encoding: chunked', '-D', '-', '-T', file]
      const { stdout } = await run('curl', [...curl, ...chunked, location.href])
      last = new URL(/^location: *(\S+)/im.exec(stdout)?.[1] ?? '', side.url)
    }
    last.searchParams.set('digest', digest)
    const body = way === 'PUT' ? ['-T', file] : ['-X', 'PUT', '-d', '']
    await run('curl', [...curl, ...body, last.href])
  })
}

async function transfer(): Promise<void> {
  const seaway = await startGateway({ dir: join(temp.path, 'seaway') })
  running.push(seaway)
  const registry = await startRegistry({ dir: join(temp.path, 'registry') })
  running.push(registry)
  const sides: Side[] = [
    { name: 'seaway', host: seaway.host, url: seaway.url },
    { name: 'docker-registry', host: registry.host, url: registry.url }
  ]
  const client = await skopeo({ dir: join(temp.path, 'skopeo') })
  let engine: Client | undefined
  if (flag('docker')) {
    const daemon = await startDocker({ dir: join(temp.path, 'd') })
    running.push(daemon)
    engine = docker(daemon)
  }
  const images: Image[] = []
  const files: { path: string; digest: string }[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const layers = [{ size: SIZE, seed: `round ${round}` }]
    images.push(await makeImage({ dir: join(temp.path, `image-${round}`), name: `bench:${round}`, layers }))
    const path = join(temp.path, `file-${round}`)
    const hash = createHash('sha256')
    const out = createWriteStream(path)
    for (const piece of randomBytes(SIZE, `file ${round}`)) {
      hash.update(piece)
      if (!out.write(piece)) await once(out, 'drain')
    }
    out.end()
    await once(out, 'close')
    files.push({ path, digest: `sha256:${hash.digest('hex')}` })
  }
  const file = (round: number) => files[round] as { path: string; digest: string }
  const reference = (side: Side, round: number) => `${side.host}/bench/skopeo:${round}`
  const download = (side: Side, round: number) =>
    timed(() =>
      run('curl', ['-sS', '-f', '-o', '/dev/null', `${side.url}/v2/bench/curl/blobs/${file(round).digest}`])
    )
  // A file is pushed once to each: what is there already would not be written again.
  const works: Work[] = [
    {
      name: 'push, curl PUT',
      goal: 1.3,
      run: (side, i) => curlPush(side, file(i).path, file(i).digest, 'PUT')
    },
    { name: 'raw GET, curl', goal: 0.8, run: download },
    {
      name: 'push, skopeo',
      goal: 1.3,
      run: (side, i) => timed(() => client.push(images[i] as Image, reference(side, i)))
    },
    { name: 'warm pull, skopeo', goal: 1, run: (side, i) => timed(() => client.pull(reference(side, i))) }
  ]
  if (engine !== undefined) {
    const { pull } = engine
    works.push({
      name: 'warm pull, docker',
      goal: 1,
      run: (side, i) => timed(() => pull(reference(side, i)))
    })
  }
  console.log(`${SIZE / 1e6} MB, medians of ${ROUNDS}, alternating; MB/s\n`)
  console.log(`${''.padEnd(24)}${sides.map(({ name }) => name.padStart(18)).join('')}   ratio   goal`)
  for (const { name, goal, run: work } of works) {
    const seconds: number[][] = [[], []]
    for (let round = 0; round < ROUNDS; round++) {
      // Who is first changes, too.
      for (const i of round % 2 === 0 ? [0, 1] : [1, 0]) seconds[i]?.push(await work(sides[i] as Side, round))
    }
    const [ours, theirs] = seconds.map(median) as [number, number]
    const cells = [ours, theirs].map((each) => (SIZE / 1e6 / each).toFixed(0).padStart(18))
    const ratio = theirs / ours
    console.log(`${name.padEnd(24)}${cells.join('')}${verdict(ratio, goal)}`)
  }
  for (const { path } of files) await rm(path)
}

if (!available('docker-registry', 'skopeo', 'curl')) process.exit(1)
try {
  if (ONLY.includes('transfer')) await transfer()
  for (const handle of running.splice(0).toReversed()) await handle.stop()
  const counts = option('counts', '1000,10000,100000').split(',').map(Number)
  if (ONLY.includes('growth')) await growth(temp.path, counts, ROUNDS)
  const full = flag('full')
  if (ONLY.includes('memory')) {
    const gb = full ? 10 : Number(option('gb', '2'))
    await memory(temp.path, gb, full ? Number.POSITIVE_INFINITY : Number(option('slow-seconds', '30')))
  }
} finally {
  for (const handle of running.toReversed()) await handle.stop()
  await temp.remove()
}
