import type { CID } from 'multiformats/cid'
import { createLastGood, type Discovery, type IpnsBook, type IpnsResolver } from '../discovery/index.ts'
import { createOffer, type Ipfs, type Offer } from '../ipfs/index.ts'
import { createTransfers } from '../ipfs/transfer.ts'
import type { Log } from '../log.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import type { RepositoryName } from '../oci/reference.ts'
import { createUses, type Store } from '../store/index.ts'
import { createDirectories, createTreeWriter } from '../tree/index.ts'
import type { Upstreams } from '../upstream/index.ts'
import { collect } from './collect.ts'
import { createCacheKeeper } from './collect-cache.ts'
import { keptRoots } from './collect-live.ts'
import { createPulledRoots } from './collect-pulled.ts'
import { createContent } from './content.ts'
import { createDoctor } from './doctor.ts'
import type { FreshOptions } from './doctor-fresh.ts'
import { createHistory } from './history.ts'
import { createHistoryLog } from './history-log.ts'
import { createHolders } from './holders.ts'
import { createIpns } from './ipns.ts'
import { createLinks } from './links.ts'
import { createLists } from './lists.ts'
import { createMeters, type Meters, NOBODY, ownerOf } from './meters.ts'
import { createNamed } from './named.ts'
import { createPins } from './pins.ts'
import { createPlaces } from './places.ts'
import { createPrefetch } from './prefetch.ts'
import { createPublishing } from './publishing.ts'
import { createAutoPublisher } from './publishing-auto.ts'
import { createPull } from './pull.ts'
import { orElsewhere } from './pull-elsewhere.ts'
import { createPush } from './push.ts'
import { createQuota } from './quota.ts'
import { createRemoval } from './remove.ts'
import { createImageRemoval } from './remove-images.ts'
import { createRepair } from './repair.ts'
import { createRetention } from './retention.ts'
import { startSchedules } from './schedules.ts'
import { createSeeding } from './seeding.ts'
import { PUBLISH_NOTHING, type RegistrySettings, SEARCH_MS } from './settings.ts'
import { createSync } from './sync.ts'
import { createTagTimes } from './tag-times.ts'
import { createThrough } from './through.ts'
import { createThroughKeeper } from './through-keep.ts'
import type { Registry } from './types.ts'
import { createUploads } from './uploads.ts'
import { createUsage } from './usage.ts'
import { createVerification } from './verify.ts'

export type { Collected } from './collect.ts'
export type { Content } from './content.ts'
export type { Diagnosis, DoctorPart, DoctorStep, Trouble } from './doctor-types.ts'
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
export type { Pin, Pinned } from './pins.ts'
export type { Prefetched, PrefetchRequest } from './prefetch.ts'
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
export type { CollectSettings, RegistrySettings } from './settings.ts'
export type { SyncReport, SyncRequest } from './sync.ts'
export { type Timing, timingsOf } from './timings.ts'
export type { CollectRequest, Registry } from './types.ts'
export { type ChunkRange, type UploadStatus, type Uploads, uploadHeaders } from './uploads.ts'
export type { UsageReport } from './usage.ts'
export type { Verification, VerifyReport } from './verify.ts'

/** Where a name is looked for that has no upstream. */
const BOTH = { local: true, published: true }

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
  /** Other registries that are pulled through; none unless given. */
  upstreams?: Upstreams
  /** What an examination opens rooms of its own with; how long a pull waits, in milliseconds; bytes of the disk that are never used. */
  doctor?: Omit<FreshOptions, 'log'> & { pullMs: number; reserve: number }
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
    looks: (domain) => options.upstreams?.of(domain)?.policy ?? BOTH,
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
  const tagTimes = createTagTimes({ records: store.records, trees, log })
  const seeding = createSeeding({ store, trees, offer, log })
  const links = createLinks(store.records)
  const transfers = createTransfers({ ipfs, store, log, lingerMs: settings.transferLingerMs })
  const ipns =
    options.names &&
    createIpns({
      ...options.names,
      ipfs,
      addresses: () => publishing.addresses(),
      putTimeoutMs: settings.searchMs ?? SEARCH_MS,
      log
    })
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
  const treeUses = createUses()
  const through =
    options.upstreams &&
    createThrough({
      upstreams: options.upstreams,
      keeper: createThroughKeeper({ store, trees, treeUses, places, tagTimes }),
      records: store.records,
      log
    })
  const pullAsNamed = createPull({
    store,
    ipfs,
    transfers,
    places,
    links,
    ...(through && { through }),
    log,
    received
  })
  const pull = options.upstreams === undefined ? pullAsNamed : orElsewhere(pullAsNamed, options.upstreams)
  const repair = createRepair({
    store,
    ipfs,
    transfers,
    places,
    trees: () => trees,
    named: createNamed({
      store,
      trees: () => trees,
      kept: (domain) => keptRoots(collecting, domain),
      links,
      directories,
      loader: places.loader
    }),
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
  const history = createHistory({ store, trees, keep: settings.collect.keepRoots, log })
  publishing.onPublished((domain, root) => {
    history
      .note(domain, root, 'published')
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
    uploads,
    history,
    pulled,
    lastPublished: async (domain: string) => (await lastGood.get(domain))?.root,
    cacheLimit: settings.collect.cacheLimit,
    ...(options.upstreams && {
      pulledThrough: (domain: string) => options.upstreams?.of(domain) !== undefined
    }),
    log
  }
  const removal = createRemoval({ store, trees, places, links })
  const retention = createRetention({ tagTimes, rules: settings.collect.retention })
  const runCollection: Registry['collect'] = async (request) => {
    const { dryRun, graceMs = settings.collect.graceMs, signal, progress = () => undefined } = request
    if (request.retention === true && settings.collect.retention.length === 0) {
      throw new RegistryError(
        'REQUEST_INVALID',
        'there are no retention rules: set SEAWAY_RETENTION, where the gateway runs'
      )
    }
    const rules = request.retention === true ? retention : undefined
    const work = () => collect(collecting, { dryRun, graceMs, retention: rules, signal, progress })
    return dryRun ? work() : seeding.collecting(work)
  }
  const cache = createCacheKeeper(collecting, { graceMs: settings.collect.graceMs })
  const canonical = (name: RepositoryName) => options.upstreams?.canonical(name) ?? name
  const prefetch = createPrefetch({
    store,
    pull,
    canonical,
    log
  })
  const schedules = startSchedules({
    prefetch,
    save: async () => {
      await pulled.save()
      await store.sweeper.saveUses()
    },
    collect: (signal) =>
      runCollection({ dryRun: false, retention: settings.collect.retention.length > 0, signal }),
    uploads,
    settings,
    log
  })

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
        tagTimes,
        log,
        base: settings.pushBase,
        pushed: (digests) => seeding.pushed(digests),
        ...(through && { rows: through.pushed })
      }),
      ...removal
    },
    seeding,
    uploads,
    lists: createLists({ trees, places, pull, ...(through && { through }) }),
    names: options.upstreams,
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
      tagTimes,
      log
    }),
    ipns,
    doctor:
      options.doctor &&
      createDoctor({
        ...options.doctor,
        fresh: { ...options.doctor, log },
        local: {
          root: (domain) => trees.root(domain),
          had: (domain, root) => trees.had(domain, root),
          lastGood: (domain) => lastGood.get(domain)
        },
        gateway: {
          store,
          reserve: options.doctor.reserve,
          domains: () => trees.domains(),
          root: (domain) => trees.root(domain),
          published: publishing.published
        }
      }),
    autoPublisher,
    quota,
    meters,
    usage: createUsage({
      store,
      trees,
      quota,
      meters,
      limits: { store: settings.limits?.store, cache: settings.collect.cacheLimit },
      log
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
    historyLog: createHistoryLog({ store, trees, history, loader: places.loader, tagTimes }),
    pins: createPins({ store, history }),
    prefetch,
    images: createImageRemoval({ store, trees, places, removal, canonical }),
    collect: runCollection,
    settled: () => cache.settled(),
    async stop() {
      await schedules.stop()
      await cache.stop()
      await autoPublisher.stop()
      await ipns?.stop()
      await repair.stop()
      await meters.stop()
      pull.stop()
      await transfers.stop()
      // after them: it writes down what they brought
      await through?.stop()
      await uploads.stop()
      await pulled.save()
      await store.sweeper.saveUses()
    }
  }
}
