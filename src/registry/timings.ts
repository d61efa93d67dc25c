/**
 * What a request waited for, in the order of a pull: `resolve` (DNS and IPNS), `search` (asking the network who has
 * it), `dial` (connecting to peers), `tree` (directories from peers), `fetch` (a manifest, or a blob's first bytes,
 * from peers), `store` (making it durable).
 */
export type TimingName = 'resolve' | 'search' | 'dial' | 'tree' | 'fetch' | 'store'

/** For how long, in milliseconds. Waits of one kind that overlap count once. */
export interface Timing {
  readonly name: TimingName
  readonly ms: number
}

interface Entry {
  running: number
  since: number
  ms: number
}

/** Where a request's signal, which goes wherever it waits, carries what it waited for. */
const TIMINGS = Symbol('timings')

type Timed = AbortSignal & { [TIMINGS]?: Map<TimingName, Entry> }

/** What was answered out of memory was not waited for (ms). */
const NOTHING = 0.05

/**
 * Does `work`, and notes on the request's signal how long that took. A request that waits for nothing never comes
 * here, and costs nothing.
 */
export async function timed<T>(signal: AbortSignal, name: TimingName, work: () => Promise<T>): Promise<T> {
  const all = ((signal as Timed)[TIMINGS] ??= new Map<TimingName, Entry>())
  let entry = all.get(name)
  if (entry === undefined) all.set(name, (entry = { running: 0, since: 0, ms: 0 }))
  if (entry.running++ === 0) entry.since = performance.now()
  try {
    return await work()
  } finally {
    if (--entry.running === 0) entry.ms += performance.now() - entry.since
  }
}

/** What has been noted on a signal, in the order in which it began; `undefined` if it waited for nothing. */
export function timingsOf(signal: AbortSignal): readonly Timing[] | undefined {
  const all = (signal as Timed)[TIMINGS]
  if (all === undefined) return undefined
  const now = performance.now()
  return Array.from(all, ([name, { running, since, ms }]) => ({
    name,
    ms: running > 0 ? ms + now - since : ms
  })).filter(({ ms }) => ms >= NOTHING)
}
