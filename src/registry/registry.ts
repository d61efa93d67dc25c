import type { CID } from 'multiformats/cid'
import { createOffer } from '../ipfs/index.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import type { RepositoryName } from '../oci/reference.ts'
import { keptRoots } from './collect-live.ts'
import { createContent } from './content.ts'
import { createDoctor } from './doctor.ts'
import { ANY_DOMAIN } from './domain-rules.ts'
import { createHistoryLog } from './history-log.ts'
import { createIpns } from './ipns.ts'
import { createKeeping } from './keeping.ts'
import { createLists } from './lists.ts'
import { createTreeLooking } from './look.ts'
import { createMeters } from './meters.ts'
import { createNamed } from './named.ts'
import { createPins } from './pins.ts'
import { createPrefetch } from './prefetch.ts'
import { createPublishing } from './publishing.ts'
import { createAutoPublisher } from './publishing-auto.ts'
import { createPush } from './push.ts'
import { guardPush } from './push-guard.ts'
import { createPushThrough } from './push-through.ts'
import { createReading } from './reading.ts'
import type { RegistryOptions } from './registry-options.ts'
import { createRemoval } from './remove.ts'
import { createImageRemoval } from './remove-images.ts'
import { createRepair } from './repair.ts'
import { createAgain } from './repair-through.ts'
import { startSchedules } from './schedules.ts'
import { createSeeding } from './seeding.ts'
import { LOOK_MS, PUBLISH_NOTHING, SEARCH_MS } from './settings.ts'
import { createSync } from './sync.ts'
import type { Registry } from './types.ts'
import { createUsage } from './usage.ts'
import { createVerification } from './verify.ts'

/** Puts the registry together over its store, node and name resolution. */
export function createRegistry(options: RegistryOptions): Registry {
  const { store, ipfs, settings, log } = options
  const offer = options.offer ?? createOffer({ policy: 'all', store, log })
  const meters = options.meters ?? createMeters({ store, log })
  const reading = createReading({ ...options, meters })
  const { directories, holders, links, places, pull, pulled, tagTimes, through, transfers, trees, treeUses } =
    reading
  const seeding = createSeeding({
    store,
    trees,
    offer,
    // that of an upstream names what was pulled, perhaps from where not everybody may look
    isOwn: async (domain) =>
      options.upstreams?.of(domain) === undefined || (await publishing.common(domain)) !== undefined,
    log
  })
  const keeping = createKeeping(options, { reading, seeding })
  const { cache, collecting, history, lastGood, quota, runCollection, uploads } = keeping
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
  publishing.onPublished((domain, root) => {
    history
      .note(domain, root, 'published')
      .catch((error: unknown) =>
        log.error({ domain, cause: reason(error) }, 'could not note a published root')
      )
  })
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
    ...(through && { again: createAgain({ through, transfers, trees }) }),
    log
  })
  const removal = createRemoval({ store, trees, places, links })
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
    // What is here and isn't offered is for nobody, and looked for it would be found here first.
    const hidden = offer.policy === 'all' ? await store.privates.covers(cid) : await store.blocks.has(cid)
    if (hidden) throw new RegistryError('BLOB_UNKNOWN', `${cid} is not offered to peers here`)
    const peers = await holders.of(async () => ({ root: cid, providers: settings.peers }))(signal)
    return ipfs.block(cid, { peers, signal, keep: false })
  }

  const lists = createLists({ trees, places, pull, ...(through && { through }) })

  return {
    pull,
    push: guardPush(
      {
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
          ...(through && { through: createPushThrough({ store, through, pull }) })
        }),
        ...removal
      },
      settings.pushRules ?? ANY_DOMAIN
    ),
    seeding,
    uploads,
    lists,
    looking: createTreeLooking({
      store,
      discovery: options.discovery,
      places,
      lists,
      pull,
      history,
      peers: settings.peers,
      domains: () => trees.domains(),
      deadlineMs: settings.lookMs ?? LOOK_MS
    }),
    names: options.upstreams,
    content: {
      ...createContent(
        offer,
        directories,
        // what is still arriving belongs to others
        (file) => (offer.policy === 'all' ? transfers.live(file) : undefined),
        settings.fetchForPeers === true ? fetchBlock : undefined
      ),
      mapped: offer.mapped,
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
        upstreams: options.upstreams,
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
