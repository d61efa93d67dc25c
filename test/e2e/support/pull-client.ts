/**
 * Pulls an image as docker does (the manifest, then three blobs at a time), checks every digest and keeps
 * nothing. A process of its own, so that it can run in a network namespace:
 *
 *     node pull-client.ts http://127.0.0.1:5000 example.com/app 1
 *
 * prints one line of JSON, {@link PullReport}. A failure is printed too, never retried.
 */

import { createHash } from 'node:crypto'
import { MANIFEST_TYPES } from './wire.ts'

/** What came of a pull. */
export interface PullReport {
  /** Milliseconds from the first request to the last byte. */
  ms: number
  /** Bytes of blobs. */
  bytes: number
  /** What went wrong, if anything did. */
  error?: string
}

const AT_ONCE = 3

const [url = '', name = '', tag = ''] = process.argv.slice(2)
const begun = performance.now()
let bytes = 0

async function checked(path: string, digest: string | undefined): Promise<void> {
  const answer = await fetch(`${url}/v2/${name}/${path}`)
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
  const hash = createHash('sha256')
  for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) {
    hash.update(chunk)
    bytes += chunk.length
  }
  const found = `sha256:${hash.digest('hex')}`
  if (found !== digest) throw new Error(`${path} is ${found}`)
}

async function pull(): Promise<void> {
  const answer = await fetch(`${url}/v2/${name}/manifests/${tag}`, { headers: { accept: MANIFEST_TYPES } })
  if (!answer.ok) throw new Error(`manifest: ${answer.status} ${await answer.text()}`)
  const { config, layers } = (await answer.json()) as Record<'config', { digest: string }> & {
    layers: { digest: string }[]
  }
  const left = [config, ...layers].values()
  const worker = async (): Promise<void> => {
    for (const { digest } of left) await checked(`blobs/${digest}`, digest)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

const error = await pull().then(
  () => undefined,
  (cause: Error) => `${cause.message}${cause.cause instanceof Error ? `: ${cause.cause.message}` : ''}`
)
const report: PullReport = { ms: performance.now() - begun, bytes, ...(error === undefined ? {} : { error }) }
console.log(JSON.stringify(report))
