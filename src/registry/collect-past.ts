import type { CID } from 'multiformats/cid'
import type { Store, Sweep } from '../store/index.ts'
import { pastRoots, type TreeWriter } from '../tree/index.ts'
import type { History } from './history.ts'
import { createPublishStates } from './publishing-state.ts'

/** What forgetting roots works with. */
export interface PastParts {
  readonly store: Pick<Store, 'records'>
  readonly trees: Pick<TreeWriter, 'domains' | 'root' | 'base'>
  readonly history: Pick<History, 'list'>
  /** The root that a domain's records named when they were read last. */
  readonly lastPublished: (domain: string) => Promise<CID | undefined>
}

/** How many former roots of a domain are remembered: some 150 bytes each. */
export const MAX_PAST = 10_000

/** Records that go in one step. */
const BATCH = 256

/**
 * Forgets former roots of trees beyond the last {@link MAX_PAST}. They are remembered so that one that is still
 * published is known as our own: then it brings nothing back that was deleted since, and publishing goes on from
 * it. Those that are published as far as is known here, or were last, stay whatever their age; one that comes
 * back after that many changes counts as somebody else's, which publishing refuses and `sync` merges.
 */
export async function forgetPast(parts: PastParts, sweep: Pick<Sweep, 'removeRecords'>, signal: AbortSignal) {
  for await (const domain of parts.trees.domains()) {
    const before = await limitOf(parts, domain, signal)
    if (before === undefined) continue
    const needed = await neededRoots(parts, domain)
    let old: string[] = []
    for await (const { key, root, at } of pastRoots(parts.store.records, domain)) {
      signal.throwIfAborted()
      if (at < before && !needed.has(root)) old.push(key)
      if (old.length < BATCH) continue
      await sweep.removeRecords(old)
      old = []
    }
    await sweep.removeRecords(old)
  }
}

/** The time (epoch ms) before which roots are too many; `undefined` when there are none. */
async function limitOf(
  { store }: PastParts,
  domain: string,
  signal: AbortSignal
): Promise<number | undefined> {
  const times: number[] = []
  for await (const { at } of pastRoots(store.records, domain)) {
    signal.throwIfAborted()
    times.push(at)
  }
  if (times.length <= MAX_PAST) return undefined
  return Float64Array.from(times).sort().at(-MAX_PAST)
}

async function neededRoots(
  { store, trees, history, lastPublished }: PastParts,
  domain: string
): Promise<Set<string>> {
  const { published, common } = await createPublishStates(store.records).get(domain)
  const roots = [
    await trees.root(domain),
    await trees.base(domain),
    await lastPublished(domain),
    ...(await history.list(domain)).map(({ root }) => root),
    published?.root,
    common
  ]
  return new Set(roots.flatMap((root) => (root === undefined ? [] : [root.toString()])))
}
