import type { CID } from 'multiformats/cid'
import { CID as Cid } from 'multiformats/cid'
import { RegistryError } from '../oci/errors.ts'
import { type Block, type IndexWrite, type Records, recordRow, type StoreBlocks } from '../store/index.ts'
import { applyChanges } from './apply.ts'
import { withDeadline } from './deadline.ts'
import type { Directories, LoadBlock } from './directory.ts'
import { applyEdits, type Edit, type Edited, reachable } from './edit.ts'
import type { Change } from './edits.ts'
import { createIndexCache } from './image-index.ts'
import { createTouches } from './image-layout.ts'
import { createLayoutsBehind, PAUSE_MS } from './layouts-behind.ts'
import { keyOf, type Link } from './node.ts'
import { pastKey, pastValue } from './past.ts'
import { openTree, type TreeView } from './view.ts'

/**
 * A change, or what works one out from the tree as it is when its turn has come (`undefined` for "leave
 * it as it is"). Plain changes that wait together are applied at once, which is much cheaper. `load` has the
 * tree's blocks too where they are not in the store yet.
 */
export type Job =
  | Change
  | ((tree: TreeView | undefined, signal: AbortSignal, load: LoadBlock) => Promise<Change | undefined>)

/** The writable trees: one a domain, each with one writer. */
export interface TreeWriter {
  /** The root of a domain's tree, with its image layouts in step; `undefined` when it has none. */
  root(domain: string): Promise<CID | undefined>
  /** Domains that have a tree, in byte order. */
  domains(): AsyncIterable<string>
  /** The domain's tree as it is now. */
  view(domain: string): Promise<TreeView | undefined>
  /**
   * Changes the domain's tree and returns its root when that is durable. Changes of one domain happen
   * one after another; those that wait together become one new root. A change whose job throws is
   * refused alone.
   */
  change(domain: string, job: Job, options: ChangeOptions): Promise<CID>
  /** The published root that the domain's tree began from; `undefined` when it began empty. */
  base(domain: string): Promise<CID | undefined>
  /** Whether `root` is, or once was, the root of the domain's tree, or what it began from; of the last ones, see `collect-past.ts`. */
  had(domain: string, root: CID): Promise<boolean>
  /** Called with every new root once it is durable, but for those of quiet changes. */
  onRoot(listener: (domain: string, root: CID) => void): void
  /** Calls the listeners with the root that quiet changes have made. */
  announce(domain: string): Promise<void>
}

/** How a change is made. */
export interface ChangeOptions {
  readonly signal: AbortSignal
  /** The root to begin from if the domain has no tree yet; `undefined` for an empty one. */
  readonly base?: (signal: AbortSignal) => Promise<CID | undefined>
  /** It is one of several that belong together: nobody is told of its root before {@link TreeWriter.announce}. */
  readonly quiet?: boolean
  /** It is a step of giving space back, which goes on when little is left. */
  readonly frees?: boolean
}

interface Waiting extends ChangeOptions {
  readonly job: Job
  readonly resolve: (root: CID) => void
  readonly reject: (error: unknown) => void
}

/** How many changes become one root at most. */
const MAX_GROUP = 256

const rootKey = (domain: string) => `root/${domain}`
const baseKey = (domain: string) => `base/${domain}`

/**
 * @param options.load where directories come from that aren't in the store: a tree that began as a copy
 *   of a published one has most of its directories elsewhere
 * @param options.deadlineMs how long one step of a change may take, in milliseconds
 */
export function createTreeWriter(options: {
  blocks: StoreBlocks
  records: Records
  directories: Directories
  load: (domain: string) => LoadBlock
  deadlineMs: number
}): TreeWriter {
  const { blocks, records, directories, deadlineMs } = options
  const roots = new Map<string, Promise<Link | undefined>>()
  const queues = new Map<string, Waiting[]>()
  const indexes = createIndexCache()
  const behind = createLayoutsBehind(records)
  const listeners: ((domain: string, root: CID) => void)[] = []
  /** Domains in which nothing but quiet changes has left layouts behind: bringing those in step is quiet as well. */
  const hushed = new Set<string>()

  function rootLink(domain: string): Promise<Link | undefined> {
    let root = roots.get(domain)
    if (root === undefined) {
      root = records.get(rootKey(domain)).then((bytes) => bytes && readLink(bytes))
      // A failed read is tried again by the next caller.
      root.catch(() => roots.delete(domain))
      roots.set(domain, root)
    }
    return root
  }

  const viewOf = (domain: string, root: Link | undefined) =>
    root === undefined ? undefined : openTree(root, directories, options.load(domain))

  async function persist(
    domain: string,
    root: Link,
    base: CID | undefined,
    edited: Edited & { files: ReadonlyMap<string, Block> },
    others: readonly IndexWrite[],
    frees: boolean
  ): Promise<void> {
    const kept = [...(await reachable(root.cid, edited)), ...edited.files.values()]
    const now = pastValue()
    const rows: [string, Uint8Array][] = [
      [rootKey(domain), writeLink(root)],
      [pastKey(domain, root.cid), now]
    ]
    if (base !== undefined)
      rows.push([pastKey(domain, base), now], [baseKey(domain), Buffer.from(base.toString())])
    await blocks.commit(kept, rows, others, frees)
    roots.set(domain, Promise.resolve(root))
    for (const cid of edited.replaced) directories.forget(cid)
  }

  /** One group: each job sees what those before it changed; all become durable in one write. Whether they have. */
  async function commitGroup(domain: string, group: readonly Waiting[]): Promise<boolean> {
    const offered = new Map<string, Block>()
    const made = new Map<string, Block>()
    const load: LoadBlock = async (cid, signal) => {
      const key = keyOf(cid)
      return (made.get(key) ?? offered.get(key))?.bytes ?? options.load(domain)(cid, signal)
    }
    const here = async (cid: CID) => {
      const key = keyOf(cid)
      return (made.get(key) ?? offered.get(key))?.bytes ?? blocks.find(cid)
    }
    const files = new Map<string, Block>()
    const context = { directories, load, here, offered, blocks: made, files, indexes, replaced: [] }
    const before = await rootLink(domain)
    let root = before
    let base: CID | undefined
    const done: Waiting[] = []
    let pending: Edit[] = []
    const others: IndexWrite[] = []
    const late = await behind.of(domain)
    const wasLate = late.touches.length > 0
    let touches = createTouches()
    let [plain, replaced] = [true, false]
    const apply = async () => {
      if (pending.length === 0) return
      root = await withDeadline(deadlineMs, undefined, (signal) =>
        applyEdits(root, pending, { ...context, signal })
      )
      pending = []
    }
    for (const waiting of group) {
      const { job, signal } = waiting
      try {
        signal.throwIfAborted()
        if (root === undefined && waiting.base !== undefined) {
          base = await withDeadline(deadlineMs, signal, waiting.base)
          // A root has no parent that would need its size.
          if (base !== undefined) root = { cid: base, size: 0 }
        }
        let change: Change | undefined
        if (typeof job === 'function') {
          await apply()
          const view = root && openTree(root, directories, load)
          change = await withDeadline(deadlineMs, signal, (within) => job(view, within, load))
          plain = false
        } else change = job
        // A change of what the root holds brings its own layouts.
        if (change?.edits.some(({ path }) => path.length === 1) === true) {
          touches = createTouches()
          replaced = true
          plain = false
        }
        touches.add(change?.touches ?? [])
        pending.push(...(change?.edits ?? []))
        others.push(...(change?.rows ?? []))
        for (const block of change?.blocks ?? []) offered.set(keyOf(block.cid), block)
        done.push(waiting)
      } catch (error) {
        waiting.reject(error)
      }
    }
    const waits = plain && behind.mayWait(domain, late, touches, group.length)
    const layouts = waits ? behind.defer(domain, late, touches) : behind.settle(domain, late, touches)
    others.push(...layouts.rows)
    try {
      const touched = createTouches()
      if (!waits && !replaced) touched.add(late.touches)
      if (!waits) touched.add([...touches.all()])
      root = await withDeadline(deadlineMs, undefined, (signal) =>
        applyChanges(root, pending, touched, plain, { ...context, signal })
      )
    } catch (error) {
      for (const waiting of done) waiting.reject(error)
      return false
    }
    if (root === undefined) {
      for (const waiting of done)
        waiting.reject(new RegistryError('NAME_UNKNOWN', `${domain} has no registry tree here`))
      return false
    }
    const changed = before === undefined || !before.cid.equals(root.cid)
    try {
      const frees = done.every((waiting) => waiting.frees)
      if (changed || others.length > 0) await persist(domain, root, base, context, others, frees)
      layouts.written()
    } catch (error) {
      for (const waiting of done) waiting.reject(error)
      return false
    }
    for (const waiting of done) waiting.resolve(root.cid)
    if (done.some(({ quiet }) => quiet !== true)) {
      hushed.delete(domain)
      if (changed) tell(domain, root.cid)
    } else if (!wasLate) hushed.add(domain)
    return true
  }

  function tell(domain: string, root: CID): void {
    for (const listener of listeners) listener(domain, root)
  }

  async function drain(domain: string, queue: Waiting[]): Promise<void> {
    let committed = false
    while (queue.length > 0) {
      const group = queue.splice(0, MAX_GROUP)
      try {
        committed = await commitGroup(domain, group)
      } catch (error) {
        for (const waiting of group) waiting.reject(error)
      }
    }
    queues.delete(domain)
    // What can't be done is recorded: the next change does it.
    const later = () => void settle(domain).catch(() => undefined)
    const isLate = committed && (await behind.isLate(domain).catch(() => false))
    if (isLate) setTimeout(later, PAUSE_MS).unref()
  }

  /** Brings the layouts of a domain in step, if they are behind. */
  async function settle(domain: string): Promise<void> {
    if (!(await behind.isLate(domain))) return
    const signal = AbortSignal.timeout(deadlineMs)
    // what pushes left to be done, and collections ask for
    await change(domain, { edits: [], blocks: [] }, { signal, frees: true, quiet: hushed.has(domain) })
  }

  function change(domain: string, job: Job, changeOptions: ChangeOptions): Promise<CID> {
    return new Promise((resolve, reject) => {
      const waiting: Waiting = { ...changeOptions, job, resolve, reject }
      const queue = queues.get(domain)
      if (queue !== undefined) queue.push(waiting)
      else {
        const fresh = [waiting]
        queues.set(domain, fresh)
        // The queue begins in the next turn, so that requests read in this one are one group.
        setImmediate(() => void drain(domain, fresh))
      }
    })
  }

  return {
    change,
    async root(domain) {
      await settle(domain)
      return (await rootLink(domain))?.cid
    },
    async *domains() {
      for await (const [key] of records.list('root/')) yield key.slice('root/'.length)
    },
    view: async (domain) => viewOf(domain, await rootLink(domain)),
    async base(domain) {
      const bytes = await records.get(baseKey(domain))
      return bytes && Cid.parse(Buffer.from(bytes).toString())
    },
    had: async (domain, root) => (await records.get(pastKey(domain, root))) !== undefined,
    onRoot: (listener) => void listeners.push(listener),
    async announce(domain) {
      const root = await rootLink(domain)
      if (root !== undefined) tell(domain, root.cid)
    }
  }
}

/**
 * Rows that make `root` a root that the domain's tree descends from, and the one that it was merged with last:
 * for a change that brings another's tree in.
 */
export function descentRows(domain: string, root: CID): IndexWrite[] {
  return [
    recordRow(pastKey(domain, root), pastValue()),
    recordRow(baseKey(domain), Buffer.from(root.toString()))
  ]
}

function writeLink(link: Link): Uint8Array {
  return Buffer.from(JSON.stringify({ cid: link.cid.toString(), size: link.size }))
}

function readLink(bytes: Uint8Array): Link {
  const { cid, size } = JSON.parse(Buffer.from(bytes).toString()) as { cid: string; size: number }
  return { cid: Cid.parse(cid), size }
}
