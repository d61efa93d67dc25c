/**
 * `npm run bench:slow`: how long a pull takes while 200 clients send headers and bodies, and read layers, as slowly as
 * they are let, against the same pull without them: alternately, five times, medians. `--clients N` for more of them,
 * `--kinds headers,bodies` for some of them only.
 */
import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { startGateway } from '../test/e2e/support/gateway.ts'
import { tempDir } from '../test/e2e/support/process.ts'
import { type SlowKind, startSlowClients } from '../test/e2e/support/slow-clients.ts'
import { ociClient } from '../test/support/oci-client.ts'

const ROUNDS = 5
const LAYERS = 4
const LAYER = 64_000_000
/** How long the slow clients are left alone at first, in milliseconds. */
const SETTLE_MS = 2000
/** With slow clients a pull may take so many times as long as without. */
const GOAL = 1.5

const { values } = parseArgs({
  options: {
    clients: { type: 'string', default: '200' },
    kinds: { type: 'string', default: 'headers,bodies,readers' }
  }
})
const kinds = values.kinds.split(',') as SlowKind[]
const count = Number(values.clients)
const median = (all: readonly number[]): number => all.toSorted((a, b) => a - b)[all.length >> 1] ?? 0

const dir = tempDir('bench-slow')
const gateway = await startGateway({ dir: dir.path })
try {
  const port = Number(new URL(gateway.url).port)
  const client = ociClient({ port })
  const digests: string[] = []
  for (let i = 0; i < LAYERS; i++) digests.push((await client.blob('app', randomBytes(LAYER))).digest)
  await client.image('app', '1')

  /** A pull as docker does it: the tag, then its layers, three at a time; in milliseconds. */
  const pull = async (): Promise<number> => {
    const start = performance.now()
    await client.expect(200, 'HEAD', '/v2/app/manifests/1')
    await client.expect(200, 'GET', '/v2/app/manifests/1')
    const queue = [...digests]
    const work = async () => {
      for (let digest = queue.pop(); digest !== undefined; digest = queue.pop()) {
        const hash = createHash('sha256')
        const answer = await fetch(`${gateway.url}/v2/app/blobs/${digest}`)
        for await (const chunk of answer.body ?? []) hash.update(chunk as Uint8Array)
        if (`sha256:${hash.digest('hex')}` !== digest) throw new Error('wrong bytes')
      }
    }
    await Promise.all([work(), work(), work()])
    return performance.now() - start
  }

  await pull()
  const alone: number[] = []
  const beside: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    alone.push(await pull())
    const slow = await startSlowClients(port, count, `/v2/app/blobs/${digests[0]}`, kinds)
    // what sockets hold of their layers goes out at once
    await sleep(SETTLE_MS)
    beside.push(await pull())
    const { open } = await slow.state()
    if (open < count * 0.9) throw new Error(`only ${open} of ${count} slow clients were there`)
    await slow.stop()
  }
  const [a, b] = [median(alone), median(beside)]
  const memory = Math.round((await gateway.peakMemory()) / 1e6)
  const ratio = b / a
  console.log(`a pull of ${(LAYERS * LAYER) / 1e6} MB, median of ${ROUNDS}
  alone                  ${a.toFixed(0).padStart(6)} ms
  beside ${String(count).padStart(4)} slow clients ${b.toFixed(0).padStart(6)} ms
  ratio ${ratio.toFixed(2)} (goal: at most ${GOAL})${ratio > GOAL ? '  MISSED' : ''}; the gateway's peak memory ${memory} MB`)
} finally {
  await gateway.stop()
  await dir.remove()
}
