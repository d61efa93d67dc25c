import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const GARBAGE = new URL('../../src/store/garbage.ts', import.meta.url)

/** Less than what makes V8 collect by itself. */
const LITTER = 24

/** What `program` prints, in a process of its own: among other tests, V8 collects whenever those made enough. */
async function printed(program: string): Promise<unknown> {
  const prelude = `
    const { garbage } = await import('${GARBAGE}')
    const MiB = 1024 * 1024
    garbage(8 * MiB)
  `
  const args = ['--input-type=module', '--eval', prelude + program]
  return JSON.parse((await promisify(execFile)(process.execPath, args, { timeout: 30_000 })).stdout)
}

describe('store: garbage', () => {
  it('gives back what short-lived buffers hold, each 8 MiB', async () => {
    const [early, late, asked] = (await printed(`
      const { PerformanceObserver, constants } = await import('node:perf_hooks')
      const wait = (ms) => new Promise((done) => setTimeout(done, ms))
      const held = () => process.memoryUsage().arrayBuffers / MiB
      const before = held()
      for (let i = 0; i < ${LITTER}; i++) Buffer.allocUnsafeSlow(MiB)
      garbage(MiB)
      const early = held() - before
      // V8 collects by itself a second after it had nothing to do, which is not what is asked here
      let asked = 0
      new PerformanceObserver((list) => {
        asked += list.getEntries().filter(({ detail }) => detail.flags === constants.NODE_PERFORMANCE_GC_FLAGS_FORCED).length
      }).observe({ entryTypes: ['gc'] })
      garbage(7 * MiB)
      // they are swept on another thread
      for (const end = Date.now() + 5000; (asked === 0 || held() - before > 4) && Date.now() < end; ) await wait(10)
      console.log(JSON.stringify([early, held() - before, asked]))
      process.exit()`)) as [number, number, number]
    assert.ok(early > LITTER - 4, `only ${early} MiB are held before there is enough`)
    assert.equal(asked, 1, 'it was not asked for')
    assert.ok(late <= 4, `${late} MiB are still held`)
  })

  it('leaves no gc behind for others', async () => {
    assert.equal(await printed(`console.log(JSON.stringify(typeof globalThis.gc))`), 'undefined')
  })
})
