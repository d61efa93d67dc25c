/** A few of the pulls with random faults; `npm run test:faults` does a thousand. */
import assert from 'node:assert/strict'
import { runFaults } from '../faults/run.ts'
import { available } from './support/process.ts'

const PULLS = Number(process.env.FAULTS_PULLS ?? 40)
const SEED = Number(process.env.FAULTS_SEED ?? Math.floor(Math.random() * 2 ** 31))

describe(`${PULLS} pulls with random faults (FAULTS_SEED=${SEED})`, function () {
  this.timeout(PULLS * 20_000)

  it('come out right, in time, and at once, for one source is alive each time', async function () {
    const needs = [
      'dockerd',
      'docker',
      'containerd',
      'runc',
      'skopeo',
      'named',
      'dig',
      'nsupdate',
      'tsig-keygen'
    ]
    if (!available(...needs)) this.skip()
    const report = await runFaults({ pulls: PULLS, seed: SEED, print: console.error })
    console.log(`      ${JSON.stringify(report.faults)}, by ${JSON.stringify(report.by)}`)
    console.log(`      median ${Math.round(report.median)} ms, longest ${Math.round(report.longest)} ms`)
    assert.deepEqual([report.corrupt, report.hung, report.failed], [[], [], []])
  })
})
