/** The part of `npm run bench:store` that shows how starts and collections grow with the number of blobs. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { Agent } from 'node:http'
import { join } from 'node:path'
import { connectControl, controlPath } from '../src/cli/control.ts'
import { gatewayEnv, type SeawayGateway, startGateway } from '../test/e2e/support/gateway.ts'
import { cleanEnv } from '../test/e2e/support/process.ts'
import { addClaimedBlobs } from '../test/support/big-store.ts'
import { digestOf, manifest, OCI_CONFIG, ociClient } from '../test/support/oci-client.ts'

const MAIN = join(import.meta.dirname, '../src/main.js')

/** Blobs of one image: its manifest, its config and layers. */
const IMAGE_BLOBS = 10

const CONNECTIONS = 16

/** No published root keeps what has lost its tag. */
const ENV = { SEAWAY_KEEP_ROOTS: '0' }

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0

/** A start in milliseconds: until the first line, which says that it listens, and of processor time until then. */
interface Start {
  readonly took: number
  readonly busy: number
}

/** What a process has taken of processors since it began, in milliseconds. */
function busyTime(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10
}

async function startTime(data: string): Promise<Start> {
  const begun = performance.now()
  const child = spawn(process.execPath, [MAIN, 'serve'], {
    env: cleanEnv(gatewayEnv(data)),
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  await Promise.race([new Promise((resolve) => child.stdout.once('data', resolve)), exited])
  const took = performance.now() - begun
  const busy = busyTime(child.pid as number)
  child.kill('SIGTERM')
  await exited
  return { took, busy }
}

async function startTimes(data: string, rounds: number): Promise<Start> {
  const times: Start[] = []
  for (let i = 0; i < rounds; i++) times.push(await startTime(data))
  return { took: median(times.map(({ took }) => took)), busy: median(times.map(({ busy }) => busy)) }
}

/** Pushes `count` small blobs as images of ten, and takes the tags of half of them away. */
async function fill(gateway: SeawayGateway, count: number): Promise<void> {
  const client = ociClient({ port: Number(new URL(gateway.url).port) })
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })
  let next = 0
  const push = async () => {
    for (let i = next++; i < count / IMAGE_BLOBS; i = next++) {
      const name = `many/app${i % 100}`
      const parts = await Promise.all(
        Array.from({ length: IMAGE_BLOBS - 1 }, async (_, part) => {
          const body = `blob ${part} of image ${i} `.padEnd(400, `${i * IMAGE_BLOBS + part} `)
          const digest = digestOf(body)
          await client.expect(201, 'POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, { body, agent })
          return { mediaType: OCI_CONFIG, digest, size: body.length }
        })
      )
      const made = manifest({ config: parts[0], layers: parts.slice(1) })
      const headers = { 'content-type': made.mediaType }
      await client.expect(201, 'PUT', `/v2/${name}/manifests/t${i}`, { body: made.bytes, headers, agent })
      if (i % 2 === 0) await client.expect(202, 'DELETE', `/v2/${name}/manifests/t${i}`, { agent })
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, push))
  agent.destroy()
}

/** What work took: of time and of processors in milliseconds, and of memory at most, in MB. */
interface Cost {
  readonly took: number
  readonly busy: number
  /** All that is resident. */
  readonly peak: number
  /** Of that what is the process's own, rather than its program or the index's files, which the kernel takes back at will. */
  readonly own: number
}

/** How often a process's own memory is looked at, which has no high-water mark, in milliseconds. */
const LOOK_MS = 50

function memoryOf(pid: number, name: string): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return (Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024) / 1e6
}

/** Measures what `work` takes of the gateway. */
async function costOf<T>({ daemon: { pid } }: SeawayGateway, work: () => Promise<T>): Promise<[Cost, T]> {
  // Begins the high-water mark anew.
  await writeFile(`/proc/${pid}/clear_refs`, '5')
  const [begun, before] = [performance.now(), busyTime(pid)]
  let own = 0
  const look = setInterval(() => {
    own = Math.max(own, memoryOf(pid, 'RssAnon'))
  }, LOOK_MS)
  try {
    const result = await work()
    const [took, busy] = [performance.now() - begun, busyTime(pid) - before]
    own = Math.max(own, memoryOf(pid, 'RssAnon'))
    return [{ took, busy, own, peak: memoryOf(pid, 'VmHWM') }, result]
  } finally {
    clearInterval(look)
  }
}

/** Collects, and says how many blobs went. */
async function collect(gateway: SeawayGateway): Promise<number> {
  const operations = await connectControl(controlPath(gateway.data))
  if (operations === undefined) throw new Error('no gateway runs')
  const call = { signal: new AbortController().signal, progress: () => undefined }
  const { freed } = await operations.gc({ dryRun: false, graceMs: 0 }, call)
  return freed.blobs
}

const cells = (...texts: readonly string[]) => texts.map((text) => text.padStart(11)).join('')

function row(count: number, what: string, { took, busy, peak, own }: Cost): string {
  const each = [took, busy].map((ms) => ((ms * 1000) / count).toFixed(0))
  const mb = [own, peak].map((each) => each.toFixed(0))
  return (
    what.padEnd(18) +
    cells(String(count), took.toFixed(0), busy.toFixed(0), each[0] ?? '', each[1] ?? '', ...mb)
  )
}

/** Prints the times for each count, and for blobs that claim 1 TB. */
export async function growth(folder: string, counts: readonly number[], rounds: number): Promise<void> {
  console.log(`\nso many blobs in images of ${IMAGE_BLOBS}, of which half have lost their tag`)
  console.log(
    '(CPU is what the process itself took of processors, whatever others do; own MB is its peak without the files that it has mapped; starts: medians)\n'
  )
  console.log(''.padEnd(18) + cells('blobs', 'ms', 'CPU ms', 'us a blob', 'CPU us', 'own MB', 'peak MB'))
  for (const count of counts) {
    const dir = join(folder, `many-${count}`)
    const first = await startGateway({ dir, env: ENV })
    const [pushed] = await costOf(first, () => fill(first, count))
    console.log(row(count, 'pushed', pushed))
    await first.stop()
    const start = await startTimes(join(dir, 'data'), rounds)
    console.log('start'.padEnd(18) + cells(String(count), start.took.toFixed(0), start.busy.toFixed(0)))
    const gateway = await startGateway({ dir, env: ENV })
    const [half, freed] = await costOf(gateway, () => collect(gateway))
    console.log(row(count, 'gc, frees half', half))
    const [none] = await costOf(gateway, () => collect(gateway))
    console.log(row(count, 'gc, frees none', none))
    await gateway.stop()
    if (freed < count / 3) console.log(`only ${freed} blobs were freed`)
    await rm(dir, { recursive: true })
  }
  const claimed = join(folder, 'claimed')
  const count = Math.max(...counts)
  const size = Math.round(1e12 / count)
  await addClaimedBlobs(claimed, count, size)
  const start = await startTimes(claimed, rounds)
  console.log(
    `\nstart with ${count} blobs of ${(size / 1e6).toFixed(0)} MB, 1 TB in all: ${start.took.toFixed(0)} ms, ${start.busy} of them CPU (goal: 1000)`
  )
  await rm(claimed, { recursive: true })
}
