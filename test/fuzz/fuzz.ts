/**
 * `npm run test:fuzz`: thousands of requests that are wrong in every way that could be thought of, against
 * a real gateway. It must answer each one without a 5xx, without a hang, and hold no more files or memory
 * afterwards than before.
 *
 * `node test/fuzz/fuzz.ts [--seed N] [--count N] [--only INDEX]`; the same seed makes the same requests.
 */
import { readdir, readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { ERRORS } from '../../src/oci/errors.ts'
import { startGateway } from '../e2e/support/gateway.ts'
import { tempDir } from '../e2e/support/process.ts'
import { startDnsServer } from '../support/dns-server.ts'
import { ociClient } from '../support/oci-client.ts'
import { INSPECTABLE, inspectGateway } from './live.ts'
import { randomOf } from './random.ts'
import { type Memory, requestOf } from './requests.ts'

/** What a run found. */
export interface FuzzResult {
  seed: number
  count: number
  /** How many answers there were of each status; 0 for connections closed without one. */
  statuses: Record<string, number>
  /** What went wrong, with the request and how to make it again. */
  failures: string[]
  /** Open files of the gateway, after the warm-up and at the end. */
  files: [before: number, after: number]
  /** Bytes that it keeps alive, and bytes that are resident, the same two times and at each {@link SAMPLE} between. */
  live: number[]
  resident: number[]
}

const CONNECTIONS = 4
const HANG_MS = 10_000
/** After how many requests memory is looked at. */
const SAMPLE = 5000
/**
 * How much more may be alive at the end than after the warm-up, in bytes. What the caches take grows for a while, some
 * hundred bytes a request (measured: 3 MiB in 20,000 requests, 13 MiB in 120,000); a leak of a kilobyte a request trips this in 20,000.
 */
const LIVE_SLACK = 16 * 1024 * 1024
/** How much more may be resident after a collection: what is outside of V8, the database's caches most of all. */
const RESIDENT_SLACK = 64 * 1024 * 1024
const FILES_SLACK = 12

/** Runs `count` requests of `seed`, or `only` the one. */
export async function fuzz(options: { seed: number; count: number; only?: number }): Promise<FuzzResult> {
  const { seed, count, only } = options
  const temp = tempDir('fuzz')
  const dns = await startDnsServer()
  const gateway = await startGateway({
    dir: temp.path,
    dns: dns.address,
    env: { ...INSPECTABLE, SEAWAY_IDLE_TIMEOUT: '2s', SEAWAY_PULL_TIMEOUT: '5s' }
  })
  const port = Number(new URL(gateway.url).port)
  const inspector = await inspectGateway(gateway)
  const result: FuzzResult = {
    seed,
    count,
    statuses: {},
    failures: [],
    files: [0, 0],
    live: [],
    resident: []
  }
  try {
    const client = ociClient({ port })
    for (const name of ['app', 'example.com/app']) await client.image(name, '1')
    const root = await gateway.root('local')
    const warm = Math.ceil(count / 5)
    let next = only ?? 0
    const end = only === undefined ? count : only + 1
    const worker = async (until: number): Promise<void> => {
      const memory: Memory = { location: await client.begin('app'), root }
      while (next < until && result.failures.length < 20) {
        const index = next++
        const bytes = requestOf(randomOf(seed, index), memory)
        const fail = (what: string) => {
          const shown = JSON.stringify(bytes.toString('latin1').slice(0, 600))
          result.failures.push(
            `${what}: ${shown}\n  again: node test/fuzz/fuzz.ts --seed ${seed} --only ${index}`
          )
        }
        const text = await exchange(port, bytes)
        const { status, location, wrong } = judge(text, bytes.subarray(0, 5).toString() === 'HEAD ')
        result.statuses[status] = (result.statuses[status] ?? 0) + 1
        if (wrong !== undefined) fail(wrong)
        if (location?.includes('/uploads/') === true) memory.location = location
        if (only !== undefined) console.log(bytes.toString('latin1'), '\n---\n', text)
      }
    }
    const round = (until: number) => Promise.all(Array.from({ length: CONNECTIONS }, () => worker(until)))
    const look = async (): Promise<number> => {
      // The collection comes first: what is resident then is what cannot be given back.
      result.live.push(await inspector.live())
      const { files, resident } = await usage(gateway.daemon.pid)
      result.resident.push(resident)
      return files
    }
    await round(Math.min(warm, end))
    await sleep(1000)
    const files = await look()
    while (next + SAMPLE < end) {
      await round(next + SAMPLE)
      await look()
    }
    await round(end)
    // Sessions on which the other side fell silent end within the idle time.
    await sleep(3500)
    result.files = [files, await look()]
    if (result.files[1] > files + FILES_SLACK)
      result.failures.push(`open files grew from ${files} to ${result.files[1]}`)
    for (const [what, values, slack] of [
      ['alive', result.live, LIVE_SLACK],
      ['resident', result.resident, RESIDENT_SLACK]
    ] as const) {
      const [before = 0, after = 0] = [values[0], values.at(-1)]
      if (after > before + slack)
        result.failures.push(`memory that is ${what} grew: ${mebibytes(values)} MiB`)
    }
    await client.expect(200, 'GET', '/v2/')
    for (const line of (await gateway.logged()).slice(0, 5))
      if (line['code'] === 'UNKNOWN') result.failures.push(`the gateway logged ${JSON.stringify(line)}`)
  } finally {
    inspector.close()
    await gateway.stop()
    await dns.stop()
    await temp.remove()
  }
  return result
}

/** Sends bytes on a connection of their own and gives all that came back; `undefined` for a hang. */
function exchange(port: number, bytes: Buffer): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    const chunks: Buffer[] = []
    let hung = false
    const timer = setTimeout(() => {
      hung = true
      socket.destroy()
    }, HANG_MS)
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', () => {}) // a reset is an end like another
    socket.on('close', () => {
      clearTimeout(timer)
      resolve(hung ? undefined : Buffer.concat(chunks).toString('latin1'))
    })
    socket.write(bytes)
  })
}

/** What the first answer in `text` says, and what is wrong with it; what was sent behind the request is another one. */
function judge(
  text: string | undefined,
  toHead: boolean
): { status: string; location?: string; wrong?: string } {
  if (text === undefined) return { status: 'hang', wrong: `no end after ${HANG_MS} ms` }
  if (text === '') return { status: '0', wrong: 'closed without an answer' }
  const final = text.replace(/^HTTP\/1.1 1\d\d [^]*?\r\n\r\n/, '')
  const status = /^HTTP\/1.1 (\d{3}) /.exec(final)?.[1]
  if (status === undefined)
    return { status: 'none', wrong: `no status line in ${JSON.stringify(text.slice(0, 100))}` }
  if (status >= '500')
    return { status, wrong: `${status} ${final.slice(final.indexOf('\r\n\r\n') + 4, 500)}` }
  const location = /\r\nlocation: ([^\r]+)\r\n/i.exec(final)?.[1]
  const length = toHead ? 0 : Number(/\r\ncontent-length: *(\d+)\r\n/i.exec(final)?.[1] ?? final.length)
  const start = final.indexOf('\r\n\r\n') + 4
  const body = final.slice(start, start + length)
  if (status >= '400' && body !== '') {
    const code = /^\{"errors":\[\{"code":"([A-Z_]+)","message":"/.exec(body)?.[1]
    if (code === undefined || !Object.hasOwn(ERRORS, code))
      return { status, wrong: `a refusal of another form: ${body.slice(0, 200)}` }
  }
  return { status, ...(location === undefined ? {} : { location }) }
}

async function usage(pid: number): Promise<{ files: number; resident: number }> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const files = await readdir(`/proc/${pid}/fd`)
  return { files: files.length, resident: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024 }
}

const mebibytes = (values: readonly number[]): string =>
  values.map((bytes) => Math.round(bytes / 2 ** 20)).join(' → ')

/** A run in words. */
export function describeRun(result: FuzzResult): string {
  const { seed, count, statuses, files, live, resident, failures } = result
  const counts = Object.entries(statuses).map(([status, n]) => `${status}: ${n}`)
  return [
    `seed ${seed}, ${count} requests; answers ${counts.join(', ')}`,
    `open files ${files.join(' → ')}; MiB alive ${mebibytes(live)}; resident ${mebibytes(resident)}`,
    ...failures
  ].join('\n')
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { seed: { type: 'string' }, count: { type: 'string' }, only: { type: 'string' } }
  })
  const result = await fuzz({
    seed: values.seed === undefined ? Date.now() % 1_000_000_007 : Number(values.seed),
    count: Number(values.count ?? 20_000),
    ...(values.only === undefined ? {} : { only: Number(values.only) })
  })
  console.log(describeRun(result))
  process.exitCode = result.failures.length === 0 ? 0 : 1
}
