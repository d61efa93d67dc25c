import type { CID } from 'multiformats/cid'
import { type Digest, splitDigest } from '../oci/digest.ts'
import { createHashSet, type HashSet, type Sweep } from '../store/index.ts'
import type { TreeView } from '../tree/index.ts'
import { askLocal, type LocalTree, type Named, namedBy, openLocal } from './collect-reading.ts'
import type { Retention, RetiredTag } from './retention.ts'
import { subjectOfTag } from './schema-tags.ts'

/** A manifest that a tree no longer needs. */
export interface Superfluous {
  /** The tree's name for the repository. */
  readonly repository: string
  readonly digest: Digest
  /** In bytes. */
  readonly size: number
  readonly named: Pick<Named, 'children' | 'blobs' | 'subject'>
  /** Tags of the referrers tag schema that point at it, with the subject that they speak of. */
  readonly tags: readonly { readonly tag: string; readonly subject: Digest }[]
  /** Tags that have pointed at it. */
  readonly tagHistory: readonly string[]
}

/** What a tree no longer needs. */
export interface PrunePlan {
  readonly root: CID
  /** Tags that retention doesn't keep. */
  readonly retired: readonly RetiredTag[]
  readonly manifests: readonly Superfluous[]
  /** Blobs that repositories have linked for manifests that are gone. */
  readonly layers: readonly { readonly repository: string; readonly digest: Digest }[]
  /** Content that no repository has any more. */
  readonly contents: readonly Digest[]
  /** Content that repositories have only because it was pushed or used within the grace window. */
  readonly waiting: { readonly blobs: number; readonly bytes: number }
}

/** What plans work with. */
export interface PlanOptions {
  readonly sweep: Sweep
  /** What was pushed or used in the last so many milliseconds stays. */
  readonly graceMs: number
  readonly domain: string
  /** The published root that the tree began from. */
  readonly base: CID | undefined
  /** What says which tags go; they all stay without. */
  readonly retention: Retention | undefined
  readonly signal: AbortSignal
}

/**
 * Finds out what a tree no longer needs: manifests without a tag, unless an index or a subject that stays
 * holds them or they are new; what those alone had linked; and content of nobody.
 *
 * A tree that began from a published one is only partly here. What is elsewhere can name nothing but what was
 * in the published tree, so whatever was in that (or may have been) stays.
 */
export async function planPrune(root: CID, options: PlanOptions): Promise<PrunePlan> {
  const tree = openLocal(root, options.sweep)
  const askBase = options.base && askLocal(options.base, options.sweep)
  const { signal } = options
  /** Whether what isn't here may need what `ask` asks the published tree for. */
  const mayBeNeeded = async (ask: (view: TreeView) => Promise<boolean>): Promise<boolean> => {
    if (!tree.elsewhere()) return false
    return (await askBase?.(ask)) !== false
  }
  const retired = (await options.retention?.choose(options.domain, tree.view, signal)) ?? []
  const leaving = new Set(retired.map(({ repository, tag }) => `${repository}:${tag}`))
  const manifests: Superfluous[] = []
  const layers: { repository: string; digest: Digest }[] = []
  const content = { needed: createHashSet(), recent: createHashSet() }
  for await (const repository of tree.view.repositories('', signal)) {
    const plan = await planRepository(repository, { tree, mayBeNeeded, content, leaving }, options)
    manifests.push(...plan.manifests)
    layers.push(...plan.layers.map((digest) => ({ repository, digest })))
  }
  const contents: Digest[] = []
  const waiting = { blobs: 0, bytes: 0 }
  for await (const digest of tree.view.contents(signal)) {
    signal.throwIfAborted()
    if (content.needed.has(nameOf(digest))) continue
    if (content.recent.has(nameOf(digest))) {
      waiting.blobs++
      waiting.bytes += (await options.sweep.blob(digest))?.size ?? 0
      continue
    }
    if (await mayBeNeeded(async (view) => (await view.blob(digest, signal)) !== undefined)) continue
    contents.push(digest)
  }
  return { root, retired, manifests, layers, contents, waiting }
}

const nameOf = (digest: Digest) => Buffer.from(splitDigest(digest).hex, 'hex')

/** What repositories keep. */
interface Kept {
  /** What tags need, and what hangs on that. */
  readonly needed: HashSet
  /** What is kept because it was pushed or used a short while ago. */
  readonly recent: HashSet
}

/** What a repository is judged by. */
interface Judging {
  readonly tree: LocalTree
  /** Whether what isn't here may need what is asked of the published tree. */
  readonly mayBeNeeded: (ask: (view: TreeView) => Promise<boolean>) => Promise<boolean>
  /** Gets what the repository keeps. */
  readonly content: Kept
  /** Tags that are as good as gone, `<repository>:<tag>`. */
  readonly leaving: ReadonlySet<string>
}

async function planRepository(
  repository: string,
  { tree, mayBeNeeded, content, leaving }: Judging,
  { sweep, graceMs, signal }: PlanOptions
): Promise<{ manifests: Superfluous[]; layers: Digest[] }> {
  const { view } = tree
  const kept = new Set<Digest>()
  const linked = createHashSet()
  /** Manifests that may go, with what they name. */
  const open = new Map<Digest, Named>()
  const bySubject = new Map<Digest, Digest[]>()
  const queue: Digest[] = []
  const read = (digest: Digest) => namedBy(sweep, view, repository, digest, signal)

  function keep(digest: Digest, named: Named | undefined, set: HashSet): void {
    kept.add(digest)
    set.add(nameOf(digest))
    if (named === undefined) tree.lacks()
    for (const blob of named?.blobs ?? []) {
      linked.add(nameOf(blob))
      set.add(nameOf(blob))
    }
    queue.push(...(named?.children ?? []), ...(bySubject.get(digest) ?? []))
  }

  const tagged = new Set<Digest>()
  const schemaTags: { tag: string; digest: Digest; subject: Digest }[] = []
  const tags = (await view.tags(repository, signal)).filter((tag) => !leaving.has(`${repository}:${tag}`))
  for await (const [tag, digest] of together(tags, (one) => view.tag(repository, one, signal))) {
    signal.throwIfAborted()
    if (digest === undefined) continue
    const subject = subjectOfTag(tag)
    if (subject !== undefined && (await read(digest))?.isIndex === true)
      schemaTags.push({ tag, digest, subject })
    else tagged.add(digest)
  }
  const revisions: Digest[] = []
  for await (const digest of view.manifests(repository, signal)) revisions.push(digest)
  const untagged = revisions.filter((digest) => !tagged.has(digest))
  for await (const [digest, named] of together(untagged, read)) {
    signal.throwIfAborted()
    // What isn't here, or is of a kind that nobody knows how to read, can't be judged.
    if (named === undefined) tagged.add(digest)
    else open.set(digest, named)
  }
  for (const { digest, subject } of schemaTags) addTo(bySubject, subject, digest)
  for (const [digest, { subject }] of open) if (subject !== undefined) addTo(bySubject, subject, digest)

  async function settle(set: HashSet): Promise<void> {
    for (let digest = queue.pop(); digest !== undefined; digest = queue.pop())
      if (!kept.has(digest)) keep(digest, open.get(digest) ?? (await read(digest)), set)
  }
  for await (const [digest, named] of together([...tagged], read)) {
    signal.throwIfAborted()
    if (!kept.has(digest)) keep(digest, named, content.needed)
    await settle(content.needed)
  }
  for (const digest of open.keys()) {
    signal.throwIfAborted()
    if (kept.has(digest)) continue
    if (await mayBeNeeded((base) => base.hasManifest(repository, digest, signal))) queue.push(digest)
    await settle(content.needed)
  }
  for (const digest of open.keys()) {
    if (!kept.has(digest) && (await sweep.recent(digest, graceMs))) queue.push(digest)
    await settle(content.recent)
  }

  const gone = revisions.filter((digest) => !kept.has(digest))
  const histories =
    gone.length === 0 ? new Map() : await tagHistories(view, repository, new Set(gone), signal)
  const manifests = gone.map((digest) => {
    const { size, ...named } = open.get(digest) as Named
    const tags = schemaTags.filter((one) => one.digest === digest)
    return { repository, digest, size, named, tags, tagHistory: histories.get(digest) ?? [] }
  })
  const layers: Digest[] = []
  for await (const digest of view.layers(repository, signal)) {
    signal.throwIfAborted()
    if (linked.has(nameOf(digest))) continue
    if (await mayBeNeeded((base) => base.hasBlob(repository, digest, signal)))
      content.needed.add(nameOf(digest))
    else if (await sweep.recent(digest, graceMs)) content.recent.add(nameOf(digest))
    else layers.push(digest)
  }
  return { manifests, layers }
}

/** How many things are looked up at once. */
const AT_ONCE = 64

/** Looks up what belongs to each of `items`, some at a time, in order. */
async function* together<T, R>(items: readonly T[], look: (item: T) => Promise<R>): AsyncGenerator<[T, R]> {
  for (let at = 0; at < items.length; at += AT_ONCE) {
    const part = items.slice(at, at + AT_ONCE)
    const found = await Promise.all(part.map(look))
    for (const [i, item] of part.entries()) yield [item, found[i] as R]
  }
}

function addTo(map: Map<Digest, Digest[]>, key: Digest, value: Digest): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [value])
  else list.push(value)
}

/** Which tags have pointed at each of `digests`. */
async function tagHistories(
  view: TreeView,
  repository: string,
  digests: ReadonlySet<Digest>,
  signal: AbortSignal
): Promise<Map<Digest, string[]>> {
  const found = new Map<Digest, string[]>()
  for (const tag of await view.tags(repository, signal)) {
    for await (const digest of view.tagHistory(repository, tag, signal)) {
      if (!digests.has(digest)) continue
      const tags = found.get(digest)
      if (tags === undefined) found.set(digest, [tag])
      else tags.push(tag)
    }
  }
  return found
}
