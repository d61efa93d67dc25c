import type { CID } from 'multiformats/cid'
import type { Block } from '../store/dag.ts'
import type { Directories, LoadBlock } from './directory.ts'
import {
  changeFlat,
  changeShard,
  type DirNode,
  EMPTY_FLAT,
  EMPTY_SHARD,
  type FlatNode,
  keyOf,
  type Link,
  MAX_SHARD_DEPTH,
  type Made,
  SHARD_ABOVE,
  type ShardNode,
  type Slot,
  slotsOf
} from './node.ts'
import { countOf, isMarked, linkAt, markOf } from './table.ts'

/** A change of a tree: `path` comes to point at `link`, or goes (with all below it) when that is `undefined`. */
export interface Edit {
  readonly path: readonly string[]
  readonly link: Link | undefined
}

/** Edits by the first component of their path. A leaf is the new link; `undefined` removes. */
type Plan = Map<string, Link | Plan | undefined>

/** What edits made. */
export interface Edited {
  readonly directories: Directories
  /** New blocks land here, by {@link keyOf}: directories, and small files that are linked anew. */
  readonly blocks: Map<string, Block>
  /** The directories that others took the place of land here; they may be new ones themselves. */
  readonly replaced: CID[]
}

/** What {@link applyEdits} works with. */
export interface EditContext extends Edited {
  readonly load: LoadBlock
  readonly signal: AbortSignal
  /** Small files that edits link, by {@link keyOf}. */
  readonly offered: ReadonlyMap<string, Block>
}

/**
 * Makes the root that `root` becomes through `edits`, applied in order. Only the directories on the
 * edited paths are read, and only those that something changes in are made anew; everything else is shared
 * with the old root. Directories that become empty go, except the root.
 *
 * Small directories are one node each; one whose block would pass {@link SHARD_ABOVE} is sharded, and
 * becomes one node again when it fits.
 */
export async function applyEdits(
  root: Link | undefined,
  edits: readonly Edit[],
  context: EditContext
): Promise<Link> {
  let at = root
  for (const plan of plansOf(edits)) at = await change(at, plan, context)
  return at ?? keep(changeFlat(EMPTY_FLAT, []), context)
}

/**
 * What edits come to, in as few plans as keep their order: within a plan, of puts or of removals alone, the order
 * of names doesn't matter. What is put below something that was put just before it is for the next plan.
 */
function plansOf(edits: readonly Edit[]): Plan[] {
  const plans: Plan[] = []
  let plan: Plan = new Map()
  let removes: boolean | undefined
  for (const edit of edits) {
    if ((edit.link === undefined) !== removes || !enter(plan, edit)) {
      removes = edit.link === undefined
      plan = new Map()
      plans.push(plan)
      enter(plan, edit)
    }
  }
  return plans
}

/** Adds an edit to a plan of its kind; `false` when it goes below a link that the plan puts. */
function enter(plan: Plan, { path, link }: Edit): boolean {
  let at = plan
  for (const name of path.slice(0, -1)) {
    let below = at.get(name)
    if (!(below instanceof Map)) {
      // a folder that goes takes along what is below it
      if (at.has(name)) return below === undefined
      below = new Map()
      at.set(name, below)
    }
    at = below
  }
  at.set(path.at(-1) as string, link)
  return true
}

/** The new blocks that are reachable from `root`: all but those that a later edit made superfluous. */
export async function reachable(
  root: CID,
  { blocks: made, replaced, directories }: Edited
): Promise<Iterable<Block>> {
  if (!replaced.some((cid) => made.has(keyOf(cid)))) return made.values()
  const found: Block[] = []
  const queue = [root]
  const seen = new Set<string>()
  // Nearly all links of a large directory are old; a look at four bytes tells, where taking out a CID takes long.
  const marks = new Set([...made.values()].map(({ cid }) => markOf(cid)))
  for (let cid = queue.pop(); cid !== undefined; cid = queue.pop()) {
    const key = keyOf(cid)
    const block = made.get(key)
    if (block === undefined || seen.has(key)) continue
    seen.add(key)
    found.push(block)
    if (cid.code !== 0x70) continue
    const { table } = await directories.load(cid, async () => block.bytes, new AbortController().signal)
    for (let i = 0; i < countOf(table); i++) if (isMarked(table, i, marks)) queue.push(linkAt(table, i).cid)
  }
  return found
}

const sameLink = (a: Link | undefined, b: Link | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && a.size === b.size && a.cid.equals(b.cid))

/** A directory through `plan`; `undefined` when nothing is left in it. */
async function change(dir: Link | undefined, plan: Plan, context: EditContext): Promise<Link | undefined> {
  const { directories, load, signal } = context
  const puts = new Map<string, Link | undefined>()
  if (dir !== undefined) await readAhead(dir, [...plan.keys()], context)
  for (const [name, step] of plan) {
    const old = dir && (await directories.entry(dir.cid, name, load, signal))
    const link = step instanceof Map ? await change(old, step, context) : step
    // Most of a push is in the tree already: base layers, and their link files.
    if (sameLink(old, link)) continue
    puts.set(name, link)
    const key = link === undefined ? '' : keyOf(link.cid)
    const file = context.offered.get(key)
    if (file !== undefined) context.blocks.set(key, file)
  }
  if (puts.size === 0) return dir
  const node = dir === undefined ? EMPTY_FLAT : await directories.load(dir.cid, load, signal)
  if (dir !== undefined) context.replaced.push(dir.cid)
  return node.kind === 'flat' ? changedFlat(node, puts, context) : changedSharded(node, puts, context)
}

/** How many entries are looked up at once. */
const AT_ONCE = 64

/** Reads the shards that hold `names` together, where there are many. */
async function readAhead(
  dir: Link,
  names: readonly string[],
  { directories, load, signal }: EditContext
): Promise<void> {
  if (names.length < 8 || (await directories.load(dir.cid, load, signal)).kind === 'flat') return
  for (let at = 0; at < names.length; at += AT_ONCE)
    await Promise.all(
      names.slice(at, at + AT_ONCE).map((name) => directories.entry(dir.cid, name, load, signal))
    )
}

async function changedFlat(
  old: FlatNode,
  puts: ReadonlyMap<string, Link | undefined>,
  context: EditContext
): Promise<Link | undefined> {
  const made = changeFlat(old, puts)
  const { links } = made.node
  if (links.size === 0) return undefined
  if (made.block.bytes.length <= SHARD_ABOVE) return keep(made, context)
  const slots = await slotChanges(EMPTY_SHARD, await hashed(links), 0, context)
  return keep(changeShard(EMPTY_SHARD, slots), context)
}

async function changedSharded(
  old: ShardNode,
  puts: ReadonlyMap<string, Link | undefined>,
  context: EditContext
): Promise<Link | undefined> {
  const made = changeShard(old, await slotChanges(old, await hashed(puts), 0, context))
  if (made.node.slots.size === 0) return undefined
  const removed = [...puts.values()].includes(undefined)
  const links = removed ? await flatten(made.node, context) : undefined
  return keep(links ?? made, context)
}

interface HashedPut {
  readonly name: string
  readonly path: Uint8Array
  readonly link: Link | undefined
}

async function hashed(puts: Iterable<readonly [string, Link | undefined]>): Promise<HashedPut[]> {
  return Promise.all([...puts].map(async ([name, link]) => ({ name, link, path: await slotsOf(name) })))
}

/** What becomes of the slots of one node of a HAMT that `puts` fall into. */
async function slotChanges(
  old: ShardNode,
  puts: readonly HashedPut[],
  depth: number,
  context: EditContext
): Promise<Map<number, Slot | undefined>> {
  if (depth >= MAX_SHARD_DEPTH) throw new RangeError('two names of one directory have the same hash')
  const groups = [...Map.groupBy(puts, (put) => put.path[depth] as number)]
  // At most 256, which are independent of each other; the shards below are read together.
  return new Map(
    await Promise.all(
      groups.map(
        async ([at, group]) => [at, await changedSlot(old.slots.get(at), group, depth, context)] as const
      )
    )
  )
}

/** One slot through `puts`. Canonical: a shard below holds at least two entries. */
async function changedSlot(
  old: Slot | undefined,
  puts: readonly HashedPut[],
  depth: number,
  context: EditContext
): Promise<Slot | undefined> {
  let below = EMPTY_SHARD
  let all = puts
  if (old !== undefined && old.name === undefined) {
    const node = await context.directories.load(old.link.cid, context.load, context.signal)
    if (node.kind === 'shard') below = node
    context.replaced.push(old.link.cid)
  } else if (old?.name !== undefined && !puts.some((put) => put.name === old.name)) {
    all = [{ name: old.name, link: old.link, path: await slotsOf(old.name) }, ...puts]
  }
  if (below.slots.size === 0) {
    const kept = all.filter((put): put is HashedPut & { link: Link } => put.link !== undefined)
    if (kept.length === 0) return undefined
    if (kept.length === 1) return kept[0]
    all = kept
  }
  const made = changeShard(below, await slotChanges(below, all, depth + 1, context))
  if (made.node.slots.size === 0) return undefined
  const [only] = made.node.slots.values()
  if (made.node.slots.size === 1 && only?.name !== undefined) return only
  return { name: undefined, link: keep(made, context) }
}

/** The entries below a shard in one flat node, if they fit one again; reads no further than it takes to know. */
async function flatten(shard: ShardNode, context: EditContext): Promise<Made<FlatNode> | undefined> {
  const links = new Map<string, Link>()
  const left: CID[] = []
  let bytes = 0
  const queue = [shard]
  for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
    for (const slot of node.slots.values()) {
      if (slot.name === undefined) {
        const below = await context.directories.load(slot.link.cid, context.load, context.signal)
        if (below.kind === 'shard') queue.push(below)
        left.push(slot.link.cid)
        continue
      }
      links.set(slot.name, slot.link)
      bytes += slot.name.length + slot.link.cid.byteLength
      if (bytes > SHARD_ABOVE) return undefined
    }
  }
  const made = changeFlat(EMPTY_FLAT, links)
  if (made.block.bytes.length > SHARD_ABOVE) return undefined
  context.replaced.push(...left)
  return made
}

function keep({ block, node }: Made<DirNode>, context: EditContext): Link {
  context.blocks.set(keyOf(block.cid), block)
  context.directories.remember(block.cid, node)
  return { cid: block.cid, size: block.bytes.length + node.table.total }
}
