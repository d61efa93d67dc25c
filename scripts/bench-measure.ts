/** What the benchmarks have in common that run real clients. */
import { run } from '../test/e2e/support/process.ts'

/** The value of `--name=…` on the command line. */
export const option = (name: string, otherwise: string): string =>
  process.argv.find((each) => each.startsWith(`--${name}=`))?.slice(name.length + 3) ?? otherwise

/** Whether `--name` stands on the command line. */
export const flag = (name: string): boolean => process.argv.includes(`--${name}`)

/** The one in the middle; 0 of none. */
export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0

/** How many seconds some work takes. Dirty pages are written out before, so that nobody waits for those of others. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  await run('sync', [])
  const begun = performance.now()
  await work()
  return (performance.now() - begun) / 1000
}

/** What stands behind a figure that has a goal. */
export const verdict = (ratio: number, goal: number): string =>
  `${ratio.toFixed(2).padStart(8)}${goal.toFixed(2).padStart(7)}${ratio >= goal ? '' : '  <- short of its goal'}`
