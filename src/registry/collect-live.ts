import type { CID } from 'multiformats/cid'
import { type Digest, splitDigest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import type { HashSet, Sweep } from '../store/index.ts'
import { type MarkOptions, markTree, type TreeWriter } from '../tree/index.ts'
import type { CollectParts } from './collect.ts'
import { sha256In } from './collect-reading.ts'
import { type LinkRecord, linkedIn } from './links.ts'
import { pinnedRoots } from './pins.ts'

/** Roots that a domain needs besides its current one: those it published last, and the one that its records name. */
export async function keptRoots(
  parts: Pick<CollectParts, 'history' | 'lastPublished' | 'trees'>,
  domain: string
): Promise<CID[]> {
  const roots = (await parts.history.list(domain)).map(({ root }) => root)
  // The gateway may have gone on by more roots than are kept while the name servers still name this one.
  const named = await parts.lastPublished(domain)
  if (named !== undefined && (await parts.trees.had(domain, named))) roots.push(named)
  return roots
}

/** Marks what belongs to a tree, as far as it is here. */
export function markRoot(
  sweep: Sweep,
  root: CID,
  live: HashSet,
  signal: AbortSignal,
  more: Pick<MarkOptions, 'onlyBlobs' | 'onMissing'>
): Promise<void> {
  return markTree(root, {
    blocks: (multihashes) => sweep.blocks(multihashes, more.onlyBlobs === undefined ? 'refuse' : 'pass over'),
    sha256Of: (digest) => sha256In(sweep, digest),
    live,
    signal,
    ...more
  })
}

/**
 * What happens at a directory of a tree of our own that isn't here: what it names is not known then, so nothing
 * may be removed.
 */
function refuse(tree: string): (cid: CID) => never {
  return (cid) => {
    throw new RegistryError(
      'UNAVAILABLE',
      `nothing was removed, because ${tree} lacks its directory ${cid}, and what that names would go: run seaway verify, or make an earlier root current with seaway history`
    )
  }
}

/**
 * What is in use on its own account: trees of our own, the roots that are kept, pins, and blobs that were
 * uploaded a short while ago, or for a push that may still go on. Links to other blobs are removed.
 *
 * @param run.roots what domains' trees are, where that isn't what the writer says (in a dry run)
 * @param yielding gets what trees have that are pulled through, instead of `live`
 */
export async function markOwn(
  parts: CollectParts,
  sweep: Sweep,
  run: { roots: ReadonlyMap<string, CID>; graceMs: number; dryRun: boolean; signal: AbortSignal },
  live: HashSet,
  yielding = live
): Promise<void> {
  const { signal } = run
  for await (const domain of parts.trees.domains()) {
    const current = run.roots.get(domain) ?? (await parts.trees.root(domain))
    // A tree that began from a published one has most of its directories elsewhere.
    const partial = (await parts.trees.base(domain)) !== undefined
    const more = partial ? {} : { onMissing: refuse(`the tree of ${domain}`) }
    const marks = parts.pulledThrough?.(domain) === true ? yielding : live
    if (current !== undefined) await markRoot(sweep, current, marks, signal, more)
    for (const root of await keptRoots(parts, domain)) await markRoot(sweep, root, live, signal, {})
  }
  for await (const root of pinnedRoots(parts.store.records)) await markRoot(sweep, root, live, signal, {})
  await markLinks(parts, sweep, run, live)
}

/**
 * Blobs that no manifest names yet. The links of a repository age together: a push whose last layer takes longer
 * than the grace window needs its first one too.
 */
async function markLinks(
  parts: CollectParts,
  sweep: Sweep,
  { graceMs, dryRun, signal }: { graceMs: number; dryRun: boolean; signal: AbortSignal },
  live: HashSet
): Promise<void> {
  const before = Date.now() - graceMs - (performance.now() - sweep.startedAt)
  const since = sweep.startedAt - graceMs
  const isYoung = ({ digest, at }: LinkRecord) =>
    (graceMs > 0 && at >= before) || parts.store.uses.touched(digest) >= since
  // Uploads first: one that ends from here on leaves a young link.
  const pushedTo = new Set(parts.uploads.inProgress(graceMs).map(linkedIn))
  for await (const link of parts.links.list()) {
    signal.throwIfAborted()
    if (isYoung(link)) pushedTo.add(link.repository)
  }
  let old: string[] = []
  const removeOld = async () => {
    if (!dryRun) await sweep.removeRecords(old)
    old = []
  }
  for await (const link of parts.links.list()) {
    signal.throwIfAborted()
    if (pushedTo.has(link.repository) || isYoung(link)) live.add(await sha256(sweep, link.digest))
    else old.push(link.key)
    if (old.length >= 256) await removeOld()
  }
  await removeOld()
}

async function sha256(sweep: Sweep, digest: Digest): Promise<Uint8Array> {
  return (await sha256In(sweep, digest)) ?? Buffer.from(splitDigest(digest).hex, 'hex')
}

/** How many trees of others are kept at most, whatever room there is. */
const MAX_PULLED = 1000

/**
 * Marks what is here of the trees of others that were read lately, but for blobs that aren't here on their own
 * account.
 *
 * @param cutoff trees used last before this (epoch ms) leave with the blobs that the cache gave up
 */
export async function markPulled(
  parts: CollectParts,
  sweep: Sweep,
  run: { cutoff: number | undefined; dryRun: boolean; signal: AbortSignal },
  blobs: HashSet,
  live: HashSet
): Promise<void> {
  const domains: string[] = []
  for await (const domain of parts.trees.domains()) domains.push(domain)
  const old: CID[] = []
  for (const [i, { root, used }] of (await parts.pulled.list()).entries()) {
    if (i >= MAX_PULLED || used <= (run.cutoff ?? 0)) old.push(root)
    // A former root of our own that was asked for by its CID is no cache: it is kept, or it isn't.
    else if (!(await isOurs(parts.trees, domains, root)))
      await markRoot(sweep, root, live, run.signal, { onlyBlobs: blobs })
  }
  if (!run.dryRun) await parts.pulled.forget(old)
}

async function isOurs(trees: TreeWriter, domains: readonly string[], root: CID): Promise<boolean> {
  for (const domain of domains) {
    const ours = (await trees.had(domain, root)) && (await trees.base(domain))?.equals(root) !== true
    if (ours) return true
  }
  return false
}
