/**
 * `npm run bench:auth`: what asking for users tells and costs.
 *
 * 1. Whether the time of a refusal says that a user exists: wrong passwords for one who does and for ones who don't,
 *    in turn, over HTTP. `chance` is how often the second takes longer than the first; half the time is what says nothing.
 *    The same for one password that is sent many times at once, whose checks may be shared.
 * 2. What a request costs with a password, a token or nothing, in turn.
 */
import { parseArgs } from 'node:util'
import { hashSync } from 'bcryptjs'
import { basic, pushAs, startAuthServer } from '../test/support/auth.ts'

const { values } = parseArgs({ options: { guesses: { type: 'string', default: '150' } } })
const GUESSES = Number(values.guesses)
const READS = 1500
/** Guesses that are sent together, and how often that is done. */
const TOGETHER = 12
const BURSTS = 20

const median = (times: readonly number[]): number => times.toSorted((a, b) => a - b)[times.length >> 1] ?? 0

/** How likely it is that one of `b` is longer than one of `a`. */
function chance(a: readonly number[], b: readonly number[]): number {
  let longer = 0
  for (const x of a) for (const y of b) longer += y > x ? 1 : y === x ? 0.5 : 0
  return longer / (a.length * b.length)
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

const auth = await startAuthServer({
  // as `seaway login-user` makes them
  users: { alice: 'secret' },
  rules:
    'rules: [{who: alice, repositories: "**", can: admin}, {who: anonymous, repositories: "**", can: pull}]',
  settings: {
    throttle: {
      wait: () => 0,
      begin: () => () => undefined,
      failed: () => undefined,
      succeeded: () => undefined
    },
    lookEveryMs: 1000
  },
  hash: (password) => hashSync(password, 10)
})
try {
  const known: number[] = []
  const unknown: number[] = []
  const ask = (user: string) => auth.as(basic(user, `guess ${Math.random()}`), 'GET', '/v2/')
  for (let i = 0; i < GUESSES; i++) {
    known.push(await timed(() => ask('alice')))
    unknown.push(await timed(() => ask(`user${i}`)))
  }
  const told = chance(known, unknown)
  console.log(`wrong password of a user who is there     ${median(known).toFixed(1)} ms`)
  console.log(`wrong password of one who is not          ${median(unknown).toFixed(1)} ms`)
  console.log(`chance that the second takes longer       ${told.toFixed(3)}   (0.5 tells nothing)`)
  if (Math.abs(told - 0.5) > 0.1) process.exitCode = 1

  const burst = (user: string) => {
    const shown = basic(user, `guess ${Math.random()}`)
    return Promise.all(Array.from({ length: TOGETHER }, () => auth.as(shown, 'GET', '/v2/')))
  }
  const bursts: [number[], number[]] = [[], []]
  for (let i = 0; i < BURSTS; i++) {
    bursts[0].push(await timed(() => burst('alice')))
    bursts[1].push(await timed(() => burst(`another${i}`)))
  }
  const inBursts = chance(...bursts)
  console.log(`${TOGETHER} at once of one who is there               ${median(bursts[0]).toFixed(1)} ms`)
  console.log(`${TOGETHER} at once of one who is not                 ${median(bursts[1]).toFixed(1)} ms`)
  console.log(`chance that the second takes longer       ${inBursts.toFixed(3)}   (0.5 tells nothing)`)
  if (Math.abs(inBursts - 0.5) > 0.25) process.exitCode = 1

  const alice = basic('alice', 'secret')
  await pushAs(auth, alice, 'app', '1')
  const shown = {
    nothing: undefined,
    'a password': alice,
    'a token': await auth.bearer(['repository:app:pull'], alice)
  }
  const times: Record<string, number[]> = {}
  for (let i = 0; i < READS; i++) {
    for (const [what, authorization] of Object.entries(shown))
      (times[what] ??= []).push(await timed(() => auth.as(authorization, 'GET', '/v2/app/manifests/1')))
  }
  for (const [what, all] of Object.entries(times))
    console.log(`GET of a manifest, showing ${what.padEnd(14)} ${median(all).toFixed(2)} ms`)
} finally {
  await auth.stop()
}
