/**
 * `npm run bench:transfer [-- --mb=512 --rounds=5 --only=loopback,link --rows=http,stream,bitswap,kubo,helia
 * --svg=docs/transfer.svg --prof=DIR]`: a cold pull through a gateway, by each way that a peer can be reached,
 * against the same bytes over plain HTTP that nobody checks, between two Kubo nodes, and with Helia's own
 * packages; on loopback, then over a link of 100 MB/s and 50 ms round trip. Every row is measured once a round,
 * in turn, so that a machine that is busy for a while slows them all; the medians are compared. Writes a chart.
 *
 * client ← gateway with an empty store ← peer: three processes. The manifest is fetched first, as clients do.
 * The unverified row is client ← proxy ← file server. Bytes are hashed in a round before the first that counts.
 * Memory is the most that was resident during the layer; CPU is what it took both sides.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { dirname, join } from 'node:path'
import type { Digest } from '../src/oci/digest.ts'
import { openStore } from '../src/store/index.ts'
import { startKubo } from '../test/e2e/support/kubo.ts'
import { available } from '../test/e2e/support/process.ts'
import { startDnsServer } from '../test/support/dns-server.ts'
import { type SeawayProcess, startSeaway } from '../test/support/seaway-process.ts'
import { tempFolder } from '../test/support/temp.ts'
import { type Bar, chart, type Group } from './bench-transfer-chart.ts'
import { HOST, type Link, RATE, ROUND_TRIP, startLink } from './bench-transfer-link.ts'

const MiB = 1024 * 1024
const option = (name: string, otherwise: string) =>
  process.argv.find((each) => each.startsWith(`--${name}=`))?.split('=')[1] ?? otherwise
const SIZE = Number(option('mb', '512')) * MiB
const ROUNDS = Number(option('rounds', '5'))
const ONLY = option('only', 'loopback,link').split(',')
const ROWS = option('rows', 'http,stream,bitswap,kubo,helia').split(',')
const SVG = option('svg', join(import.meta.dirname, '../docs/transfer.svg'))
const PROFILES = option('prof', '')
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'

/** One pull: MB/s, ms to the manifest, from there to the layer's first byte, and to its end; the most memory of
 * both sides in MB, and their CPU in seconds. */
interface Figures {
  rate: number
  manifest: number
  first: number
  whole: number
  here: number
  there: number
  cpuHere: number
  cpuThere: number
}

/** What is measured, and at least what part of the unverified rate it should reach. */
interface Row {
  key: string
  name: string
  goal?: number
  pull(check: boolean): Promise<Figures>
}

const temp = tempFolder()
const running: { stop(): Promise<void> }[] = []
const profiled = (side: string): Record<string, string> =>
  PROFILES === '' ? {} : { NODE_OPTIONS: `--cpu-prof --cpu-prof-dir=${join(PROFILES, side)}` }

const chunk = randomBytes(MiB)
function* body(): Generator<Buffer> {
  for (let i = 0; i < SIZE / MiB; i++) {
    const piece = Buffer.from(chunk)
    piece.writeUInt32LE(i, 0)
    yield piece
  }
}
const whole = createHash('sha256')
for (const piece of body()) whole.update(piece)
const layer = `sha256:${whole.digest('hex')}`

/** Reads a body to its end. */
function download(url: string, check: boolean): Promise<Pick<Figures, 'rate' | 'first'>> {
  return new Promise((resolve, reject) => {
    const begun = performance.now()
    const hash = check ? createHash('sha256') : undefined
    let first = 0
    let size = 0
    let said = ''
    const request = http.get(url, { highWaterMark: MiB } as object, (answer) => {
      answer.on('data', (data: Buffer) => {
        first ||= performance.now() - begun
        size += data.length
        hash?.update(data)
        if (answer.statusCode !== 200) said += data.toString()
      })
      answer.on('error', reject)
      answer.on('end', () => {
        if (size !== SIZE) return reject(new Error(`${answer.statusCode}, ${size} bytes ${said}`))
        if (hash !== undefined && `sha256:${hash.digest('hex')}` !== layer)
          return reject(new Error('wrong bytes'))
        return resolve({ rate: size / 1e3 / (performance.now() - begun), first })
      })
    })
    request.on('error', reject)
  })
}

/** A process's peak of resident memory in MB since {@link forgetPeak}. */
function peak(pid: number): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1e3
}
function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
}

/** CPU seconds that a process has used. */
function cpu(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}

async function role(
  ...args: string[]
): Promise<{ pid: number; said: Record<string, unknown>; stop(): Promise<void> }> {
  const script = join(import.meta.dirname, 'bench-transfer-peer.ts')
  const child: ChildProcess = spawn(process.execPath, [script, ...args], {
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const line = await new Promise<string>((resolve, reject) => {
    child.stdout?.once('data', (data: Buffer) => resolve(data.toString()))
    child.once('exit', () => reject(new Error(`${args[0]} ended`)))
  })
  const stop = () =>
    new Promise<void>((resolve) => {
      child.once('exit', () => resolve())
      child.kill()
    })
  return { pid: child.pid as number, said: JSON.parse(line) as Record<string, unknown>, stop }
}

/** The layer's CID in a data folder that nobody has open. */
async function cidOf(folder: string): Promise<string> {
  const store = await openStore({ folder, reserve: 0 })
  try {
    const found = await store.blobs.stat(layer as Digest)
    if (found === undefined) throw new Error('the layer is not in the store')
    return found.cid.toString()
  } finally {
    await store.close()
  }
}

async function upload(
  at: SeawayProcess,
  digest: string,
  pieces: Iterable<Buffer>,
  length: number
): Promise<void> {
  const session = await fetch(`${at.url}/v2/bench.example/app/blobs/uploads/`, { method: 'POST' })
  const url = new URL(`${session.headers.get('location')}?digest=${digest}`, at.url)
  const stream = ReadableStream.from(pieces) as ReadableStream<Uint8Array>
  const headers = { 'content-length': String(length) }
  const put = await fetch(url, { method: 'PUT', headers, body: stream, duplex: 'half' })
  if (put.status !== 201) throw new Error(`upload: ${put.status} ${await put.text()}`)
}

/** Publishes an image of one layer at `at`; its root. */
async function publish(at: SeawayProcess): Promise<string> {
  await upload(at, layer, body(), SIZE)
  const config = Buffer.from('{}')
  const configDigest = `sha256:${createHash('sha256').update(config).digest('hex')}`
  await upload(at, configDigest, [config], config.length)
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      digest: configDigest,
      size: config.length
    },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', digest: layer, size: SIZE }]
  })
  const url = `${at.url}/v2/bench.example/app/manifests/1`
  const put = await fetch(url, { method: 'PUT', headers: { 'content-type': MANIFEST }, body: manifest })
  if (put.status !== 201) throw new Error(`manifest: ${put.status} ${await put.text()}`)
  return at.root('bench.example')
}

/** Takes the measures of two processes while `work` runs. */
async function measured(
  here: number,
  there: number,
  work: () => Promise<Omit<Figures, 'here' | 'there' | 'cpuHere' | 'cpuThere'>>
): Promise<Figures> {
  forgetPeak(here)
  forgetPeak(there)
  const before = [cpu(here), cpu(there)] as const
  const figures = await work()
  const [cpuHere, cpuThere] = [cpu(here) - before[0], cpu(there) - before[1]]
  return { ...figures, here: peak(here), there: peak(there), cpuHere, cpuThere }
}

/** A download whose manifest is no matter. */
async function plainly(url: string, check: boolean) {
  const { rate, first } = await download(url, check)
  return { rate, first, manifest: 0, whole: SIZE / 1e3 / rate }
}

/** The rows of one kind of network; `link` stands between the two sides if there is one. */
async function rowsOf(link: Link | undefined): Promise<Row[]> {
  const host = link === undefined ? '127.0.0.1' : HOST
  /** A TCP address as the other side sees it. */
  const seen = async (port: number) => (link === undefined ? { host, port } : link.through(port))
  const ports = new Map<number, { host: string; port: number }>()
  async function reachable(address: string): Promise<string> {
    const port = Number(/\/tcp\/(\d+)/.exec(address)?.[1])
    const at = ports.get(port) ?? (await seen(port))
    ports.set(port, at)
    return address.replace(/^\/ip4\/[^/]+\/tcp\/\d+/, `/ip4/${at.host}/tcp/${at.port}`)
  }
  const env = { SEAWAY_DNS_SERVERS: dns.address, SEAWAY_LOG_LEVEL: 'error' }
  const publisher = await startSeaway({
    data,
    env: {
      ...env,
      SEAWAY_SEED_LISTEN: `${host}:0`,
      SEAWAY_SWARM_LISTEN: `/ip4/${host}/tcp/0`,
      ...profiled('there')
    }
  })
  running.push(publisher)
  const addresses = [...publisher.output().matchAll(/\/ip4\/\S+\/p2p\/\w+/g)].map(([text]) => text)
  const file = await role('file', join(data, 'blobs', layer.slice(7, 9), layer.slice(7)), host)
  running.push(file)
  const { host: fileHost, port: filePort } = await seen(file.said['port'] as number)

  /** A pull through a new gateway with an empty store, from the peers at `providers`. */
  async function cold(name: string, providers: readonly string[], pid: number, check: boolean) {
    dns.setTxt(`_dnslink.${name}.example`, [`dnslink=/ipfs/${root}`])
    dns.setTxt(`${name}.example`, [`ipfsnode=${JSON.stringify(providers)}`])
    const folder = join(temp.path, `cold-${name}`)
    const gateway = await startSeaway({ data: folder, env: { ...env, ...profiled(`here-${name}`) } })
    const image = `${gateway.url}/v2/${name}.example/bench.example/app`
    try {
      return await measured(gateway.pid, pid, async () => {
        const begun = performance.now()
        const said = await fetch(`${image}/manifests/1`)
        if (said.status !== 200) throw new Error(`${said.status} ${await said.text()}`)
        await said.arrayBuffer()
        const manifest = performance.now() - begun
        const figures = await download(`${image}/blobs/${layer}`, check)
        return { ...figures, manifest, whole: performance.now() - begun }
      })
    } finally {
      await gateway.stop()
      rmSync(folder, { recursive: true, force: true })
    }
  }

  async function through(
    role: Awaited<ReturnType<typeof startRole>>,
    there: number,
    url: string,
    check: boolean
  ) {
    try {
      return await measured(role.pid, there, () => plainly(url, check))
    } finally {
      await role.stop()
    }
  }
  const startRole = role

  const bitswap = await role('bitswap', copy, host)
  running.push(bitswap)
  const bitswapAt = await Promise.all((bitswap.said['addresses'] as string[]).map(reachable))
  const overHttp = await Promise.all(addresses.filter((each) => each.includes('/http')).map(reachable))
  const overStreams = await Promise.all(addresses.filter((each) => !each.includes('/http')).map(reachable))
  const rows: Row[] = [
    {
      key: 'plain',
      name: 'plain HTTP, unverified',
      async pull(check) {
        const proxy = await role('proxy', `http://${fileHost}:${filePort}/`)
        return through(proxy, file.pid, String(proxy.said['url']), check)
      }
    },
    {
      key: 'http',
      name: 'Seaway, CAR over HTTP',
      goal: link === undefined ? 0.85 : undefined,
      pull: (check) => cold('http', overHttp, publisher.pid, check)
    },
    {
      key: 'stream',
      name: 'Seaway, CAR over libp2p',
      goal: link === undefined ? 0.5 : undefined,
      pull: (check) => cold('stream', overStreams, publisher.pid, check)
    },
    {
      key: 'bitswap',
      name: 'Seaway, bitswap',
      pull: (check) => cold('bitswap', bitswapAt, bitswap.pid, check)
    },
    {
      key: 'helia',
      name: "Helia's bitswap and unixfs",
      async pull(check) {
        const node = await role('helia', bitswapAt[0] ?? '', cid)
        return through(node, bitswap.pid, String(node.said['url']), check)
      }
    }
  ]
  if (ROWS.includes('kubo') && available('ipfs')) {
    const has = await startKubo({ dir: join(temp.path, `kubo-${host}`), host })
    running.push(has)
    const path = join(data, 'blobs', layer.slice(7, 9), layer.slice(7))
    const added = await has.ipfs(
      [
        'add',
        '-Q',
        '--cid-version=1',
        '--raw-leaves',
        '--chunker=size-1048576',
        '--max-file-links=1024',
        path
      ],
      { timeout: 120_000 }
    )
    if (added.stdout.trim() !== cid) throw new Error(`Kubo says ${added.stdout.trim()}, not ${cid}`)
    const at = await reachable(has.multiaddr)
    let turn = 0
    rows.push({
      key: 'kubo',
      name: 'Kubo ← Kubo',
      async pull(check) {
        const dir = join(temp.path, `kubo-cold-${host}-${turn++}`)
        const wants = await startKubo({ dir, settings: { 'Gateway.NoFetch': false } })
        try {
          await wants.ipfs(['swarm', 'connect', at], { timeout: 30_000 })
          const pids = [wants.daemon.pid, has.daemon.pid] as const
          return await measured(...pids, () => plainly(`${wants.gateway}/ipfs/${cid}`, check))
        } finally {
          await wants.stop()
          rmSync(dir, { recursive: true, force: true })
        }
      }
    })
  }
  return rows.filter(({ key }) => key === 'plain' || ROWS.includes(key))
}

const median = (all: readonly Figures[], key: keyof Figures) =>
  all.map((each) => each[key]).toSorted((a, b) => a - b)[all.length >> 1] ?? 0

/** Measures rows in turn, prints them, and gives their bars. */
async function compare(title: string, rows: readonly Row[], link: boolean): Promise<Group> {
  const all = rows.map((): Figures[] => [])
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [i, row] of rows.entries()) {
      const figures = await row.pull(round === 0)
      if (round > 0) all[i]?.push(figures)
    }
  }
  const rateOf = (key: string) => median(all[rows.findIndex((row) => row.key === key)] ?? [], 'rate')
  const limit = rateOf('plain')
  console.log(`\n${title}, ${SIZE / MiB} MiB, medians of ${ROUNDS}, alternating\n`)
  const of = link ? 'of link' : 'ratio'
  console.log(
    `${''.padEnd(28)}   MB/s  ${of}  goal  first byte  manifest  both ms  MB here  there  CPU s here  there`
  )
  const bars: Bar[] = []
  for (const [i, { key, name, goal }] of rows.entries()) {
    const get = (figure: keyof Figures) => median(all[i] ?? [], figure)
    const ratio = get('rate') / (link ? RATE / 1e6 : limit)
    const wanted = link && (key === 'http' || key === 'stream') ? 0.9 : goal
    const cells: [string, number][] = [
      [get('rate').toFixed(0), 7],
      [ratio.toFixed(2), 8],
      [wanted?.toFixed(2) ?? '', 6],
      [get('first').toFixed(0), 12],
      [get('manifest').toFixed(0), 10],
      [get('whole').toFixed(0), 9],
      [get('here').toFixed(0), 9],
      [get('there').toFixed(0), 7],
      [get('cpuHere').toFixed(2), 12],
      [get('cpuThere').toFixed(2), 7]
    ]
    const short = wanted !== undefined && ratio < wanted ? '  <- short of its goal' : ''
    console.log(name.padEnd(28) + cells.map(([text, width]) => text.padStart(width)).join('') + short)
    bars.push({ name, rate: get('rate'), ours: name.startsWith('Seaway') })
  }
  const best = rateOf('http')
  if (!link) {
    const first = median(all[rows.findIndex(({ key }) => key === 'http')] ?? [], 'first')
    console.log(`\nfirst byte of the layer: ${first.toFixed(0)} ms (goal: under 50)`)
    for (const [key, name, goal] of [
      ['kubo', 'Kubo ← Kubo', 2],
      ['helia', "Helia's bitswap", 4]
    ] as const) {
      if (rateOf(key) > 0)
        console.log(`against ${name}: ${(best / rateOf(key)).toFixed(1)} times (goal: ${goal})`)
    }
  }
  return { title, bars }
}

// interrupted, it leaves no namespace and no process behind
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    const stopped = running.toReversed().map((each) => each.stop())
    void Promise.allSettled(stopped).then(() => process.exit(1))
  })
}
const dns = await startDnsServer()
running.push(dns)
const data = join(temp.path, 'publisher')
const copy = join(temp.path, 'copy')
let root = ''
let cid = ''
try {
  const first = await startSeaway({
    data,
    env: { SEAWAY_DNS_SERVERS: dns.address, SEAWAY_LOG_LEVEL: 'error' }
  })
  root = await publish(first)
  await first.stop()
  cid = await cidOf(data)
  cpSync(data, copy, { recursive: true })
  const groups: Group[] = []
  if (ONLY.includes('loopback')) {
    groups.push(await compare('On loopback', await rowsOf(undefined), false))
    for (const each of running.splice(1).toReversed()) await each.stop()
  }
  if (ONLY.includes('link')) {
    const link = startLink()
    running.push(link)
    const title = `Over a link of ${RATE / 1e6} MB/s and ${ROUND_TRIP} ms round trip`
    groups.push(await compare(title, await rowsOf(link), true))
  }
  if (SVG !== '') {
    mkdirSync(dirname(SVG), { recursive: true })
    const day = new Date().toISOString().slice(0, 10)
    const text = `A layer of ${SIZE / MiB} MiB through a gateway with an empty store; medians of ${ROUNDS}, ${day}, npm run bench:transfer`
    writeFileSync(SVG, chart(groups, text))
  }
} finally {
  for (const each of running.toReversed()) await each.stop()
  await temp.remove()
}
