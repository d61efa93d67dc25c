import type { CID } from 'multiformats/cid'
import type { RetentionRule } from '../config-values.ts'
import { createLastGood, type Discovery, type IpnsBook, type IpnsResolver } from '../discovery/index.ts'
import { createOffer, type Ipfs, type Offer } from '../ipfs/index.ts'
import { createTransfers } from '../ipfs/transfer.ts'
import type { Log } from '../log.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import type { RepositoryName } from '../oci/reference.ts'
import { createUses, type Store } from '../store/index.ts'
import { createDirectories, createTreeWriter } from '../tree/index.ts'
import { type Collected, collect } from './collect.ts'
import { createCacheKeeper } from './collect-cache.ts'
import { createPulledRoots } from './collect-pulled.ts'
import { createSchedule } from './collect-schedule.ts'
import { type Content, createContent } from './content.ts'
import { createHistory, type History } from './history.ts'
import { createHistoryLog, type HistoryLog } from './history-log.ts'
import { createHolders } from './holders.ts'
import { createIpns, type Ipns } from './ipns.ts'
import { createLinks } from './links.ts'
import { createLists, type Lists } from './lists.ts'
import { createMeters, type Meters, NOBODY, ownerOf } from './meters.ts'
import { createPlaces } from './places.ts'
import { createPublishing } from './publishing.ts'
import { type AutoPublisher, createAutoPublisher } from './publishing-auto.ts'
import type { Publishing, PublishSettings } from './publishing-types.ts'
import { createPull, type Pull } from './pull.ts'
import { createPush, type Push } from './push.ts'
import { createQuota, type Limits, type Quota } from './quota.ts'
import { createRemoval, type Removal } from './remove.ts'
import { createImageRemoval, type ImageRemoval } from './remove-images.ts'
import { createRepair } from './repair.ts'
import { createRetention } from './retention.ts'
import { createSeeding, type Seeding } from './seeding.ts'
import { createSync, type Sync } from './sync.ts'
import { createUploads, type Uploads } from './uploads.ts'
import { createUsage, type UsageReport } from './usage.ts'
import { createVerification, type Verification } from './verify.ts'

export type { Collected } from './collect.ts'
export type { Content } from './content.ts'
export type { History, PublishedRoot } from './history.ts'
export type { HistoryEntry } from './history-log.ts'
export type { Ipns, KeyInfo } from './ipns.ts'
export type { Listed, Lists, Page, Referrer } from './lists.ts'
export {
  countedToPeers,
  createMeters,
  type Meters,
  NOBODY,
  type Owner,
  ownerOf,
  type Traffic
} from './meters.ts'
export type { AutoOutcome } from './publishing-auto.ts'
export type {
  Publishing,
  PublishReport,
  PublishRequest,
  PublishSettings,
  ServerReport
} from './publishing-types.ts'
export type { BlobContent, ManifestContent, Pull } from './pull.ts'
export type { Push, Pushed } from './push.ts'
export type { Removed, RemoveRequest } from './remove-images.ts'
export type { SyncReport, SyncRequest } from './sync.ts'
export { type ChunkRange, type UploadStatus, type Uploads, uploadHeaders } from './uploads.ts'
export type { UsageReport } from './usage.ts'
export type { Verification, VerifyReport } from './verify.ts'

/** The registry: reading, writing, uploads and lists. It knows neither HTTP nor how blocks travel. */
export interface Registry {
  readonly pull: Pull
  readonly push: Push & Removal
  readonly uploads: Uploads
  readonly lists: Lists
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

/** What is kept, and for how long; times in milliseconds. */
export interface CollectSettings {
  /** How many published roots of a domain are kept. */
  readonly keepRoots: number
  /** How long what nothing names stays after it was pushed or used last. */
  readonly graceMs: number
  /** Bytes that cached content may take; `undefined` for all there is. */
  readonly cacheLimit: number | undefined
  /** How often to collect, retention included, without being asked. */
  readonly intervalMs: number | undefined
  readonly retention: readonly RetentionRule[]
}

/** Settings of the registry; times in milliseconds. */
export interface RegistrySettings {
  readonly pushBase: 'published' | 'empty'
  readonly treeDeadlineMs: number
  readonly transferLingerMs: number
  readonly uploadExpiryMs: number
  /** Multiaddrs of peers that are asked for roots named by CID. */
  readonly peers: readonly string[]
  readonly collect: CollectSettings
  /** None unless given. */
  readonly limits?: Limits
  /** Fetch what strangers ask for and isn't here, from whoever has it. */
  readonly fetchForPeers?: boolean
  /** For one search of the network for who has something; {@link SEARCH_MS} unless given. */
  readonly searchMs?: number
  /** Nothing is published by itself, and the system's name servers are asked, if not given. */
  readonly publish?: PublishSettings
}

/** Searches of a large network take seconds, and what they find after this long comes too late for a client. */
const SEARCH_MS = 30_000

/** How publishing works where nothing is set. */
const PUBLISH_NOTHING: PublishSettings = {
  publishers: new Map(),
  dnsServers: [],
  dnsTimeoutMs: 10_000,
  execTimeoutMs: 60_000,
  afterMs: 5000
}

/** How often what was used is written down, in milliseconds. */
const SAVE_MS = 60_000

/** Puts the registry together over its store, node and name resolution. */
export function createRegistry(options: {
  store: Store
  ipfs: Ipfs
  discovery: Discovery
  settings: RegistrySettings
  /** Where traffic is counted; its own unless given. */
  meters?: Meters
  /** What peers get; everything in the store unless given. */
  offer?: Offer
  /** What IPNS names are made and found with: the folder of their keys, and how long a signed record holds, in milliseconds. */
  names?: { book: IpnsBook; resolver: IpnsResolver; folder: string; lifetimeMs: number }
  log: Log
}): Registry {
  const { store, ipfs, discovery, settings, log } = options
  const offer = options.offer ?? createOffer({ policy: 'all', store, log })
  const directories = createDirectories()
  const holders = createHolders({
    blocks: store.blocks,
    ipfs,
    records: store.records,
    searchMs: settings.searchMs ?? SEARCH_MS,
    log
  })
  const pulled = createPulledRoots(store.records, log)
  const places = createPlaces({
    onRemote: (root) => pulled.note(root),
    holders,
    discovery,
    directories,
    writer: () => trees,
    peers: settings.peers,
    log
  })
  const trees = createTreeWriter({
    blocks: store.blocks,
    records: store.records,
    directories,
    load: places.loader,
    deadlineMs: settings.treeDeadlineMs
  })
  const seeding = createSeeding({ store, trees, offer, log })
  const links = createLinks(store.records)
  const transfers = createTransfers({ ipfs, store, log, lingerMs: settings.transferLingerMs })
  const ipns =
    options.names && createIpns({ ...options.names, ipfs, putTimeoutMs: settings.searchMs ?? SEARCH_MS, log })
  const publishing = createPublishing({
    trees,
    places,
    records: store.records,
    settings: settings.publish ?? PUBLISH_NOTHING,
    addresses: () => ipfs.addresses(),
    ...(ipns && { ipns }),
    log
  })
  const autoPublisher = createAutoPublisher({
    publishing,
    domains: settings.publish?.publishers.keys() ?? [],
    root: (domain) => trees.root(domain),
    onRoot: (listener) => trees.onRoot(listener),
    afterMs: settings.publish?.afterMs ?? PUBLISH_NOTHING.afterMs,
    log
  })
  const meters = options.meters ?? createMeters({ store, log })
  const received = (name: RepositoryName | undefined, bytes: number) =>
    meters.add(name === undefined ? NOBODY : ownerOf(name), { fromPeers: bytes })
  const pull = createPull({ store, ipfs, transfers, places, links, log, received })
  const repair = createRepair({
    store,
    ipfs,
    transfers,
    places,
    trees: () => trees,
    peers: settings.peers,
    log
  })
  const quota = createQuota({
    store,
    trees,
    links,
    limits: settings.limits ?? { store: undefined, domains: new Map() },
    makeRoom: (bytes, signal) => cache.makeRoom(bytes, signal),
    log
  })
  const uploads = createUploads({ store, links, quota, log })
  const treeUses = createUses()
  const history = createHistory({ store, trees, keep: settings.collect.keepRoots, log })
  publishing.onPublished((domain, root) => {
    history
      .note(domain, root)
      .catch((error: unknown) =>
        log.error({ domain, cause: reason(error) }, 'could not note a published root')
      )
  })
  const lastGood = createLastGood(store.records, log)
  const collecting = {
    store,
    trees,
    treeUses,
    links,
    history,
    pulled,
    lastPublished: async (domain: string) => (await lastGood.get(domain))?.root,
    cacheLimit: settings.collect.cacheLimit,
    log
  }
  const removal = createRemoval({ store, trees, places, links })
  const retention = createRetention({ store, trees, rules: settings.collect.retention })
  const runCollection: Registry['collect'] = async (request) => {
    const { dryRun, graceMs = settings.collect.graceMs, signal, progress = () => undefined } = request
    if (request.retention === true && settings.collect.retention.length === 0) {
      throw new RegistryError(
        'REQUEST_INVALID',
        'there are no retention rules: set SEAWAY_RETENTION, where the gateway runs'
      )
    }
    const rules = request.retention === true ? retention : undefined
    return collect(collecting, { dryRun, graceMs, retention: rules, signal, progress })
  }
  const cache = createCacheKeeper(collecting, { graceMs: settings.collect.graceMs })
  const schedules = [
    createSchedule({
      everyMs: SAVE_MS,
      what: 'write down what was used',
      work: async () => {
        await pulled.save()
        await store.sweeper.saveUses()
      },
      log
    })
  ]
  if (settings.collect.intervalMs !== undefined) {
    schedules.push(
      createSchedule({
        everyMs: settings.collect.intervalMs,
        what: 'collect what nothing needs',
        work: (signal) =>
          runCollection({ dryRun: false, retention: settings.collect.retention.length > 0, signal }),
        log
      })
    )
  }
  const expiry = setInterval(
    () => {
      uploads
        .expire(settings.uploadExpiryMs)
        .catch((error: unknown) => log.error({ err: error }, 'could not expire uploads'))
    },
    Math.min(settings.uploadExpiryMs, 10 * 60_000)
  )
  expiry.unref()

  /** A block that somebody else wants: it is passed on, and not kept. */
  async function fetchBlock(cid: CID, signal: AbortSignal): Promise<Uint8Array> {
    const peers = await holders.of(async () => ({ root: cid, providers: settings.peers }))(signal)
    return ipfs.block(cid, { peers, signal, keep: false })
  }

  return {
    pull,
    push: {
      ...createPush({
        store,
        trees,
        treeUses,
        places,
        links,
        quota,
        log,
        base: settings.pushBase,
        pushed: (digests) => seeding.pushed(digests)
      }),
      ...removal
    },
    seeding,
    uploads,
    lists: createLists({ trees, places, pull }),
    content: {
      ...createContent(
        offer,
        directories,
        // what is still arriving belongs to others
        (file) => (offer.policy === 'all' ? transfers.live(file) : undefined),
        settings.fetchForPeers === true ? fetchBlock : undefined
      ),
      ...(ipns && { record: (name: string) => ipns.record(name) })
    },
    publishing,
    sync: createSync({
      trees,
      directories,
      async published(domain, signal) {
        const found = await publishing.published(domain, signal)
        const where = async () => found && { domain, ...found }
        return found && { root: found.root, load: holders.loader(holders.of(where), where) }
      },
      common: publishing.common,
      noteCommon: publishing.noteCommon,
      log
    }),
    ipns,
    autoPublisher,
    quota,
    meters,
    usage: createUsage({
      store,
      trees,
      quota,
      meters,
      limits: { store: settings.limits?.store, cache: settings.collect.cacheLimit }
    }),
    verification: createVerification({ store, repair, trees: () => trees, loader: places.loader }),
    root: (domain) => trees.root(domain),
    async providers(domain, signal) {
      if ((await trees.base(domain)) === undefined) return []
      const found = await places.published(domain, signal).catch((error: unknown) => {
        log.info({ domain, cause: reason(error) }, 'could not find out who else has the tree')
        return undefined
      })
      return found !== undefined && (await trees.had(domain, found.root)) ? found.providers : []
    },
    onRoot: (listener) => trees.onRoot(listener),
    history,
    historyLog: createHistoryLog({ store, trees, history, loader: places.loader }),
    images: createImageRemoval({ store, trees, places, removal }),
    collect: runCollection,
    settled: () => cache.settled(),
    async stop() {
      clearInterval(expiry)
      for (const schedule of schedules) await schedule.stop()
      await cache.stop()
      await autoPublisher.stop()
      await ipns?.stop()
      await repair.stop()
      await meters.stop()
      pull.stop()
      await transfers.stop()
      await uploads.stop()
      await pulled.save()
      await store.sweeper.saveUses()
    }
  }
}
