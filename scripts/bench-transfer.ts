/**
 * `npm run bench:transfer [-- --mb=512 --rounds=5 --only=loopback,link --rows=http,stream,bitswap,kubo,helia
 * --svg=docs/transfer.svg --prof=DIR]`: a cold pull through a gateway, by each way that a peer can be reached,
 * against the same bytes over plain HTTP that nobody checks, between two Kubo nodes, and with Helia's own
 * packages; on loopback, then over a link of 100 MB/s and 50 ms round trip. Rows are measured in turn, so that a
 * machine that is busy for a while slows them all; the medians are compared. Writes a chart. Some five minutes.
 *
 * client ← gateway with an empty store ← peer: three processes. The manifest is fetched first, as clients do,
 * and a layer of 4 MiB: it is the layer that is cold, not the process.
 * The unverified row is client ← proxy ← file server. The client compares every byte. The rows that have no goal
 * of their own take long: they are measured in every other round. Over the link there are half as many rounds, and
 * those rows are measured in one.
 * Memory is the most that was resident during the layer; CPU is what it took both sides.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { startDnsServer } from '../test/support/dns-server.ts'
import { startSeaway } from '../test/support/seaway-process.ts'
import { tempFolder } from '../test/support/temp.ts'
import { type Bar, chart, type Group } from './bench-transfer-chart.ts'
import { cidOf, makeLayer, publish } from './bench-transfer-image.ts'
import { RATE, ROUND_TRIP, startLink } from './bench-transfer-link.ts'
import { type Bench, type Figures, type Row, rowsOf } from './bench-transfer-rows.ts'

const MiB = 1024 * 1024
const option = (name: string, otherwise: string) =>
  process.argv.find((each) => each.startsWith(`--${name}=`))?.slice(name.length + 3) ?? otherwise
const SIZE = Number(option('mb', '512')) * MiB
const ROUNDS = Number(option('rounds', '5'))
const ONLY = option('only', 'loopback,link').split(',')
const ROWS = option('rows', 'http,stream,bitswap,kubo,helia').split(',')
const SVG = option('svg', join(import.meta.dirname, '../docs/transfer.svg'))

/** What part of the rate of plain HTTP a row should reach on loopback, and of the link. */
const GOALS: Readonly<Record<string, number>> = { http: 0.85, stream: 0.5 }
const LINK_GOAL = 0.9

/** How many times as fast as these our fastest way should be. */
const RIVALS = [
  ['kubo', 'Kubo ← Kubo', 2],
  ['helia', "Helia's bitswap", 4]
] as const

const git = (...args: string[]) =>
  execFileSync('git', args, { cwd: join(import.meta.dirname, '..'), encoding: 'utf8' }).trim()

/** When, where and what: so that nobody has to write it beside the figures. */
function circumstances(): string {
  const [processor] = cpus()
  const changed = git('status', '--porcelain', '--', 'src') === '' ? '' : ' with changes'
  const machine = `${cpus().length} × ${processor?.model.trim()}, ${(totalmem() / 1e9).toFixed(0)} GB`
  const day = new Date().toISOString().slice(0, 10)
  return `${day}, ${machine}, Node ${process.versions.node}, commit ${git('rev-parse', '--short=10', 'HEAD')}${changed}`
}

const median = (all: readonly Figures[], key: keyof Figures) =>
  all.map((each) => each[key]).toSorted((a, b) => a - b)[all.length >> 1] ?? 0

/** Whether a row is measured in a round of so many: the one in the middle always is. */
function takesPart({ ours }: Row, round: number, rounds: number, link: boolean): boolean {
  const middle = rounds >> 1
  return ours || round === middle || (!link && (round - middle) % 2 === 0)
}

/** Measures rows in turn, prints them, and gives their bars. */
async function compare(title: string, rows: readonly Row[], link: boolean): Promise<Group> {
  const all = rows.map((): Figures[] => [])
  // the link, not the machine, sets the time there: its rates vary little
  const rounds = link ? (ROUNDS + 1) >> 1 : ROUNDS
  for (let round = 0; round < rounds; round++) {
    for (const [i, row] of rows.entries()) {
      if (!takesPart(row, round, rounds, link)) continue
      const figures = await row.pull()
      all[i]?.push(figures)
      process.stderr.write(`round ${round + 1}: ${row.name}, ${figures.rate.toFixed(0)} MB/s\n`)
    }
  }
  const of = (key: string, figure: keyof Figures) =>
    median(all[rows.findIndex((row) => row.key === key)] ?? [], figure)
  const limit = link ? RATE / 1e6 : of('plain', 'rate')
  console.log(`\n${title}, ${SIZE / MiB} MiB, medians of so many (n), alternating\n`)
  const ratios = link ? 'of link' : '  ratio'
  console.log(
    `${''.padEnd(28)} n   MB/s ${ratios}  goal  first byte  manifest  both ms  MB here  there  CPU s here  there`
  )
  const bars: Bar[] = []
  for (const [i, { key, name }] of rows.entries()) {
    const samples = all[i] ?? []
    const get = (figure: keyof Figures) => median(samples, figure)
    const goal = GOALS[key] && (link ? LINK_GOAL : GOALS[key])
    const ratio = get('rate') / limit
    const cells: [string, number][] = [
      [String(samples.length), 2],
      [get('rate').toFixed(0), 7],
      [ratio.toFixed(2), 8],
      [goal?.toFixed(2) ?? '', 6],
      [get('first').toFixed(0), 12],
      [get('manifest').toFixed(0), 10],
      [get('whole').toFixed(0), 9],
      [get('here').toFixed(0), 9],
      [get('there').toFixed(0), 7],
      [get('cpuHere').toFixed(2), 12],
      [get('cpuThere').toFixed(2), 7]
    ]
    const short = goal !== undefined && ratio < goal ? '  <- short of its goal' : ''
    console.log(name.padEnd(28) + cells.map(([text, width]) => text.padStart(width)).join('') + short)
    const goalRate = goal && goal * limit
    bars.push({
      name,
      rate: get('rate'),
      memory: get('here'),
      goal: goalRate,
      ours: name.startsWith('Seaway')
    })
  }
  if (!link) conclude(of)
  return { title, bars }
}

/** The goals that aren't a row's own. */
function conclude(of: (key: string, figure: keyof Figures) => number): void {
  console.log(`\nfirst byte of the layer: ${of('http', 'first').toFixed(0)} ms (goal: under 50)`)
  for (const [key, name, goal] of RIVALS) {
    const rate = of(key, 'rate')
    if (rate > 0)
      console.log(`against ${name}: ${(of('http', 'rate') / rate).toFixed(1)} times (goal: ${goal})`)
  }
  const most = Math.max(...Object.keys(GOALS).map((key) => of(key, 'here')))
  console.log(`most memory of a gateway that pulls: ${most.toFixed(0)} MB (goal: under 300)`)
}

const temp = tempFolder()
const running: { stop(): Promise<void> }[] = []
let stopping = Promise.resolve()
/** Stops what was started after the first `from`, last first; ends when what was being stopped before is, too. */
function stopAll(from = 0): Promise<void> {
  const ones = running.splice(from).toReversed()
  stopping = stopping.then(async () => {
    for (const each of ones) await each.stop().catch((error: unknown) => console.error(error))
  })
  return stopping
}
// interrupted, it leaves no namespace and no process behind
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => void stopAll().finally(() => process.exit(1)))

const begun = performance.now()
const where = circumstances()
console.log(`${where}; load ${loadavg()[0]?.toFixed(2)} at the beginning`)
const dns = await startDnsServer()
running.push(dns)
try {
  const data = join(temp.path, 'publisher')
  const layer = makeLayer(SIZE)
  const first = await startSeaway({
    data,
    env: { SEAWAY_DNS_SERVERS: dns.address, SEAWAY_LOG_LEVEL: 'error' }
  })
  const base = makeLayer(4 * MiB)
  const root = await publish(first, [base, layer])
  await first.stop()
  const cid = await cidOf(data, layer)
  const copy = join(temp.path, 'copy')
  cpSync(data, copy, { recursive: true })
  const kubo = ROWS.includes('kubo')
  const bench: Bench = {
    base,
    layer,
    cid,
    root,
    data,
    copy,
    kubo,
    temp: temp.path,
    dns,
    profiles: option('prof', ''),
    running
  }
  const wanted = (rows: readonly Row[]) => rows.filter(({ key }) => key === 'plain' || ROWS.includes(key))
  const groups: Group[] = []
  if (ONLY.includes('loopback')) {
    groups.push(await compare('On loopback', wanted(await rowsOf(bench, undefined)), false))
    await stopAll(1)
  }
  if (ONLY.includes('link')) {
    const link = startLink()
    running.push(link)
    const title = `Over a link of ${RATE / 1e6} MB/s and ${ROUND_TRIP} ms round trip`
    groups.push(await compare(title, wanted(await rowsOf(bench, link)), true))
  }
  if (SVG !== '') {
    mkdirSync(dirname(SVG), { recursive: true })
    const what = `A layer of ${SIZE / MiB} MiB through a gateway with an empty store: rate, and the gateway's memory at most; the stroke is the goal`
    writeFileSync(SVG, chart(groups, [what, where]))
  }
  console.log(`\n${where}; ${((performance.now() - begun) / 1000).toFixed(0)} s`)
} finally {
  await stopAll()
  await temp.remove()
}
