import type { CID } from 'multiformats/cid'
import type { UpstreamNames, Upstreams } from '../upstream/index.ts'
import type { Collected } from './collect.ts'
import type { Content } from './content.ts'
import type { Doctor } from './doctor.ts'
import type { History } from './history.ts'
import type { HistoryLog } from './history-log.ts'
import type { Ipns } from './ipns.ts'
import type { Lists } from './lists.ts'
import type { TreeLooking } from './look.ts'
import type { Meters } from './meters.ts'
import type { Pins } from './pins.ts'
import type { Prefetch } from './prefetch.ts'
import type { AutoPublisher } from './publishing-auto.ts'
import type { Publishing } from './publishing-types.ts'
import type { Pull } from './pull.ts'
import type { Push } from './push.ts'
import type { Quota } from './quota.ts'
import type { Removal } from './remove.ts'
import type { ImageRemoval } from './remove-images.ts'
import type { Seeding } from './seeding.ts'
import type { Sync } from './sync.ts'
import type { Uploads } from './uploads.ts'
import type { UsageReport } from './usage.ts'
import type { Verification } from './verify.ts'

/** The registry: reading, writing, uploads and lists. It knows neither HTTP nor how blocks travel. */
export interface Registry {
  readonly pull: Pull
  readonly push: Push & Removal
  readonly uploads: Uploads
  readonly lists: Lists
  /** The upstreams, and what else clients call domains and repositories that have one; not there unless there are any. */
  readonly names: (UpstreamNames & Pick<Upstreams, 'all'>) | undefined
  /** What images are, without changing anything. */
  readonly looking: TreeLooking
  /** What the store has by CID, for peers. */
  readonly content: Content
  /** What the network is told of that. */
  readonly seeding: Seeding
  /** What went to and fro. */
  readonly meters: Meters
  /** What is used, by everything or by what a domain or a repository is called. @throws {RegistryError} NAME_UNKNOWN */
  usage(of: string | undefined, signal: AbortSignal, progress: (done: number) => void): Promise<UsageReport>
  /** The limits, and how much there is. */
  readonly quota: Quota
  /** Reading everything in the store against what names it. */
  readonly verification: Verification
  readonly publishing: Publishing
  /** Merges what others published into a domain's tree. */
  readonly sync: Sync
  /** IPNS names of domains; not there unless `names` is given. */
  readonly ipns: Ipns | undefined
  /** Finds out what keeps a pull from working; not there unless it is told with what. */
  readonly doctor: Doctor | undefined
  /** Publishes by itself what is set up for it, once it is started. */
  readonly autoPublisher: AutoPublisher
  /** The root CID of a domain's local tree. */
  root(domain: string): Promise<CID | undefined>
  /**
   * Multiaddrs of peers that hold what the domain's tree began from: a tree that adds to a published one
   * needs them in its records too, until all of it is here. None when DNS doesn't say.
   */
  providers(domain: string, signal: AbortSignal): Promise<readonly string[]>
  /** Called with every new root, once it is durable. */
  onRoot(listener: (domain: string, root: CID) => void): void
  /** The roots that were published. */
  readonly history: History
  /** What became of the trees: the published roots, and going back to one. */
  readonly historyLog: HistoryLog
  /** Roots that stay whatever happens. */
  readonly pins: Pins
  /** Brings images here. */
  readonly prefetch: Prefetch
  /** Removes images by their names. */
  readonly images: ImageRemoval
  /** Removes what nothing needs any more, or finds out what would go; see `collect.ts`. */
  collect(options: CollectRequest): Promise<Collected>
  /** Ends when what leaves the cache just now is gone. */
  settled(): Promise<void>
  stop(): Promise<void>
}

/** What a collection is asked for. */
export interface CollectRequest {
  readonly dryRun: boolean
  /** Whether tags that the retention rules don't keep go first; otherwise they stay. */
  readonly retention?: boolean | undefined
  /** Instead of the settings' grace window, in milliseconds. */
  readonly graceMs?: number | undefined
  readonly signal: AbortSignal
  readonly progress?: (report: { what: string; done: number; unit: 'items' }) => void
}
