/** Loss of the page cache, as strace shows it: what was answered had been synced, and starts again from that alone. */
import assert from 'node:assert/strict'
import { describePowerLoss, powerLoss } from '../crash/power-loss.ts'
import { available } from './support/process.ts'

/** CI has 50 starts; `npm run test:power-loss` makes a hundred, some two minutes on two processors. */
const POINTS = Number(process.env.POWER_LOSS_POINTS ?? (process.env.CI ? 50 : 12))

describe('a gateway whose machine loses power', function () {
  this.timeout(900_000)
  const seed = Number(process.env.CRASH_SEED ?? Date.now() % 1_000_000)

  before(function () {
    if (!available('strace')) this.skip()
  })

  it(`had synced all that it answered, and has it at ${POINTS} moments (seed ${seed})`, async () => {
    const result = await powerLoss({ seed, points: POINTS })
    console.log(`      ${describePowerLoss(result).split('\n').slice(0, 2).join('\n      ')}`)
    assert.deepEqual([...result.wrong, ...result.lost], [], describePowerLoss(result))
    assert.equal(result.rebuilt, POINTS)
    assert.ok(result.proven > 300, 'hardly anything was written')
    assert.ok(result.files > 20, 'hardly any blob had a file')
    assert.ok(result.logs > 1, 'the index began no other log')
  })

  for (const [broken, what] of [
    ['no-sync', 'anything'],
    ['no-data', 'files'],
    ['no-folder', 'folders'],
    ['no-index', 'the index']
  ] as const) {
    it(`is found out when it does not sync ${what}`, async () => {
      const result = await powerLoss({ seed, points: 3, broken, kept: ['nothing'] })
      assert.notEqual(result.wrong.length, 0, 'the trace shows nothing')
      assert.notEqual(result.lost.length, 0, 'the rebuilt folders lack nothing')
    })
  }
})
