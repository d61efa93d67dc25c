/**
 * `node test/crash/power-loss.ts [--seed 1] [--points 100] [--broken no-sync]`: runs the gateway under strace while
 * clients write, shows for each answer that what it promised was on the disk before, and rebuilds the data folder as a
 * loss of power would have left it at random points of the trace. The gateway must start on each and hold all that it
 * had answered by then.
 *
 * What a loss of power leaves is what was synced, and of the rest nothing, something, or all.
 */
import { createReadStream } from 'node:fs'
import { mkdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { tempDir } from '../e2e/support/process.ts'
import { randomOf } from '../fuzz/random.ts'
import { startDnsServer } from '../support/dns-server.ts'
import { checkModel } from './check.ts'
import { REPOSITORIES, runClient } from './client.ts'
import { pieceOf } from './content.ts'
import type { Disk, Kept } from './disk.ts'
import { startCrashGateway } from './gateway.ts'
import { createModel, type Model } from './model.ts'
import { type Proof, proveTrace } from './proof.ts'
import { type Books, createSender, type Historic } from './sender.ts'
import { straceOf } from './trace.ts'
import { walkTrees } from './walk.ts'

/** What {@link powerLoss} is to do. */
export interface PowerLossOptions {
  readonly seed: number
  /** At how many places of the trace the power fails. */
  readonly points: number
  /** What is taken out of the gateway; see broken.ts. */
  readonly broken?: string
  /** What is kept of what was not synced, in turn. */
  readonly kept?: readonly Kept[]
  readonly log?: (line: string) => void
}

/** What came of it. */
export interface PowerLossResult extends Proof {
  /** Folders that were rebuilt and started on. */
  readonly rebuilt: number
  /** What was lost in them, or wrong. */
  readonly lost: readonly string[]
  readonly traceBytes: number
}

/** Answers to requests that the run has at least. */
const ANSWERS = 700

/** So many blobs in the index make it begin another log: its write buffer is 16 MiB. */
const BULK = { count: 190, size: 100 * 1024 }

/** Folders that are checked at once. */
const LANES = 2

export async function powerLoss(options: PowerLossOptions): Promise<PowerLossResult> {
  const {
    seed,
    points,
    broken,
    kept = ['nothing', 'some', 'nothing', 'everything'],
    log = () => {}
  } = options
  const temp = tempDir('power')
  const dns = await startDnsServer()
  const random = randomOf(seed, 0)
  try {
    const data = join(temp.path, 'data')
    const trace = join(temp.path, 'trace')
    const { history, salt } = await tracedRun(data, trace, seed, dns.address, broken)
    const { size } = await stat(trace)
    log(`${history.length} writes were sent; the trace has ${(size / 1e6).toFixed(0)} MB`)

    const length = await countLines(trace)
    const lost: string[] = []
    const lanes = new Set<Promise<void>>()
    let places: number[] | undefined
    let rebuilt = 0

    async function failHere(at: number, disk: Disk, answered: ReadonlySet<Historic>): Promise<void> {
      const what = kept[rebuilt % kept.length] as Kept
      const folder = join(temp.path, `rebuilt-${rebuilt++}`)
      disk.rebuild(folder, what, random)
      const lane = checkFolder(folder, modelOf(history, answered), dns.address)
        .catch((error: Error) => [error.message])
        .then((problems) => {
          const where = `[${salt}, power fails at ${at}, ${what} of the rest kept]`
          lost.push(...problems.map((each) => `${where} ${each}`))
          lanes.delete(lane)
          if (rebuilt % 20 === 0) log(`${rebuilt} folders, ${lost.length} problems`)
        })
      lanes.add(lane)
      if (lanes.size >= LANES) await Promise.race(lanes)
    }

    let last: Parameters<typeof failHere> | undefined
    const proof = await proveTrace(trace, data, history, async (at, disk, answered) => {
      if (answered.size === 0) return
      last = [at, disk, answered]
      places ??= Array.from({ length: points }, () => at + random.below(length - at)).sort((a, b) => a - b)
      for (; places.length > 0 && (places[0] as number) <= at; places.shift()) await failHere(...last)
    })
    // the trace may end in lines that begin nothing any more
    for (; last !== undefined && places !== undefined && places.length > 0; places.shift())
      await failHere(...last)
    await Promise.all(lanes)
    return { ...proof, rebuilt, lost, traceBytes: size }
  } finally {
    await dns.stop()
    await temp.remove()
  }
}

async function countLines(path: string): Promise<number> {
  let count = 0
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>)
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) count++
  return count
}

/** Clients write to a gateway that runs under strace, from an empty folder to a regular end. */
async function tracedRun(
  data: string,
  trace: string,
  seed: number,
  dns: string,
  broken: string | undefined
): Promise<{ history: readonly Historic[]; salt: string }> {
  const salt = `power ${seed}`
  const history: Historic[] = []
  let answers = 0
  const books: Books = {
    model: createModel(),
    salt,
    round: 0,
    wrong: [],
    left: [],
    stats: {},
    collecting: false,
    onAnswer: () => void answers++,
    history
  }
  await mkdir(data)
  const breaking = broken === undefined ? {} : { load: join(import.meta.dirname, 'broken.ts') }
  const gateway = await startCrashGateway({
    data,
    under: straceOf(trace),
    // What goes through a ring would not be in the trace.
    env: { SEAWAY_DNS_SERVERS: dns, UV_USE_IO_URING: '0', BROKEN: broken },
    ...breaking
  })
  if (gateway === undefined) throw new Error('the gateway was killed by somebody else')
  let filled = false
  const clients = [0, 1, 2].map((who) =>
    runClient(gateway.port, who, randomOf(seed, 1 + who), books, () => !filled || answers < ANSWERS)
  )
  await fillIndex(gateway.port, books)
  filled = true
  await Promise.all(clients)
  await gateway.stop()
  if (books.wrong.length > 0) throw new Error(books.wrong.slice(0, 5).join('\n'))
  return { history, salt }
}

/** Pushes so much into the index that it begins another log while the other clients write. */
async function fillIndex(port: number, books: Books): Promise<void> {
  const { write, close } = createSender(port, books)
  for (let i = 0; i < BULK.count; i++) {
    const repository = REPOSITORIES[i % REPOSITORIES.length] as string
    const { bytes, digest } = pieceOf(BULK.size, `${books.salt} bulk ${i}`)
    const there = [{ kind: 'blob', repository, name: digest, digest } as const]
    const path = `/v2/${repository}/blobs/uploads/?digest=${digest}`
    await write(there, 'POST', path, [201], { body: bytes })
  }
  close()
}

/** What may be read when nothing after `answered` is known to have happened. */
function modelOf(history: readonly Historic[], answered: ReadonlySet<Historic>): Model {
  const model = createModel()
  const sent = history.filter(({ refused }) => refused === undefined)
  for (const writes of Map.groupBy(sent, (each) => `${each.repository} ${each.name}`).values()) {
    const last = writes.findLastIndex((each) => answered.has(each))
    // One that was sent later may have happened as well: a client sends one at a time.
    for (const [i, { kind, repository, name, digest, made }] of writes
      .slice(Math.max(0, last), last + 2)
      .entries()) {
      const begin = last >= 0 && i === 0 ? 'settle' : 'maybe'
      if (kind === 'tag') model.tag(repository, name)[begin](digest)
      else if (made !== undefined) model.manifest(repository, made)[begin](digest !== undefined)
      else model.loose(repository, name)[begin](digest !== undefined)
    }
  }
  return model
}

/** Starts the real gateway on a rebuilt folder and reads all back; then walks its trees. */
async function checkFolder(folder: string, model: Model, dns: string): Promise<string[]> {
  try {
    const gateway = await startCrashGateway({ data: folder, env: { SEAWAY_DNS_SERVERS: dns } })
    if (gateway === undefined) throw new Error('the gateway was killed by somebody else')
    const wrong = await checkModel(gateway.port, model)
    await gateway.kill()
    return [...wrong, ...(await walkTrees(folder, new Map())).wrong]
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** What came of it, in a few lines. */
export function describePowerLoss(result: PowerLossResult): string {
  const { proven, files, logs, rebuilt, wrong, lost, traceBytes } = result
  return [
    `${proven} answered writes (${files} of blobs with a file) in ${(traceBytes / 1e6).toFixed(0)} MB of trace and ` +
      `${logs} logs of the index: ${wrong.length} were answered too early`,
    `${rebuilt} folders rebuilt, started and read: ${lost.length} problems`,
    ...wrong.slice(0, 10),
    ...lost.slice(0, 10)
  ].join('\n')
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      points: { type: 'string', default: '100' },
      broken: { type: 'string' }
    }
  })
  const { broken } = values
  console.log(`seed ${values.seed}`)
  const begun = performance.now()
  const result = await powerLoss({
    seed: Number(values.seed),
    points: Number(values.points),
    ...(broken === undefined ? {} : { broken }),
    log: console.log
  })
  console.log(describePowerLoss(result))
  console.log(`${((performance.now() - begun) / 1000).toFixed(0)} s`)
  process.exitCode = result.wrong.length + result.lost.length > 0 ? 1 : 0
}
