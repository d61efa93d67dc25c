/**
 * `node test/crash/crash.ts --rounds 300 --seed 1 [--lanes 2] [--clients 4] [--broken early]`: kills the gateway, with
 * `kill -9`, at random moments while several clients push, tag, delete and collect, and looks after each restart
 * whether all that was answered is there.
 *
 * A lane is a data folder with its gateways, one after another; two lanes keep two processors busy. The same seed
 * makes the same content and the same requests, but the moments are the machine's.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { killGroup, tempDir } from '../e2e/support/process.ts'
import { type Random, randomOf } from '../fuzz/random.ts'
import { startDnsServer } from '../support/dns-server.ts'
import { checkLeft, checkModel } from './check.ts'
import { collectAll } from './collection.ts'
import { type CrashGateway, startCrashGateway } from './gateway.ts'
import { createModel } from './model.ts'
import { living, writeAndKill } from './round.ts'
import type { Books } from './sender.ts'
import { copyToWalk, type Proven, walkTrees } from './walk.ts'

/** What {@link crash} is to do. */
export interface CrashOptions {
  readonly rounds: number
  readonly seed: number
  readonly lanes?: number
  readonly clients?: number
  /** What is taken out of the gateway; see broken.ts. */
  readonly broken?: string
  /** Ends at the first thing that is wrong. */
  readonly stopAtFirst?: boolean
  readonly log?: (line: string) => void
}

/** What came of it. */
export interface CrashResult {
  /** Rounds that ended in a kill while clients were writing. */
  readonly rounds: number
  /** Kills before the gateway listened, besides. */
  readonly killedAtStart: number
  readonly collections: number
  /** Answers by method and status. */
  readonly stats: Readonly<Record<string, number>>
  /** What was lost, or wrong; each with its round and seed. */
  readonly wrong: readonly string[]
}

/** After how many rounds a lane begins with an empty data folder again. */
const FOLDER_ROUNDS = 25

/** How the names of data folders end whose gateways keep published roots. */
const KEEPS = '-keeps'
const keepsRoots = (data: string) => data.endsWith(KEEPS)

const BROKEN = join(import.meta.dirname, 'broken.ts')

export async function crash(options: CrashOptions): Promise<CrashResult> {
  const { rounds, seed, lanes = 2, clients = 4, broken, log = () => {} } = options
  const temp = tempDir('crash')
  const total = { rounds: 0, killedAtStart: 0, collections: 0 }
  const stats: Record<string, number> = {}
  const wrong: string[] = []
  let next = 0
  const over = () => options.stopAtFirst === true && wrong.length > 0
  // Says of every domain that it publishes nothing.
  const dns = await startDnsServer()

  async function start(data: string): Promise<CrashGateway> {
    const gateway = await startCrashGateway({ data, ...settings(data) })
    if (gateway === undefined) throw new Error('the gateway was killed by somebody else')
    return gateway
  }

  const settings = (data: string) => ({
    // Few published roots are kept, or none, so that a collection finds much to do.
    env: {
      SEAWAY_DNS_SERVERS: dns.address,
      SEAWAY_KEEP_ROOTS: keepsRoots(data) ? '2' : '0',
      ...(broken === undefined ? {} : { BROKEN: broken })
    },
    ...(broken === undefined ? {} : { load: BROKEN })
  })

  /** A kill while it starts; says whether it came in time. */
  async function killAtStart(data: string, random: Random): Promise<number> {
    const when = 100 + random.below(700)
    const gateway = await startCrashGateway({
      data,
      ...settings(data),
      spawned: (group) => void setTimeout(() => killGroup(group, 'SIGKILL'), when)
    })
    await gateway?.kill()
    return gateway === undefined ? 1 : 0
  }

  async function lane(number: number): Promise<void> {
    for (let folder = 0; next < rounds && !over(); folder++) {
      const data = join(temp.path, `lane${number}-${folder}${(number + folder) % 2 === 0 ? KEEPS : ''}`)
      const salt = `${seed} ${number} ${folder}`
      await oneFolder(data, randomOf(seed, 1000 * (number + 1) + folder), salt).catch((error: Error) => {
        // It does not start any more, or what it left cannot be read.
        wrong.push(`[${salt}] ${error.message}`)
      })
      if (wrong.length === 0) await rm(data, { recursive: true, force: true })
    }
  }

  /** Rounds over one data folder, the last of which ends without a kill and after a collection. */
  async function oneFolder(data: string, random: Random, salt: string): Promise<void> {
    const books: Books = {
      model: createModel(),
      salt,
      round: 0,
      wrong: [],
      left: [],
      stats,
      collecting: false,
      onAnswer: () => {}
    }
    const proven: Proven = new Map()
    const report = (what: readonly string[]) =>
      wrong.push(...what.map((each) => `[${salt}, round ${books.round}] ${each}`))
    for (let i = 0; i < FOLDER_ROUNDS && next < rounds && !over(); i++) {
      const round = next++
      books.round = i
      const left = books.left.splice(0)
      if (i > 0 && random.oneIn(4)) total.killedAtStart += await killAtStart(data, random)
      // The trees are walked in a copy, as the kill left them, while the next gateway starts.
      const walk = i > 0 ? await copyToWalk(data) : undefined
      const walking = walk?.(proven).then(
        (after) => after.wrong,
        (error: Error) => [`its trees cannot be walked: ${error.message}`]
      )
      const gateway = await start(data)
      report((await walking) ?? [])
      await living(gateway, async () => {
        report(await checkModel(gateway.port, books.model))
        report(await checkLeft(gateway.port, books.model, left))
        if (!over()) total.collections += await writeAndKill(gateway, books, random, clients)
      })
      report(books.wrong.splice(0))
      total.rounds++
      if ((round + 1) % 20 === 0) log(`${round + 1} rounds, ${wrong.length} wrong`)
    }
    if (over()) return
    await lastLook(data, books, report)
  }

  /** No orphan outlives a collection when nobody writes. */
  async function lastLook(
    data: string,
    books: Books,
    report: (what: readonly string[]) => void
  ): Promise<void> {
    const gateway = await start(data)
    report(await checkModel(gateway.port, books.model))
    const { count, last: collected } = await collectAll(data, books.model)
    total.collections += count
    report(await checkModel(gateway.port, books.model))
    await gateway.stop()
    const after = await walkTrees(data, new Map())
    report(after.wrong)
    // A published root that is kept no longer leaves what it held to the next collection.
    if (keepsRoots(data)) return
    const said = JSON.stringify({ freed: collected.freed, waiting: collected.waiting })
    report(after.orphans.map((each) => `${each} is an orphan that outlived gc, which said ${said}`))
  }

  try {
    await Promise.all(Array.from({ length: lanes }, (_, number) => lane(number)))
    return { ...total, stats, wrong }
  } finally {
    await dns.stop()
    await temp.remove()
  }
}

/** What came of it, in a few lines. */
export function describeCrash(result: CrashResult): string {
  const { rounds, killedAtStart, collections, stats, wrong } = result
  const answers = Object.entries(stats).sort(([a], [b]) => (a < b ? -1 : 1))
  return [
    `${rounds} kills while clients wrote, ${killedAtStart} while it started, ${collections} collections, ${wrong.length} wrong`,
    answers.map(([what, count]) => `${what}: ${count}`).join(', '),
    ...wrong.slice(0, 20)
  ].join('\n')
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '300' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      lanes: { type: 'string', default: '2' },
      clients: { type: 'string', default: '4' },
      broken: { type: 'string' }
    }
  })
  const { broken } = values
  console.log(`seed ${values.seed}`)
  const begun = performance.now()
  const result = await crash({
    rounds: Number(values.rounds),
    seed: Number(values.seed),
    lanes: Number(values.lanes),
    clients: Number(values.clients),
    ...(broken === undefined ? {} : { broken, stopAtFirst: true }),
    log: console.log
  })
  console.log(describeCrash(result))
  console.log(`${((performance.now() - begun) / 1000).toFixed(0)} s`)
  process.exitCode = result.wrong.length > 0 ? 1 : 0
}
