/** `kill -9` at random moments: nothing that was answered is lost, and nothing is half there. */
import assert from 'node:assert/strict'
import { crash, describeCrash } from '../crash/crash.ts'

/**
 * CI has 120 rounds, some three minutes on two processors; `npm run test:crash` has 300 of them, or as many as it is told.
 * `CRASH_ROUNDS` sets another number here.
 */
const ROUNDS = Number(process.env.CRASH_ROUNDS ?? (process.env.CI ? 120 : 30))

/** A build that loses what it answered is found long before this. */
const BROKEN_ROUNDS = 60

describe('a gateway that is killed again and again', function () {
  this.timeout(1_500_000)
  const seed = Number(process.env.CRASH_SEED ?? Date.now() % 1_000_000)

  it(`has all that it answered after each of ${ROUNDS} kills (seed ${seed})`, async () => {
    const result = await crash({ rounds: ROUNDS, seed })
    console.log(`      ${describeCrash(result).split('\n').slice(0, 2).join('\n      ')}`)
    assert.deepEqual(result.wrong, [], describeCrash(result))
    assert.ok(result.rounds >= ROUNDS)
    assert.ok((result.stats['PUT 201'] ?? 0) > ROUNDS, 'hardly anything was written')
  })

  it('is found out when it answers before the index is written', async () => {
    const result = await crash({ rounds: BROKEN_ROUNDS, seed, broken: 'early', stopAtFirst: true })
    // gone after a restart, or not there for the request that relies on it
    assert.match(
      result.wrong.join('\n'),
      /gone|is undefined|not there|BLOB_UNKNOWN|mount=.*: 202/,
      describeCrash(result)
    )
  })
})
