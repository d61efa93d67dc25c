import type { CID } from 'multiformats/cid'
import type { Digest } from '../oci/digest.ts'
import { createHashSet, type HashSet, type Sweep } from '../store/index.ts'
import { previewChange } from '../tree/index.ts'
import type { CollectOptions, CollectParts } from './collect.ts'
import { type PrunePlan, planPrune } from './collect-plan.ts'
import { changeOf, isEmpty, takePlan } from './collect-prune.ts'
import { localBlocks } from './collect-reading.ts'
import type { RetiredTag } from './retention.ts'

const keyOf = (multihash: Uint8Array) => Buffer.from(multihash).toString('latin1')

/** The store with a few blocks more, by their multihashes. */
export function withBlocks(sweep: Sweep, more: ReadonlyMap<string, Uint8Array>): Sweep {
  return {
    ...sweep,
    async blocks(multihashes, damaged) {
      const found = await sweep.blocks(multihashes, damaged)
      return found.map((bytes, i) => bytes ?? more.get(keyOf(multihashes[i] as Uint8Array)))
    }
  }
}

/**
 * Takes out of a domain's tree what it needs no longer, part by part. Nobody is told of the roots in between, which
 * therefore keep nothing; those who push meanwhile wait for one part at most.
 *
 * @param imagined gets what would be new, in a dry run; what is in it is seen by `sweep`
 * @param onPart called with what went, or would
 * @returns what the root would be, in a dry run that would change it
 */
export async function prune(
  parts: CollectParts,
  sweep: Sweep,
  domain: string,
  imagined: Map<string, Uint8Array>,
  options: CollectOptions,
  onPart: (part: PrunePlan) => void
): Promise<CID | undefined> {
  const { trees, log } = parts
  const { dryRun, graceMs, retention, signal } = options
  const root = await trees.root(domain)
  if (root === undefined) return undefined
  const base = await trees.base(domain)
  const staying = createHashSet()
  let after: CID | undefined
  let changed = false
  try {
    const pulledThrough = parts.pulledThrough?.(domain) === true
    for await (const part of planPrune(root, {
      sweep,
      graceMs,
      domain,
      base,
      pulledThrough,
      retention,
      signal
    })) {
      if (isEmpty(part)) onPart(part)
      else if (dryRun) {
        const preview = await previewChange(after ?? root, changeOf(domain, part), localBlocks(sweep), signal)
        for (const { cid, bytes } of preview.blocks) imagined.set(keyOf(cid.multihash.bytes), bytes)
        after = preview.root
        onPart(part)
      } else {
        const went = await carryOut(parts, sweep, domain, part, staying, options).catch((error: unknown) => {
          signal.throwIfAborted()
          log.warn({ domain, err: error }, 'a tree could not be cleared of what it needs no longer')
        })
        if (went === undefined) break
        changed = true
        onPart(went)
      }
    }
  } finally {
    if (changed) await trees.announce(domain)
  }
  return after
}

/** Makes a part of a plan a change of the tree. */
async function carryOut(
  { trees, store, treeUses }: CollectParts,
  sweep: Sweep,
  domain: string,
  part: PrunePlan,
  staying: HashSet,
  { retention, signal }: CollectOptions
): Promise<PrunePlan> {
  const since = sweep.startedAt
  const touched = (digest: Digest) => store.uses.touched(digest) >= since
  let taken: Awaited<ReturnType<typeof takePlan>> | undefined
  try {
    await trees.change(
      domain,
      async (view, within) => {
        if (view === undefined) return undefined
        const stands = async (tag: RetiredTag) =>
          retention !== undefined && retention.stands(domain, view, tag, within)
        const options = { view, stands, uses: treeUses, touched, since, staying, signal: within }
        taken = await takePlan(part, options)
        return changeOf(domain, taken.plan)
      },
      { signal, quiet: true, frees: true }
    )
    return taken?.plan ?? { retired: [], manifests: [], layers: [], contents: [], waiting: part.waiting }
  } finally {
    taken?.release()
  }
}
