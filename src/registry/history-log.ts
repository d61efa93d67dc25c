import type { CID } from 'multiformats/cid'
import { displayName } from '../oci/reference.ts'
import type { Store } from '../store/index.ts'
import {
  becomeRoot,
  createDirectories,
  diffTags,
  type LoadBlock,
  type TagChange,
  type TreeView,
  type TreeWriter
} from '../tree/index.ts'
import type { History } from './history.ts'
import type { TagTimes } from './tag-times.ts'

/** A published root, with what is different in it from the one before. */
export interface HistoryEntry {
  readonly n: number
  readonly root: string
  /** ISO 8601. */
  readonly at: string
  /** Whether it is the domain's root now. */
  readonly current: boolean
  /** As clients name them, `example.com/app:1`; none for the oldest that is kept. */
  readonly changes: readonly { readonly image: string; readonly change: TagChange['change'] }[]
  /** Changes beside those listed. */
  readonly more: number
}

/** How many changes of one root are listed. */
const MAX_CHANGES = 1000

/** What can be done with published roots. */
export interface HistoryLog {
  /** The published roots that are kept, the newest first. @throws {RegistryError} NAME_UNKNOWN */
  list(domain: string, signal: AbortSignal): Promise<readonly HistoryEntry[]>
  /**
   * Makes a published root the domain's current one again, which is a new change of its tree. What was pushed
   * since then in the same moment is in the root that it returns.
   *
   * @param which its number, or its CID
   * @throws {RegistryError} NAME_UNKNOWN
   */
  restore(domain: string, which: string, signal: AbortSignal): Promise<{ root: CID }>
}

export function createHistoryLog(options: {
  store: Store
  trees: TreeWriter
  history: History
  loader: (domain: string) => LoadBlock
  tagTimes: Pick<TagTimes, 'rowsBetween'>
}): HistoryLog {
  const { store, trees, history, loader, tagTimes } = options

  async function changes(domain: string, before: CID, after: CID, signal: AbortSignal) {
    const found: { image: string; change: TagChange['change'] }[] = []
    let more = 0
    const directories = createDirectories()
    for await (const { repository, tag, change } of diffTags(
      before,
      after,
      directories,
      loader(domain),
      signal
    )) {
      const below = repository.startsWith(`${domain}/`) ? repository.slice(domain.length + 1) : repository
      if (found.length < MAX_CHANGES) found.push({ image: `${displayName(domain, below)}:${tag}`, change })
      else more++
    }
    return { changes: found, more }
  }

  return {
    async list(domain, signal) {
      const { root: current } = await history.resolve(domain)
      const roots = await history.list(domain)
      const entries: HistoryEntry[] = []
      for (const [i, { n, root, at }] of roots.entries()) {
        const before = roots[i + 1]
        const what = before && (await changes(domain, before.root, root, signal))
        entries.push({
          n,
          root: root.toString(),
          at,
          current: root.equals(current),
          ...(what ?? { changes: [], more: 0 })
        })
      }
      return entries
    },

    async restore(domain, which, signal) {
      const { root: wanted } = await history.resolve(`${domain}@${which}`)
      // A collection that begins now waits until the root is the current one.
      const root = await store.uses.during(async () => {
        const before = await trees.root(domain)
        // Outside of the queue, where pushes don't wait for it.
        const times = await tagTimes.rowsBetween(domain, before, wanted, loader(domain), signal)
        const job = async (view: TreeView | undefined, within: AbortSignal, load: LoadBlock) => {
          const now = view?.root
          const same = now === undefined || before?.equals(now) === true
          const rows = same ? times : await tagTimes.rowsBetween(domain, now, wanted, load, within)
          return { ...(await becomeRoot(now, wanted, createDirectories(), load, within)), rows }
        }
        return trees.change(domain, job, { signal })
      })
      return { root }
    }
  }
}
