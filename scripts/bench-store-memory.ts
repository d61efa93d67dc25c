/** The part of `npm run bench:store` that shows how much memory large blobs and slow clients take. */
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type SeawayGateway, startGateway } from '../test/e2e/support/gateway.ts'
import { run } from '../test/e2e/support/process.ts'
import { randomBytes } from '../test/e2e/support/tar.ts'

const GOAL = 300

/** What the slow client takes a second, in bytes. */
const SLOW = 5_000_000

/** So many clients pull at once. */
const CLIENTS = 64

/** How much each of them takes, in bytes. */
const PART = 100_000_000

async function peakOf(gateway: SeawayGateway, name: string, work: () => Promise<string>): Promise<void> {
  await writeFile(`/proc/${gateway.daemon.pid}/clear_refs`, '5')
  const said = await work()
  const peak = (await gateway.peakMemory()) / 1e6
  console.log(
    `${name.padEnd(44)}${peak.toFixed(0).padStart(6)} MB at most  ${said}${peak < GOAL ? '' : `  <- more than ${GOAL}`}`
  )
}

/** Prints the peaks for a blob of `gb` GB; the slow client is left after `seconds`. */
export async function memory(folder: string, gb: number, seconds: number): Promise<void> {
  const size = gb * 1e9
  const hash = createHash('sha256')
  for (const piece of randomBytes(size, 'large')) hash.update(piece)
  const digest = `sha256:${hash.digest('hex')}`
  const gateway = await startGateway({ dir: join(folder, 'memory') })
  try {
    const blobs = `${gateway.url}/v2/bench/large/blobs`
    const begin = await fetch(`${blobs}/uploads/`, { method: 'POST' })
    const location = new URL(begin.headers.get('location') ?? '', gateway.url)
    location.searchParams.set('digest', digest)
    console.log(`\npeak memory, a blob of ${gb} GB (goal: ${GOAL})\n`)
    await peakOf(gateway, 'pushed', async () => {
      const begun = performance.now()
      const body = Readable.from(randomBytes(size, 'large'))
      const curl = ['-sS', '-f', '-T', '-', '-H', 'Expect:', '-o', '/dev/null', location.href]
      await run('curl', curl, { input: body, timeout: 3_600_000 })
      return `at ${(size / 1e3 / (performance.now() - begun)).toFixed(0)} MB/s`
    })
    await peakOf(gateway, `pulled by a client that takes ${SLOW / 1e6} MB/s`, async () => {
      const slow = [
        '-sS',
        '-o',
        '/dev/null',
        '--limit-rate',
        String(SLOW),
        '-w',
        '%{size_download} bytes, %{time_total} s'
      ]
      const until = Number.isFinite(seconds) ? ['--max-time', String(seconds)] : []
      const { stdout, status } = await run('curl', [...slow, ...until, `${blobs}/${digest}`], {
        timeout: 2 * 3_600_000,
        allowFailure: true
      })
      // 28 is curl's word for having been told to stop.
      if (status !== 0 && status !== 28) throw new Error(`curl ended with ${status}`)
      return `${stdout}${status === 28 ? ' (not to its end: --full does that)' : ''}`
    })
    await peakOf(gateway, `parts of ${PART / 1e6} MB by ${CLIENTS} clients at once`, async () => {
      const begun = performance.now()
      await Promise.all(
        Array.from({ length: CLIENTS }, (_, i) => {
          const from = Math.min(i * PART, size - PART)
          const range = `${from}-${from + PART - 1}`
          return run('curl', ['-sS', '-f', '-o', '/dev/null', '-r', range, `${blobs}/${digest}`], {
            timeout: 600_000
          })
        })
      )
      return `at ${((CLIENTS * PART) / 1e3 / (performance.now() - begun)).toFixed(0)} MB/s`
    })
  } finally {
    await gateway.stop()
  }
}
