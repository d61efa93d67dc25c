/** What a client sees of a blob that may not come, and what a gateway keeps of it. */
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { SeawayGateway } from './gateway.ts'
import { refusalOf } from './wire.ts'

/** What came of an answer with a blob in it. */
export interface BlobPull {
  /** All of it came, and it is right. */
  whole: boolean
  /** Whatever came is right. */
  right: boolean
  status: number
  /** Bytes that came. */
  size: number
  /** What the refusal says, or how the answer broke off. */
  message: string
}

/** Reads the answer to its end, or to where it breaks off, and compares it with what it should be. */
export async function readBlob(answer: Response, expected: Uint8Array): Promise<BlobPull> {
  if (!answer.ok) return { whole: false, right: true, size: 0, ...(await refusalOf(answer)) }
  const got: Uint8Array[] = []
  let message = ''
  try {
    for await (const chunk of answer.body as unknown as AsyncIterable<Uint8Array>) got.push(chunk)
  } catch (error) {
    message = String(error)
  }
  const all = Buffer.concat(got)
  const right = all.equals(expected.subarray(0, all.length))
  const whole = right && all.length === expected.length && message === ''
  return { whole, right, status: answer.status, size: all.length, message }
}

/** Whether a file of that digest stands among the gateway's blobs. */
export async function isKept(gateway: SeawayGateway, digest: string): Promise<boolean> {
  const hex = digest.replace('sha256:', '')
  return (await readdir(join(gateway.data, 'blobs', hex.slice(0, 2)))).includes(hex)
}

/** Has all of the gateway's store read and checked: how many blobs there are. Throws when one is not what it should be. */
export async function checkedBlobs(gateway: SeawayGateway): Promise<number> {
  const { stdout } = await gateway.seaway(['verify', '--json', '--rate', 'none', '--restart'])
  const report = JSON.parse(stdout) as { blobs: number; damaged: number; bad: number; rootless: string[] }
  assert.deepEqual([report.damaged, report.bad, report.rootless], [0, 0, []])
  return report.blobs
}
