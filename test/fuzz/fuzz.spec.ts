import assert from 'node:assert/strict'
import { describeRun, fuzz } from './fuzz.ts'

describe('fuzz', function () {
  this.timeout(120_000)

  it('of two thousand requests finds nothing', async () => {
    const result = await fuzz({ seed: Date.now() % 1_000_000_007, count: 2000 })
    console.log(`      ${describeRun(result).split('\n').slice(0, 2).join('\n      ')}`)
    assert.equal(result.failures.length, 0, describeRun(result))
  })
})
