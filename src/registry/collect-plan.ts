import type { CID } from 'multiformats/cid'
import type { Digest } from '../oci/digest.ts'
import { createHashSet, type Sweep } from '../store/index.ts'
import type { TreeView } from '../tree/index.ts'
import { askLocal, type Named, openLocal } from './collect-reading.ts'
import { nameOf, planRepository } from './collect-repository.ts'
import type { Retention, RetiredTag } from './retention.ts'

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

/** Part of what a tree no longer needs. */
export interface PrunePlan {
  /** Tags that retention doesn't keep. */
  readonly retired: RetiredTag[]
  readonly manifests: Superfluous[]
  /** Blobs that repositories have linked for manifests that are gone. */
  readonly layers: { readonly repository: string; readonly digest: Digest }[]
  /** Content that no repository has any more. */
  readonly contents: Digest[]
  /** Content that repositories have only because it was pushed or used within the grace window. */
  readonly waiting: { blobs: number; bytes: number }
}

/** What plans work with. */
export interface PlanOptions {
  readonly sweep: Sweep
  /** What was pushed or used in the last so many milliseconds stays. */
  readonly graceMs: number
  readonly domain: string
  /** The published root that the tree began from. */
  readonly base: CID | undefined
  /** Whether the domain has an upstream: images that came from there stay as long as they are whole in the cache. */
  readonly pulledThrough: boolean
  /** What says which tags go; they all stay without. */
  readonly retention: Retention | undefined
  readonly signal: AbortSignal
}

/** How much a part of a plan removes, unless what must go together is more. */
const PART = 1000

const nothing = (): PrunePlan => ({
  retired: [],
  manifests: [],
  layers: [],
  contents: [],
  waiting: { blobs: 0, bytes: 0 }
})

/**
 * Finds out what a tree no longer needs: manifests without a tag, unless an index or a subject that stays
 * holds them or they are new; what those alone had linked; and content of nobody. It comes in parts, so that
 * neither memory nor the time that a change takes grows with the tree; a tree without the first parts is sound.
 *
 * A tree that began from a published one is only partly here. What is elsewhere can name nothing but what was
 * in the published tree, so whatever was in that (or may have been) stays.
 */
export async function* planPrune(root: CID, options: PlanOptions): AsyncGenerator<PrunePlan> {
  const tree = openLocal(root, options.sweep)
  const askBase = options.base && askLocal(options.base, options.sweep)
  const { signal } = options
  /** Whether what isn't here may need what `ask` asks the published tree for. */
  const mayBeNeeded = async (ask: (view: TreeView) => Promise<boolean>): Promise<boolean> => {
    if (!tree.elsewhere()) return false
    return (await askBase?.(ask)) !== false
  }
  const content = { needed: createHashSet(), recent: createHashSet() }
  let part = nothing()
  for await (const repository of tree.view.repositories('', signal)) {
    for await (const more of planRepository(repository, { tree, mayBeNeeded, content }, options)) {
      if (sizeOf(part) + sizeOf(more) > PART) {
        yield part
        part = nothing()
      }
      part.retired.push(...(more.retired ?? []))
      part.manifests.push(...(more.manifests ?? []))
      part.layers.push(...(more.layers ?? []).map((digest) => ({ repository, digest })))
    }
  }
  for await (const digest of tree.view.contents(signal)) {
    signal.throwIfAborted()
    if (content.needed.has(nameOf(digest))) continue
    if (content.recent.has(nameOf(digest))) {
      part.waiting.blobs++
      part.waiting.bytes += (await options.sweep.blob(digest))?.size ?? 0
      continue
    }
    if (await mayBeNeeded(async (view) => (await view.blob(digest, signal)) !== undefined)) continue
    part.contents.push(digest)
    if (sizeOf(part) < PART) continue
    yield part
    part = nothing()
  }
  yield part
}

const sizeOf = (plan: { [K in 'retired' | 'manifests' | 'layers' | 'contents']?: readonly unknown[] }) =>
  [plan.retired, plan.manifests, plan.layers, plan.contents].reduce((sum, list = []) => sum + list.length, 0)
