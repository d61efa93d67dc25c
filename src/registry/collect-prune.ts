import type { Digest } from '../oci/digest.ts'
import { type HashSet, recordRow, type Uses } from '../store/index.ts'
import {
  type Change,
  joinChanges,
  removeBlob,
  removeContent,
  removeManifest,
  removeTag,
  removeTagHistory,
  type TreeView
} from '../tree/index.ts'
import type { PrunePlan, Superfluous } from './collect-plan.ts'
import { nameOf } from './collect-repository.ts'
import type { RetiredTag } from './retention.ts'
import { tagTimeKey } from './tag-times.ts'

/** The change that carries a plan out. */
export function changeOf(domain: string, { retired, manifests, layers, contents }: PrunePlan): Change {
  // What lies deeper first: an edit below a folder that goes would bring the folder back.
  const histories = manifests.flatMap(({ repository, digest, tagHistory }) =>
    tagHistory.map((tag) => removeTagHistory(repository, tag, digest))
  )
  const revisions = manifests.map(({ repository, digest, named, tags }) =>
    removeManifest(
      repository,
      digest,
      tags.map(({ tag }) => tag),
      named.subject
    )
  )
  const tags = retired.map(({ repository, tag }) => ({
    ...removeTag(repository, tag),
    rows: [recordRow(tagTimeKey(domain, repository, tag), undefined)]
  }))
  return joinChanges([
    ...histories,
    ...tags,
    ...revisions,
    ...layers.map(({ repository, digest }) => removeBlob(repository, digest)),
    ...contents.map(removeContent)
  ])
}

export const isEmpty = ({ retired, manifests, layers, contents }: PrunePlan) =>
  retired.length + manifests.length + layers.length + contents.length === 0

/** What a plan is checked with when its turn in the tree's queue has come. */
export interface TakeOptions {
  readonly view: TreeView
  /** Whether a tag that is to go still is what it was. */
  readonly stands: (tag: RetiredTag) => Promise<boolean>
  /** Of trees: pushes say there what their manifest names before they look for it. */
  readonly uses: Uses
  /** Whether content was used since the plans were begun, at `since` on the clock of `performance.now()`. */
  readonly touched: (digest: Digest) => boolean
  readonly since: number
  /** What stays because of the parts before this one, by {@link nameOf}; gets what stays because of this one. */
  readonly staying: HashSet
  readonly signal: AbortSignal
}

/**
 * A plan as it is when its turn in the tree's queue has come: without what somebody has begun to rely on since
 * it was made, and what hangs on that. Those who come later wait until `release` is called, by when the change
 * must be durable.
 */
export async function takePlan(
  plan: PrunePlan,
  { view, stands, uses, touched, since, staying, signal }: TakeOptions
): Promise<{ plan: PrunePlan; release(): void }> {
  const retired: RetiredTag[] = []
  for (const tag of plan.retired) if (await stands(tag)) retired.push(tag)
  const moved = new Set<Superfluous>()
  for (const manifest of plan.manifests) {
    for (const { tag } of manifest.tags)
      if ((await view.tag(manifest.repository, tag, signal)) !== manifest.digest) moved.add(manifest)
  }
  // From here to the end in one turn.
  const all = [
    ...plan.manifests.flatMap(({ digest, named, tags }) => [
      digest,
      ...(named.subject === undefined ? [] : [named.subject]),
      ...tags.map(({ subject }) => subject)
    ]),
    ...plan.layers.map(({ digest }) => digest),
    ...plan.contents
  ]
  const { digests, release } = uses.condemn(
    all.filter((digest) => !touched(digest)),
    since
  )
  const used = (digest: Digest | undefined) => digest !== undefined && !digests.has(digest)
  return { plan: { ...without(plan, used, moved, staying), retired }, release }
}

/** The plan without what is used, and what hangs on it: what it names, and what refers to it. */
function without(
  plan: PrunePlan,
  used: (digest: Digest | undefined) => boolean,
  moved: ReadonlySet<Superfluous>,
  staying: HashSet
): PrunePlan {
  const stay = (digest: Digest) => void staying.add(nameOf(digest))
  const isStaying = (digest: Digest) => staying.size > 0 && staying.has(nameOf(digest))
  const left = new Set<Superfluous>()
  const stays = (manifest: Superfluous) =>
    moved.has(manifest) ||
    used(manifest.digest) ||
    used(manifest.named.subject) ||
    isStaying(manifest.digest) ||
    (manifest.named.subject !== undefined && isStaying(manifest.named.subject)) ||
    manifest.tags.some(({ subject }) => used(subject) || isStaying(subject))
  for (let before = -1; before !== left.size; ) {
    before = left.size
    for (const manifest of plan.manifests) {
      if (left.has(manifest) || !stays(manifest)) continue
      left.add(manifest)
      for (const digest of [manifest.digest, ...manifest.named.children, ...manifest.named.blobs])
        stay(digest)
    }
  }
  const layers = plan.layers.filter(({ digest }) => !used(digest) && !isStaying(digest))
  const going = new Set(layers)
  for (const layer of plan.layers) if (!going.has(layer)) stay(layer.digest)
  return {
    retired: plan.retired,
    waiting: plan.waiting,
    manifests: plan.manifests.filter((manifest) => !left.has(manifest)),
    layers,
    contents: plan.contents.filter((digest) => !used(digest) && !isStaying(digest))
  }
}
