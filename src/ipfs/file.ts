import type { CID } from 'multiformats/cid'
import { type Fetched, MAX_BLOCK } from './blocks.ts'
import type { Leaf } from './types.ts'
import { type FileNode, isDagPb, type Link, malformed, readNode } from './unixfs.ts'
import type { Window } from './window.ts'

/** A file's nodes are nested at most this deep (a balanced tree of 2^60 bytes needs 7 levels). */
const MAX_DEPTH = 64

/** Blocks asked for at once, however small they are. */
const MAX_AHEAD = 128

/** What a node whose size isn't known yet counts for in the window. */
const GUESS = 256 * 1024

/** What a file may read ahead before it has delivered anything: enough to keep a near peer busy, without
 * queueing sixteen leaves in front of the first on a slow link. */
const FIRST_WINDOW = 2 * 1024 * 1024

/** How {@link walkFile} gets its blocks. */
export interface WalkOptions {
  /** The first byte wanted. */
  from: number
  /** Bytes read ahead at most. */
  window: number
  /** What this file shares with the others. */
  shared: Window
  signal: AbortSignal
  /** A verified block from any source; `offset` is where its content begins, but not before `from`, and
   * `depth` how deep it lies. */
  fetch(cid: CID, signal: AbortSignal, at: { offset: number; depth: number }): Promise<Fetched>
  /** Keeps an inner node. */
  keep(cid: CID, bytes: Uint8Array): Promise<void>
  /** Told of an inner node's children, as far as they are wanted, and where the first one's content begins. */
  expanded(offset: number, links: readonly Link[]): void
}

/** A place in the file: one link, and what has come of it. */
interface Place extends Link {
  offset: number
  depth: number
  /** Bytes taken of the window. */
  cost: number
  started: boolean
  leaf?: Leaf
  error?: unknown
}

/** The links of an inner node that aren't places yet. */
interface Cursor {
  links: readonly Link[]
  next: number
  offset: number
  depth: number
}

/**
 * Walks a UnixFS DAG in the order of its content and yields its leaves, fetching ahead within the window.
 *
 * `ahead` holds the places in document order. A place too large for one block must be an inner node, so
 * nothing is read past it until it has come (its children belong in front of what follows); a small dag-pb
 * place is taken for a leaf, and if it isn't one its children take its place. Every node must hold as many
 * bytes as its parent says.
 */
export async function* walkFile(root: CID, options: WalkOptions): AsyncGenerator<Leaf> {
  const { from, window, shared } = options
  const end = new AbortController()
  const signal = AbortSignal.any([options.signal, end.signal])
  const ahead: Place[] = []
  const cursors: Cursor[] = []
  let allowed = Math.min(window, FIRST_WINDOW)
  let used = 0
  let waiting = false
  let wake = () => {}

  const place = (link: Link, offset: number, depth: number): Place => ({
    ...link,
    offset,
    depth,
    cost: 0,
    started: false
  })
  const take = (to: Place, cost: number) => {
    shared.force(cost - to.cost)
    used += cost - to.cost
    to.cost = cost
  }
  const giveBack = (of: Place) => {
    const { cost } = of
    used -= cost
    of.cost = 0
    if (cost !== 0) shared.give(cost)
  }

  function* places(cursor: Cursor): Generator<Place> {
    while (cursor.next < cursor.links.length) {
      const link = cursor.links[cursor.next++] as Link
      const offset = cursor.offset
      cursor.offset += link.size
      if (cursor.offset > from) yield place(link, offset, cursor.depth)
    }
  }

  function nextPlace(): Place | undefined {
    const last = ahead.at(-1)
    if (last?.started === true && last.leaf === undefined && last.size > MAX_BLOCK) return undefined
    for (let top = cursors.at(-1); top !== undefined; top = cursors.at(-1)) {
      for (const found of places(top)) return found
      cursors.pop()
    }
    return undefined
  }

  function fill(): void {
    for (;;) {
      if (signal.aborted || ahead.length > MAX_AHEAD) return
      let next = ahead.find(({ started }) => !started)
      if (next === undefined) {
        next = nextPlace()
        if (next === undefined) return
        ahead.push(next)
      }
      const cost = next.size > MAX_BLOCK ? GUESS : next.size
      if (next === ahead[0] && waiting) take(next, cost)
      else if (used + cost > allowed || !shared.take(cost)) return
      else {
        used += cost
        next.cost = cost
      }
      void start(next)
    }
  }

  async function start(at: Place): Promise<void> {
    at.started = true
    try {
      const fetched = await options.fetch(at.cid, signal, {
        offset: Math.max(from, at.offset),
        depth: at.depth
      })
      if (signal.aborted) return fetched.release?.()
      await arrived(at, fetched)
    } catch (error) {
      at.error = error
    }
    fill()
    wake()
  }

  async function arrived(at: Place, { bytes, local, release = () => {} }: Fetched): Promise<void> {
    const node = readNode(at.cid, bytes)
    if (at !== rootPlace && node.size !== at.size) {
      throw malformed(at.cid, `holds ${node.size} bytes where its parent says ${at.size}`)
    }
    at.size = node.size
    const inner = node.links.length > 0 || node.size === 0
    if (inner && !local) await options.keep(at.cid, bytes)
    if (node.data.length > 0 && at.offset + node.data.length > from) {
      take(at, bytes.length)
      const { data, prefix, suffix } = node
      at.leaf = { cid: at.cid, offset: at.offset, data, prefix, suffix, local, release }
    }
    if (inner) expand(at, node)
  }

  function expand(at: Place, { links, data }: FileNode): void {
    if (at.depth >= MAX_DEPTH && links.length > 0)
      throw malformed(at.cid, `is nested more than ${MAX_DEPTH} deep`)
    const cursor = { links, next: 0, offset: at.offset + data.length, depth: at.depth + 1 }
    let first = 0
    let offset = cursor.offset
    for (; first < links.length && offset + (links[first]?.size ?? 0) <= from; first++)
      offset += links[first]?.size ?? 0
    options.expanded(offset, links.slice(first))
    const index = ahead.indexOf(at)
    const own = at.leaf === undefined ? [] : [at]
    if (at.leaf === undefined) giveBack(at)
    if (index === ahead.length - 1) {
      ahead.splice(index, 1, ...own)
      cursors.push(cursor)
    } else {
      // it was taken for a leaf, so it holds no more than one block's bytes and as many children
      ahead.splice(index, 1, ...own, ...places(cursor))
    }
  }

  isDagPb(root)
  const rootPlace = place({ cid: root, size: GUESS }, 0, 0)
  ahead.push(rootPlace)
  const unsubscribe = shared.onFree(fill)
  const onAbort = () => wake()
  signal.addEventListener('abort', onAbort)
  try {
    for (;;) {
      signal.throwIfAborted()
      const head = ahead[0] ?? nextPlace()
      if (head === undefined) return
      if (ahead.length === 0) ahead.push(head)
      if (head.error !== undefined) throw head.error
      if (head.leaf === undefined) {
        const changed = new Promise<void>((resolve) => {
          wake = resolve
        })
        waiting = true
        fill()
        if (ahead[0] === head && head.leaf === undefined && head.error === undefined) await changed
        waiting = false
        continue
      }
      ahead.shift()
      fill()
      yield head.leaf
      if (!head.leaf.local) allowed = Math.min(window, allowed + head.cost)
      giveBack(head)
    }
  } finally {
    unsubscribe()
    signal.removeEventListener('abort', onAbort)
    end.abort(new Error('the file is no longer read'))
    for (const left of ahead) {
      left.leaf?.release()
      giveBack(left)
    }
  }
}
