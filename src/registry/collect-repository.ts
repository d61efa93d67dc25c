import { type Digest, splitDigest } from '../oci/digest.ts'
import { createHashSet, type HashSet, type Sweep } from '../store/index.ts'
import type { TreeView } from '../tree/index.ts'
import { togetherOnly } from './collect-groups.ts'
import type { PlanOptions, PrunePlan } from './collect-plan.ts'
import { type LocalTree, type Named, namedBy } from './collect-reading.ts'
import { subjectOfTag } from './schema-tags.ts'

/** Something that goes from a repository at once. */
export type Piece = Partial<Pick<PrunePlan, 'retired' | 'manifests'> & { layers: readonly Digest[] }>

/** What a digest is called in a set. */
export const nameOf = (digest: Digest) => Buffer.from(splitDigest(digest).hex, 'hex')

/** What repositories keep. */
interface Kept {
  /** What tags need, and what hangs on that. */
  readonly needed: HashSet
  /** What is kept because it was pushed or used a short while ago. */
  readonly recent: HashSet
}

/** What a repository is judged by. */
export interface Judging {
  readonly tree: LocalTree
  /** Whether what isn't here may need what is asked of the published tree. */
  readonly mayBeNeeded: (ask: (view: TreeView) => Promise<boolean>) => Promise<boolean>
  /** Gets what the repository keeps. */
  readonly content: Kept
}

/** What a repository no longer needs: tags, then manifests, then blobs. Holds what the repository's manifests name. */
export async function* planRepository(
  repository: string,
  { tree, mayBeNeeded, content }: Judging,
  { sweep, graceMs, domain, pulledThrough, retention, signal }: PlanOptions
): AsyncGenerator<Piece> {
  const { view } = tree
  const retired = (await retention?.choose(domain, view, repository, signal)) ?? []
  const leaving = new Set(retired.map(({ tag }) => tag))
  for (const tag of retired) yield { retired: [tag] }
  const kept = new Set<Digest>()
  const linked = createHashSet()
  const listed = new Set<Digest>()
  /** Manifests that may go, with what they name. */
  const open = new Map<Digest, Named>()
  const bySubject = new Map<Digest, Digest[]>()
  const queue: Digest[] = []
  const read = (digest: Digest) => namedBy(sweep, view, repository, digest, signal)

  function keep(digest: Digest, named: Named | undefined, set: HashSet): void {
    kept.add(digest)
    set.add(nameOf(digest))
    // a child that the tree never had names nothing of it: only some platforms of an index were pulled through
    if (named === undefined && listed.has(digest)) tree.lacks()
    for (const blob of named?.blobs ?? []) {
      linked.add(nameOf(blob))
      set.add(nameOf(blob))
    }
    queue.push(...(named?.children ?? []), ...(bySubject.get(digest) ?? []))
  }

  const tagged = new Set<Digest>()
  const schemaTags: { tag: string; digest: Digest; subject: Digest }[] = []
  const tags = (await view.tags(repository, signal)).filter((tag) => !leaving.has(tag))
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
  for (const digest of revisions) listed.add(digest)
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
  if (pulledThrough) {
    // an index after its images, one of which it leads to
    const whole = new Set<Digest>()
    for await (const [digest, isWhole] of together([...open.keys()], (one) =>
      isWholeInCache(sweep, open.get(one))
    ))
      if (isWhole) whole.add(digest)
    for (const [digest, { children }] of open)
      if (whole.has(digest) || children.some((child) => whole.has(child) || kept.has(child)))
        queue.push(digest)
    await settle(content.needed)
  }
  for (const digest of open.keys()) {
    if (!kept.has(digest) && (await sweep.recent(digest, graceMs))) queue.push(digest)
    await settle(content.recent)
  }

  const gone = revisions.filter((digest) => !kept.has(digest))
  const histories =
    gone.length === 0 ? new Map() : await tagHistories(view, repository, new Set(gone), signal)
  const schemaTagsOf = Map.groupBy(schemaTags, ({ digest }) => digest)
  const manifests = gone.map((digest) => {
    const { size, ...named } = open.get(digest) as Named
    const tags = schemaTagsOf.get(digest) ?? []
    return { repository, digest, size, named, tags, tagHistory: histories.get(digest) ?? [] }
  })
  for (const group of togetherOnly(manifests)) yield { manifests: group }
  const layers: Digest[] = []
  for await (const digest of view.layers(repository, signal))
    if (!linked.has(nameOf(digest))) layers.push(digest)
  for await (const [digest, isRecent] of together(layers, (one) => sweep.recent(one, graceMs))) {
    signal.throwIfAborted()
    if (await mayBeNeeded((base) => base.hasBlob(repository, digest, signal)))
      content.needed.add(nameOf(digest))
    else if (isRecent) content.recent.add(nameOf(digest))
    else yield { layers: [digest] }
  }
}

/** Whether all blobs of an image are here, and none was pushed: it can be pulled without its upstream. */
async function isWholeInCache(
  sweep: Pick<Sweep, 'blob' | 'cached'>,
  { blobs = [] }: Partial<Named> = {}
): Promise<boolean> {
  for (const digest of blobs) {
    const blob = await sweep.blob(digest)
    if (blob === undefined || !(await sweep.cached(blob))) return false
  }
  return blobs.length > 0
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
  const historyOf = async (tag: string) => {
    const history: Digest[] = []
    for await (const digest of view.tagHistory(repository, tag, signal)) history.push(digest)
    return history
  }
  for await (const [tag, history] of together(await view.tags(repository, signal), historyOf)) {
    for (const digest of history) {
      if (!digests.has(digest)) continue
      const tags = found.get(digest)
      if (tags === undefined) found.set(digest, [tag])
      else tags.push(tag)
    }
  }
  return found
}
