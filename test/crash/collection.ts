/** `gc` through the control socket, as the command does it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { connectControl, controlPath } from '../../src/cli/control.ts'
import { type Model, tick } from './model.ts'

/** What a collection says of itself. */
export interface Collected {
  readonly freed: { readonly bytes: number }
  readonly waiting: { readonly blobs: number }
}

/** Runs a collection with a grace of `graceMs` in the gateway that has `data`. */
export async function collect(data: string, model: Model, graceMs = 0): Promise<Collected> {
  const operations = await connectControl(controlPath(data))
  if (operations === undefined) throw new Error('no gateway runs here')
  const collector = operations as unknown as Record<
    string,
    (args: object, call: object) => Promise<Collected>
  >
  model.collected = tick()
  try {
    const { gc } = collector
    if (gc === undefined) throw new Error('this build has no collection')
    return await gc({ dryRun: false, graceMs }, { signal: AbortSignal.timeout(60_000), progress: () => {} })
  } finally {
    // What was pushed while it ran may have gone as well.
    model.collected = tick()
  }
}

/** How long what was read before may keep a collection from taking something, in milliseconds; the machine may be busy. */
const SETTLES_MS = 20_000

/**
 * Collects until two collections in a row find nothing to take and nothing that waits: what somebody has just read
 * may be held, or touched again in the background, while one runs. What never comes to rest isn't waited for.
 */
export async function collectAll(data: string, model: Model): Promise<{ count: number; last: Collected }> {
  const end = performance.now() + SETTLES_MS
  for (let count = 1, quiet = 0; ; count++) {
    const last = await collect(data, model)
    quiet = last.freed.bytes === 0 && last.waiting.blobs === 0 ? quiet + 1 : 0
    if (quiet === 2 || performance.now() > end) return { count, last }
    await sleep(100)
  }
}
