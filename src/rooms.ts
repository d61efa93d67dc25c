/** The rooms below HTTP and the command line, put together over the settings. */
import { join } from 'node:path'
import type { Config } from './config.ts'
import { createDiscovery, createIpnsBook, createIpnsResolver, type Discovery } from './discovery/index.ts'
import {
  createIpfs,
  createLimiter,
  createOffer,
  createProvider,
  type Ipfs,
  type Limits,
  type Provider
} from './ipfs/index.ts'
import { inUse } from './listening.ts'
import type { Log } from './log.ts'
import { countedToPeers, createMeters, createRegistry, type Registry } from './registry/index.ts'
import { openStore, type Store } from './store/index.ts'
import { dialRules, domainRules } from './terms.ts'
import { createUpstreams } from './upstream/index.ts'

/** A change of a tree reads at most a few directories; longer than this means that their source is lost. */
const TREE_DEADLINE = 30_000

/** The share of a look-up's time that an IPNS name may take: DNS, which led to it, needs the rest. */
const NAME_SHARE = 0.8

/** How long telling the network of one CID may take, in milliseconds: some twenty peers are found and told. */
const PROVIDE_DEADLINE = 60_000

/** How long a transfer whose clients have gone waits for them to come back, in milliseconds. Docker retries after 5 s, then 10. */
const TRANSFER_LINGER = 20_000

/** A node that looks at others, and is there for nobody. */
const SOLITARY = { mdns: false, relays: [], relayServer: false }

/** The rooms below HTTP and the command line, open. */
export interface Rooms {
  readonly config: Config
  readonly log: Log
  readonly store: Store
  readonly ipfs: Ipfs
  readonly discovery: Discovery
  readonly registry: Registry
  readonly provider: Provider
  readonly limits: Limits
}

/**
 * Opens the rooms over the data folder, whose owner this process then is, and has `stack` close them. The node
 * listens where `swarmListen` says: a command that works alone gives it nothing to listen on.
 */
export async function openRooms(config: Config, log: Log, stack: AsyncDisposableStack): Promise<Rooms> {
  const store = await openStore({
    folder: config.data,
    checkAgeMs: config.checkAge,
    reserve: config.diskReserve
  })
  stack.defer(() => store.close())
  const meters = createMeters({ store, log })
  const limits = {
    up: countedToPeers(createLimiter(config.uploadLimit), meters),
    down: createLimiter(config.downloadLimit)
  }
  const offer = createOffer({ policy: config.seed, store, log })
  stack.defer(() => offer.stop())
  const allowDial = dialRules(config)
  const domains = domainRules(config)
  const timeouts = {
    dialMs: config.dialTimeout,
    blockMs: config.blockTimeout,
    idleMs: config.idleTimeout,
    answerMs: config.peerTimeout
  }
  const ipfs = await createIpfs({
    blockstore: store.blocks,
    offer,
    limits,
    network: config,
    datastore: store.datastore,
    records: store.records,
    listen: config.swarmListen,
    announce: config.announce,
    routing: config.routing,
    allowDial,
    log,
    timeouts
  }).catch(inUse('SEAWAY_SWARM_LISTEN', config.swarmListen.join(',')))
  stack.defer(() => ipfs.stop())
  const book = createIpnsBook({ records: store.records, log, now: Date.now })
  const resolver = createIpnsResolver({ ipfs, book, timeoutMs: config.dnsTimeout * NAME_SHARE, log })
  stack.defer(() => resolver.stop())
  const discovery = createDiscovery({
    servers: config.dnsServers,
    log,
    records: store.records,
    timeoutMs: config.dnsTimeout,
    resolveIpns: resolver.resolve,
    permit: domains.resolve.check
  })
  stack.defer(() => discovery.stop())
  const upstreams = createUpstreams({
    settings: config.upstreams,
    auth: config.upstreamAuth,
    standard: config.defaultUpstream,
    ttlMs: config.upstreamTtl,
    timeoutMs: config.upstreamTimeout,
    allowDial,
    proxies: config.proxies
  })
  stack.defer(() => upstreams.stop())
  const registry = createRegistry({
    upstreams,
    names: { book, resolver, folder: join(config.data, 'keys'), lifetimeMs: config.ipnsLifetime },
    store,
    ipfs,
    discovery,
    settings: {
      pushBase: config.pushBase,
      treeDeadlineMs: TREE_DEADLINE,
      transferLingerMs: TRANSFER_LINGER,
      uploadExpiryMs: config.uploadExpiry,
      peers: config.peers,
      pushRules: domains.push,
      lookMs: config.pullTimeout,
      limits: { store: config.storeLimit, domains: config.domainLimits },
      collect: {
        keepRoots: config.keepRoots,
        graceMs: config.gcGrace,
        cacheLimit: config.cacheLimit,
        intervalMs: config.gcInterval,
        retention: config.retention
      },
      prefetch: {
        images: config.prefetch,
        platforms: config.prefetchPlatforms,
        intervalMs: config.prefetchInterval
      },
      fetchForPeers: config.gatewayFetch,
      publish: {
        publishers: config.publishers,
        dnsServers: config.dnsServers,
        dnsTimeoutMs: config.dnsTimeout,
        execTimeoutMs: config.publishTimeout,
        afterMs: config.publishAfter
      }
    },
    offer,
    meters,
    doctor: {
      node: { allowDial, routing: config.routing, timeouts, network: { ...config, ...SOLITARY } },
      dnsServers: config.dnsServers,
      dnsTimeoutMs: config.dnsTimeout,
      nameTimeoutMs: config.dnsTimeout * NAME_SHARE,
      searchMs: config.blockTimeout,
      pullMs: config.pullTimeout,
      reserve: config.diskReserve
    },
    log
  })
  stack.defer(() => registry.stop())
  const provider = createProvider({
    routing: ipfs.routing,
    offered: (signal) => registry.seeding.all(signal),
    records: store.records,
    intervalMs: config.provideInterval,
    deadlineMs: PROVIDE_DEADLINE,
    log
  })
  registry.seeding.tell(provider)
  stack.defer(() => provider.stop())
  return { config, log, store, ipfs, discovery, registry, provider, limits }
}
