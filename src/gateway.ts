import { join } from 'node:path'
import type { Config } from './config.ts'
import { createDiscovery, createIpnsBook, createIpnsResolver, type Discovery } from './discovery/index.ts'
import { appOf, openDoor } from './door.ts'
import { createAdmission } from './http/admission.ts'
import { listen, peerServer } from './http/server.ts'
import { createTrustlessApp } from './http/trustless.ts'
import {
  createIpfs,
  createLimiter,
  createOffer,
  createProvider,
  createSeats,
  type Ipfs,
  type Limits,
  type Provider
} from './ipfs/index.ts'
import type { Log } from './log.ts'
import { RegistryError, reason } from './oci/errors.ts'
import { countedToPeers, createMeters, createRegistry, type Registry } from './registry/index.ts'
import { openSecrets } from './secrets.ts'
import { withSeed } from './seed-addresses.ts'
import { openStore, type Store } from './store/index.ts'
import { admissionTerms, dialRules, domainRules } from './terms.ts'
import { createUpstreams } from './upstream/index.ts'

/** A gateway that runs. */
export interface Gateway {
  readonly listening: { readonly host: string; readonly port: number }
  readonly registry: Registry
  /** The multiaddrs of this gateway. */
  addresses(): readonly string[]
  /** Those that belong into a domain's `ipfsnode=`: ours, and those of others who hold what its tree began from. */
  providersOf(domain: string): Promise<readonly string[]>
  /** Ends everything in order; what was answered is on disk. */
  stop(): Promise<void>
}

/** How long requests under way may go on after the gateway has been told to stop, in milliseconds. */
const SHUTDOWN_GRACE = 5000

/** A change of a tree reads at most a few directories; longer than this means that their source is lost. */
const TREE_DEADLINE = 30_000

/** The share of a look-up's time that an IPNS name may take: DNS, which led to it, needs the rest. */
const NAME_SHARE = 0.8

/** How long printing a new root waits for DNS to say who else has the tree, in milliseconds. */
const PROVIDERS_DEADLINE = 2000

/** How many addresses a domain's records name at most: as many as readers take. */
const MAX_ADDRESSES = 16

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

/** Puts the rooms together and starts them. What was started is stopped again when a later part fails. */
export async function startGateway(config: Config, log: Log): Promise<Gateway> {
  const stack = new AsyncDisposableStack()
  try {
    for (const warning of await openSecrets(config)) log.warn(warning)
    const rooms = await openRooms(config, log, stack)
    const { ipfs, registry, provider, limits } = rooms
    const stopping = new AbortController()
    const terms = {
      up: limits.up,
      seats: createSeats(config.maxPeerRequests),
      idleMs: config.idleTimeout,
      fetchMs: config.gatewayFetch ? config.pullTimeout : undefined
    }
    const admission = createAdmission({ ...admissionTerms(config), log })
    const app = appOf(rooms, stopping.signal, { terms, admission })
    const listening = await listen(app, {
      ...config.listen,
      idleMs: config.idleTimeout,
      answerMs: config.pullTimeout,
      log,
      maxConnections: config.maxConnections,
      maxPerAddress: config.maxConnectionsPerAddress,
      isProxy: admission.isProxy
    }).catch(inUse('SEAWAY_LISTEN', `${config.listen.host}:${config.listen.port}`))
    stack.defer(() => listening.stop(SHUTDOWN_GRACE))
    const trustless = createTrustlessApp({
      content: registry.content,
      log,
      terms,
      clients: admission.clients,
      stopping: stopping.signal
    })
    const waits = { idleMs: config.idleTimeout, answerMs: terms.fetchMs ?? 0, log }
    await ipfs.serveHttp(peerServer(trustless, waits))
    const seed =
      config.seedListen &&
      (await listen(trustless, {
        ...config.seedListen,
        ...waits,
        maxConnections: config.maxPeers,
        maxPerAddress: config.maxPeersPerAddress,
        isProxy: admission.isProxy
      }))
    if (seed !== undefined) stack.defer(() => seed.stop(SHUTDOWN_GRACE))
    provider.start()
    await openDoor(rooms, stopping.signal, stack, listening)
    let warming: Promise<unknown> | undefined
    stack.defer(async () => void (await warming))
    stack.defer(() => stopping.abort(new RegistryError('UNAVAILABLE', 'the gateway is stopping')))
    const addresses = (): readonly string[] => withSeed(ipfs.addresses(), seed)
    const providersOf = async (domain: string): Promise<readonly string[]> => {
      const own = addresses()
      const others = await registry.providers(domain, AbortSignal.timeout(PROVIDERS_DEADLINE))
      return [...own, ...others.filter((address) => !address.includes(`/p2p/${ipfs.peerId}`))].slice(
        0,
        MAX_ADDRESSES
      )
    }
    registry.publishing.announce(providersOf, addresses)
    registry.doctor?.listening({
      at: `${listening.host}:${listening.port}`,
      check: (signal) => isRegistry(listening, signal),
      addresses
    })
    registry.ipns?.start()
    await registry.autoPublisher.start()
    if (config.prefetch.length > 0) {
      const warm = { images: config.prefetch, platforms: config.prefetchPlatforms }
      // those that fail are in the log, and are tried again in their time
      warming = registry.prefetch(warm, stopping.signal, () => undefined).catch(() => undefined)
    }
    const running = stack.move()
    return {
      listening,
      registry,
      addresses,
      providersOf,
      stop: () => running.disposeAsync()
    }
  } catch (error) {
    await stack.disposeAsync()
    throw error
  }
}

/** @throws Error when what answers there is no registry */
async function isRegistry({ host, port }: Gateway['listening'], signal: AbortSignal): Promise<void> {
  const name =
    host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '[::1]' : host.includes(':') ? `[${host}]` : host
  const answer = await fetch(`http://${name}:${port}/v2/`, { signal })
  await answer.arrayBuffer()
  if (!answer.headers.has('docker-distribution-api-version'))
    throw new Error(`what answers at ${name}:${port} is no registry (status ${answer.status})`)
}

/** Says what to do about an address that somebody else listens on. */
function inUse(setting: string, value: string): (error: unknown) => never {
  return (error) => {
    if (!reason(error).includes('EADDRINUSE')) throw error
    throw new RegistryError(
      'UNAVAILABLE',
      `${value} is in use already: stop what listens there, or set ${setting} to something else`,
      {
        cause: error
      }
    )
  }
}
