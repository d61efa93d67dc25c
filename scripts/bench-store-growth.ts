/** The part of `npm run bench:store` that shows how starts and collections grow with the number of blobs. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { Agent } from 'node:http'
import { join } from 'node:path'
import { connectControl, controlPath } from '../src/cli/control.ts'
import { gatewayEnv, type SeawayGateway, startGateway } from '../test/e2e/support/gateway.ts'
import { cleanEnv } from '../test/e2e/support/process.ts'
import { addClaimedBlobs } from '../test/support/big-store.ts'
import { digestOf, manifest, OCI_CONFIG, ociClient } from '../test/support/oci-client.ts'

const MAIN = join(import.meta.dirname, '../src/main.ts')

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

/** Milliseconds that a collection takes, and what it freed. */
async function collect(gateway: SeawayGateway): Promise<{ took: number; freed: number }> {
  const operations = await connectControl(controlPath(gateway.data))
  if (operations === undefined) throw new Error('no gateway runs')
  const begun = performance.now()
  const call = { signal: new AbortController().signal, progress: () => undefined }
  const { freed } = await operations.gc({ dryRun: false, graceMs: 0 }, call)
  return { took: performance.now() - begun, freed: freed.blobs }
}

/** Prints the times for each count, and for blobs that claim 1 TB. */
export async function growth(folder: string, counts: readonly number[], rounds: number): Promise<void> {
  console.log(
    `\nmilliseconds with so many blobs in images of ${IMAGE_BLOBS}, of which half have lost their tag`
  )
  console.log('(starts: medians; CPU is what the process itself took of processors, whatever others do)\n')
  console.log(
    `${'blobs'.padStart(10)}${'start'.padStart(9)}${'CPU'.padStart(8)}${'gc, frees half'.padStart(18)}${'us a blob'.padStart(11)}${'gc, frees none'.padStart(18)}${'peak MB'.padStart(10)}`
  )
  for (const count of counts) {
    const dir = join(folder, `many-${count}`)
    const data = join(dir, 'data')
    const first = await startGateway({ dir, env: ENV })
    await fill(first, count)
    await first.stop()
    const start = await startTimes(data, rounds)
    const gateway = await startGateway({ dir, env: ENV })
    const half = await collect(gateway)
    const none = await collect(gateway)
    const peak = (await gateway.peakMemory()) / 1e6
    await gateway.stop()
    if (half.freed < count / 3) console.log(`only ${half.freed} blobs were freed`)
    console.log(
      `${String(count).padStart(10)}${start.took.toFixed(0).padStart(9)}${start.busy.toFixed(0).padStart(8)}${half.took.toFixed(0).padStart(18)}` +
        `${((half.took * 1000) / count).toFixed(0).padStart(11)}${none.took.toFixed(0).padStart(18)}${peak.toFixed(0).padStart(10)}`
    )
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
