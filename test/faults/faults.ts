/**
 * Pulls with random faults, as many as one likes:
 *
 *     node test/faults/faults.ts --pulls 1000 --seed 7
 */
import { parseArgs } from 'node:util'
import { runFaults } from './run.ts'

const { values } = parseArgs({
  options: { pulls: { type: 'string', default: '1000' }, seed: { type: 'string' } }
})
const seed = values.seed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(values.seed)
const pulls = Number(values.pulls)
console.log(`${pulls} pulls, seed ${seed}`)
const report = await runFaults({ pulls, seed, print: console.log })
console.log(JSON.stringify(report, undefined, 2))
const bad = report.corrupt.length + report.hung.length + report.failed.length
console.log(
  `${pulls} pulls (of which ${JSON.stringify(report.by)}): ${report.corrupt.length} corrupt, ${report.hung.length} hung, ` +
    `${report.failed.length} failed with a live source; median ${Math.round(report.median)} ms, longest ${Math.round(report.longest)} ms`
)
process.exitCode = bad === 0 ? 0 : 1
