import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import type { Digest } from '../oci/digest.ts'
import { createHashSet, type Store, type Sweep, type SweptBlob, type Uses } from '../store/index.ts'
import type { TreeWriter } from '../tree/index.ts'
import { markOwn, markPulled } from './collect-live.ts'
import { forgetPast } from './collect-past.ts'
import type { PulledRoots } from './collect-pulled.ts'
import { prune, withBlocks } from './collect-tree.ts'
import type { History } from './history.ts'
import type { Links } from './links.ts'
import type { Retention } from './retention.ts'
import type { Uploads } from './uploads.ts'

/** What a collection works with. */
export interface CollectParts {
  readonly store: Store
  readonly trees: TreeWriter
  /** Who relies on which manifests and blobs of trees: pushes say so there. */
  readonly treeUses: Uses
  readonly links: Links
  readonly uploads: Pick<Uploads, 'inProgress'>
  readonly history: History
  readonly pulled: PulledRoots
  /** The root that a domain's records named when they were read last. */
  readonly lastPublished: (domain: string) => Promise<CID | undefined>
  /** Bytes that cached content may take; `undefined` for all there is. */
  readonly cacheLimit: number | undefined
  /** Whether what a domain's tree has of others can be had again from its upstream. */
  readonly pulledThrough?: (domain: string) => boolean
  readonly log: Log
}

/** How a collection is run. */
export interface CollectOptions {
  /** Only finds out what would go. */
  readonly dryRun: boolean
  /** What was used or written in the last so many milliseconds stays. */
  readonly graceMs: number
  /** What says which tags go first; they all stay without. */
  readonly retention?: Retention | undefined
  readonly signal: AbortSignal
  readonly progress: (report: { what: string; done: number; unit: 'items' }) => void
}

/** A manifest that went from a tree, or would. */
export interface CollectedManifest {
  readonly domain: string
  /** The tree's name for it. */
  readonly repository: string
  readonly digest: Digest
  /** In bytes. */
  readonly size: number
  /** Tags of the referrers tag schema that went with it. */
  readonly tags: readonly string[]
}

/** What a collection did, or would do. Sizes in bytes. */
export interface Collected {
  readonly dryRun: boolean
  /** Tags that retention doesn't keep: as clients name them, and when they were pushed (ISO 8601). */
  readonly tags: readonly { readonly image: string; readonly pushed: string }[]
  readonly manifests: readonly CollectedManifest[]
  readonly blobs: readonly SweptBlob[]
  /** Tags, manifests and blobs that went beside those listed: a list has {@link MAX_LISTED} at most. */
  readonly unlisted: number
  /** What went in all. */
  readonly freed: {
    readonly blobs: number
    readonly blobBytes: number
    /** Rows of the index: directories and other small blocks, places of leaves. */
    readonly rows: number
    readonly rowBytes: number
    /** Files that a crash had left. */
    readonly files: number
    readonly fileBytes: number
    readonly bytes: number
  }
  /** What nothing needs either, but was used or written within the grace window. */
  readonly waiting: { readonly blobs: number; readonly bytes: number }
  /** Cached content that no tree here needs. */
  readonly cachedBytes: number
}

/** How many manifests, and blobs, a result lists. */
export const MAX_LISTED = 50_000

/** A list that doesn't grow past {@link MAX_LISTED}. */
function boundedList<T>() {
  const items: T[] = []
  let more = 0
  return {
    items,
    more: () => more,
    count: () => items.length + more,
    add(item: T) {
      if (items.length < MAX_LISTED) items.push(item)
      else more++
    }
  }
}

/**
 * Removes what nothing needs any more, while everything else goes on: manifests that no tag, index or subject
 * holds leave their trees; then blobs and blocks go that no tree, kept root, pin, pull or upload names. See
 * `store/uses.ts` for how those who push at the same time are kept from losing anything.
 */
export async function collect(parts: CollectParts, options: CollectOptions): Promise<Collected> {
  await parts.store.sweeper.saveUses()
  // Asking brings image layouts in step: before anything is counted, and not meanwhile.
  for await (const domain of parts.trees.domains()) await parts.trees.root(domain)
  return parts.store.sweeper.run(options.signal, (sweep) => collectNow(parts, sweep, options))
}

async function collectNow(parts: CollectParts, real: Sweep, options: CollectOptions): Promise<Collected> {
  const { dryRun, graceMs, signal, progress } = options
  // In a dry run trees are what they would be: what is new in them is here.
  const imagined = new Map<string, Uint8Array>()
  const sweep = dryRun ? withBlocks(real, imagined) : real
  const tags = boundedList<Collected['tags'][number]>()
  const manifests = boundedList<CollectedManifest>()
  const blobs = boundedList<SweptBlob>()
  const roots = new Map<string, CID>()
  const live = createHashSet()
  const waiting = { blobs: 0, bytes: 0 }
  for await (const domain of parts.trees.domains()) {
    const looked = () =>
      progress({ what: `looking through ${domain}`, done: manifests.count(), unit: 'items' })
    looked()
    const root = await prune(parts, sweep, domain, imagined, options, (pruned) => {
      for (const { image, at } of pruned.retired) tags.add({ image, pushed: new Date(at).toISOString() })
      for (const { repository, digest, size, tags: schema } of pruned.manifests)
        manifests.add({ domain, repository, digest, size, tags: schema.map(({ tag }) => tag) })
      waiting.blobs += pruned.waiting.blobs
      waiting.bytes += pruned.waiting.bytes
      looked()
    })
    if (root !== undefined) roots.set(domain, root)
  }
  progress({ what: 'marking what is in use', done: 0, unit: 'items' })
  const yielding = createHashSet()
  await markOwn(parts, sweep, { roots, graceMs, dryRun, signal }, live, yielding)
  progress({ what: 'removing blobs', done: 0, unit: 'items' })
  const freed = { blobs: 0, blobBytes: 0, rows: 0, rowBytes: 0, files: 0, fileBytes: 0, bytes: 0 }
  const swept = await sweep.blobs({
    live,
    yielding,
    garbage: true,
    graceMs,
    cacheLimit: parts.cacheLimit,
    dryRun,
    signal,
    onSwept(blob) {
      blobs.add(blob)
      freed.blobs++
      freed.blobBytes += blob.size
    }
  })
  // of what is pulled through, directories and manifests stay
  if (parts.pulledThrough !== undefined) await markOwn(parts, sweep, { roots, graceMs, dryRun, signal }, live)
  progress({ what: 'removing directories', done: freed.blobs, unit: 'items' })
  const rows = await sweep.rows({
    live,
    gone: swept.gone,
    dryRun,
    signal,
    async more(here) {
      await markPulled(parts, sweep, { cutoff: swept.cutoff, dryRun, signal }, here, live)
      // What trees have become meanwhile: they may share directories with what was unused before.
      if (!dryRun) await markOwn(parts, sweep, { roots: new Map(), graceMs, dryRun, signal }, live)
    }
  })
  if (!dryRun) await forgetPast(parts, sweep, signal)
  freed.rows = rows.blocks.rows + rows.others.rows
  freed.rowBytes = rows.blocks.bytes + rows.others.bytes
  freed.files = rows.files.count
  freed.fileBytes = rows.files.bytes
  freed.bytes = freed.blobBytes + freed.rowBytes + freed.fileBytes
  waiting.blobs += swept.waiting.blobs
  waiting.bytes += swept.waiting.bytes
  parts.log.info({ dryRun, ...freed, waiting }, 'collected')
  return {
    dryRun,
    tags: tags.items,
    manifests: manifests.items,
    blobs: blobs.items,
    unlisted: tags.more() + manifests.more() + blobs.more(),
    freed,
    waiting,
    cachedBytes: swept.cachedBytes
  }
}
