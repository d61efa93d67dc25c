/** One round of a crash test: clients write to a gateway until it is killed. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Random, randomOf } from '../fuzz/random.ts'
import { runClient } from './client.ts'
import { collect } from './collection.ts'
import type { CrashGateway } from './gateway.ts'
import type { Books } from './sender.ts'

/** The longest that clients write before the kill, in milliseconds. */
const LONGEST = 400

/** A grace in which every push is done, in milliseconds. */
const GRACE = 20_000

/** Does something with a gateway, and kills it then; where that fails, the gateway's last words come along. */
export async function living(gateway: CrashGateway, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    const state = gateway.ended() ? 'had ended' : 'runs'
    const text = `${(error as Error).message}; the gateway ${state}; it said ${gateway.said().slice(-1000)}`
    throw new Error(text, { cause: error })
  } finally {
    await gateway.kill()
  }
}

/**
 * Clients write until the gateway is killed: at a random moment, or right after some answer. Returns how many
 * collections were ended meanwhile.
 */
export async function writeAndKill(
  gateway: CrashGateway,
  books: Books,
  random: Random,
  clients: number
): Promise<number> {
  let going = true
  books.collecting = false
  let answers = 1 + random.below(120)
  const enough = Promise.withResolvers<void>()
  books.onAnswer = () => {
    if (--answers === 0) enough.resolve()
  }
  const time = sleep(10 + random.below(LONGEST))
  const running = Array.from({ length: clients }, (_, who) =>
    runClient(gateway.port, who, randomOf(random.below(2 ** 30), who), books, () => going)
  )
  const collecting = random.oneIn(2) ? collectWhile(gateway, books, random, () => going) : 0
  await Promise.race([random.oneIn(2) ? enough.promise : time, Promise.all(running), sleep(2 * LONGEST)])
  if (gateway.ended()) books.wrong.push(`the gateway ended by itself; it said ${gateway.said().slice(-1000)}`)
  going = false
  await gateway.kill()
  await Promise.all(running)
  const collections = await collecting
  if (/unhandled|promise failed/i.test(gateway.said())) books.wrong.push(gateway.said().slice(-1000))
  return collections
}

/** Collects again and again; returns how often that came to its end. */
async function collectWhile(
  gateway: CrashGateway,
  books: Books,
  random: Random,
  going: () => boolean
): Promise<number> {
  // Without a grace also what was pushed a moment ago goes, and its manifest is refused; with one it must not be.
  const graceMs = random.pick([0, GRACE])
  books.collecting = graceMs === 0
  await sleep(random.below(LONGEST / 2))
  let count = 0
  while (going()) {
    const done = await collect(gateway.data, books.model, graceMs).catch((error: Error) => error)
    if (!(done instanceof Error)) count++
    else if (going()) books.wrong.push(`the collection failed: ${done.message}`)
  }
  return count
}
