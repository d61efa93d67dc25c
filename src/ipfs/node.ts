import type { PeerId } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { createHeliaLight, type HeliaInit } from 'helia'
import type { Blockstore } from 'interface-blockstore'
import { LRUCache } from 'lru-cache'
import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import type { Records } from '../store/records.ts'
import { createAsk } from './ask.ts'
import { BITSWAP_PROTOCOL, seatBitswap } from './bitswap.ts'
import { createBlocks, type Fetched } from './blocks.ts'
import { createDialler, peerOf } from './dial.ts'
import type { Gateway } from './gateway.ts'
import { createHealthBook } from './health.ts'
import { createHeard } from './heard.ts'
import { httpAgentFor, serveHttp } from './http-stream.ts'
import { loadIdentity } from './identity.ts'
import { readLeaves } from './leaves.ts'
import { composeLibp2p, type Network, QUIET } from './libp2p.ts'
import { type Limits, NO_LIMITS } from './limits.ts'
import { createNeighbours } from './mdns.ts'
import { createOneBlock } from './one-block.ts'
import { createPaths } from './path.ts'
import { type AllowDial, createPolicy, isLoopback } from './policy.ts'
import { createReach } from './reach.ts'
import { relayKeeper } from './relay.ts'
import { createRouting, heliaRouter } from './routing.ts'
import { blockstoreOf, type Offer } from './seeding.ts'
import { createSources } from './sources.ts'
import { createSwarm, SWARM_MIN } from './swarm.ts'
import type { Ipfs, Timeouts } from './types.ts'
import { isDagPb, readNode } from './unixfs.ts'
import { createWants } from './wants.ts'
import { createWindow } from './window.ts'

const MiB = 1024 * 1024

/** What all files together may have read ahead, in bytes. */
const TOTAL_WINDOW = 32 * MiB

/** Root leaves that `stat` has fetched and `leaves` will ask for next. */
const ROOT_LEAVES = 8 * MiB

/** Files of up to this many bytes are link files of a tree, which are kept as blocks. */
const SMALL_FILE = 4096

/** What {@link createIpfs} is made from. */
export interface IpfsOptions {
  /** Blocks to serve and to keep; its `get` yields a block in pieces. */
  blockstore: Blockstore
  /** For libp2p's peer store; nothing in it is lost with it. */
  datastore: NonNullable<HeliaInit['datastore']>
  /** Holds the private key. */
  records: Pick<Records, 'get' | 'put'>
  /** Multiaddrs to listen on. */
  listen: readonly string[]
  /** Multiaddrs to publish instead. */
  announce: readonly string[]
  /** `none`: no outbound attempt that wasn't asked for. */
  routing: 'public' | 'none'
  /** Other ways to find and to be found; {@link QUIET} where not told. */
  network?: Partial<Network>
  /** What peers get over bitswap; everything in `blockstore` unless given. */
  offer?: Offer
  /** Bytes a second to and from peers; none unless given. */
  limits?: Limits
  allowDial: AllowDial
  log: Log
  timeouts: Timeouts
}

/**
 * Starts the node; resolves when it listens.
 *
 * Bitswap is given our blockstore and not Helia's, for Helia's `get` goes to the network for what isn't
 * there: a block collected between its `has` and its `get` would be fetched at a stranger's wish. Bitswap
 * itself keeps nothing (Helia's storage does that), so leaves that are asked for as leaves, and blocks that
 * nobody asked for, never reach the store.
 *
 * @throws Error when an address can't be listened on or the key can't be read.
 */
export async function createIpfs(options: IpfsOptions): Promise<Ipfs> {
  const { blockstore, datastore, announce, routing, log, timeouts, offer, limits = NO_LIMITS } = options
  const network = { ...QUIET, ...options.network }
  const policy = createPolicy(options.allowDial)
  const privateKey = await loadIdentity(options.records)
  const neighbours = network.mdns ? createNeighbours({ log, dialMs: timeouts.dialMs }) : undefined
  const local = options.allowDial === 'any'
  const dialMs = timeouts.dialMs
  const keeper = network.relays.length > 0 ? relayKeeper(network.relays, log) : undefined
  const found = { network, neighbours, local, keeper }
  const libp2p = await composeLibp2p({ ...options, ...found, privateKey, policy, dialMs })
  const helia = createHeliaLight({ blockstore, datastore })
  const delegatedRouters = routing === 'public' ? network.delegatedRouters : []
  const router = createRouting({ libp2p, delegatedRouters, httpMs: timeouts.blockMs, log })
  if (routing === 'public') helia.addRouter(heliaRouter(router))
  helia.addMixin({ name: 'libp2p', start: () => libp2p.start(), stop: () => libp2p.stop() })
  const broker = await seatBitswap(helia, libp2p, offer ? blockstoreOf(offer, limits.up) : blockstore)

  const speakers = new Map<string, PeerId>()
  const bitswapPeers = await libp2p.register(BITSWAP_PROTOCOL, {
    onConnect: (peer) => void speakers.set(peer.toString(), peer),
    onDisconnect: (peer) => void speakers.delete(peer.toString())
  })
  await helia.start()
  await broker.start()

  const health = createHealthBook()
  /** A peer has sent what no accident makes of content: the log says whose it was. */
  function distrust(source: string, what: string): void {
    health.lied(source)
    log.error({ peer: source }, `a peer ${what}`)
  }
  /** Over bitswap nothing but the peer itself can have done that; a CAR's connection has been ended already. */
  function disconnect(peer: PeerId, what: string): void {
    distrust(peer.toString(), what)
    libp2p
      .hangUp(peer)
      .catch((error: unknown) => log.debug({ peer: peer.toString(), err: reason(error) }, 'not closed'))
  }
  const heard = createHeard(health, limits.down)
  const dialler = createDialler({ libp2p, policy, dialMs: timeouts.dialMs, log })
  const blocks = createBlocks({
    blockstore,
    wants: heard.wants(createWants(broker.bitswap, libp2p, disconnect)),
    connected: () => [...speakers.values()],
    late: () => dialler.late(),
    routed: routing === 'public',
    blockMs: timeouts.blockMs
  })
  const sources = createSources({ libp2p, policy, timeouts, health, log })
  const swarm = await createSwarm({
    libp2p,
    offers: offer === undefined || offer.policy === 'all',
    dialler,
    resting: (source) => health.resting(source),
    failed: (source) => health.failed(source),
    log
  })
  const stopHttp: (() => Promise<void>)[] = []
  const shared = createWindow(TOTAL_WINDOW)
  const rootLeaves = new LRUCache<string, Fetched>({
    maxSize: ROOT_LEAVES,
    sizeCalculation: ({ bytes }) => Math.max(1, bytes.length)
  })
  const paths = createPaths({
    // a manifest or config that came whole will be asked for next, but isn't a block to keep by itself
    async keep(cid, bytes) {
      if (isDagPb(cid) || bytes.length <= SMALL_FILE) await blocks.keep(cid, bytes)
      else rootLeaves.set(cid.toString(), { bytes, local: false })
    },
    lied: ({ source }, what) => distrust(source, what),
    limitMs: timeouts.blockMs / 4,
    busyMs: timeouts.blockMs,
    log
  })
  const files = {
    blocks,
    has: async (cid: CID) => blockstore.has(cid),
    recent: (cid: CID) => rootLeaves.get(cid.toString()),
    shared,
    down: limits.down === NO_LIMITS.down ? undefined : limits.down,
    timeouts,
    failed({ name, source }: Gateway, lie: string | undefined) {
      health.failed(name)
      if (lie !== undefined) distrust(source, lie)
    },
    delivered({ name, source }: Gateway, bytes: number, ms: number) {
      health.delivered(name, bytes, ms)
      health.delivered(source, bytes, ms)
    },
    log
  }
  const closing = new AbortController()
  const until = (signal: AbortSignal) => AbortSignal.any([signal, closing.signal])
  const path: Ipfs['path'] = (root, names, { peers, signal }) =>
    paths.fetch(root, names, { gateways: sources.ready(peers).map(heard.gateway), signal: until(signal) })
  const fetched = createOneBlock({
    blocks,
    paths,
    gateways: (peers) => sources.ready(peers),
    recent: (cid) => rootLeaves.get(cid.toString()),
    isConnected: (peer) => libp2p.getConnections(peer).length > 0
  })
  const connect: Ipfs['connect'] = async (multiaddrs, { signal }) => {
    const { rest, named, assign } = sources.remember(multiaddrs)
    if (rest.length === 0 && multiaddrs.length > 0) return named
    const peers = await dialler.connect(rest, { signal: until(signal) }).catch((error: unknown) => {
      if (named.length > 0 && !signal.aborted) return []
      throw error
    })
    assign(peers)
    const known = new Set(peers.map(String))
    return [...peers, ...named.filter((peer) => !known.has(peer.toString()))]
  }
  const reach = createReach({ libp2p, sources, router, dialMs, log })
  neighbours?.watch((addresses, signal) => dialler.connect(addresses, { signal }))
  log.debug(
    { peer: libp2p.peerId.toString(), listen: libp2p.getMultiaddrs().map(String) },
    'IPFS node started'
  )

  return {
    peerId: libp2p.peerId.toString(),

    addresses() {
      const listed = announce.length > 0 ? announce.map((text) => multiaddr(text)) : libp2p.getMultiaddrs()
      const full = listed.map((one) =>
        peerOf(one) === undefined ? one.encapsulate(`/p2p/${libp2p.peerId.toString()}`) : one
      )
      return full.sort((a, b) => Number(isLoopback(a)) - Number(isLoopback(b))).map(String)
    },

    neighbours: () => (neighbours?.list() ?? []).filter((peer) => libp2p.getConnections(peer).length > 0),

    addressesOf: (peer) => reach.addressesOf(peer),

    find(cid, { signal }) {
      return reach.find(cid, (addresses, end) => connect(addresses, { signal: end }), until(signal))
    },

    routing: router,

    connect,

    async block(cid, { peers, signal, keep = true }) {
      const known = rootLeaves.get(cid.toString())
      if (known !== undefined) return known.bytes
      const here = await blocks.local(cid, until(signal))
      if (here !== undefined) return here
      const { bytes, local } = await fetched(cid, peers, until(signal))
      if (!local && keep) await blocks.keep(cid, bytes)
      return bytes
    },

    path,

    async *leaves(file, { peers, signal, from = 0, gateways = [], size = 0 }) {
      const end = until(signal)
      // before anything is asked for: of all who begin at the same time, each would take its first part from the
      // publisher, whose link is narrow then for long
      const others = size - from < SWARM_MIN ? undefined : await swarm.join(file, peers, end)
      const more = others && Promise.resolve(sources.gateways(others.peers, []))
      const leave = (whole: boolean) => others?.leave(whole)
      try {
        yield* readLeaves(files, {
          file,
          from,
          peers,
          gateways: sources.gateways(peers, gateways),
          more,
          signal: end
        })
        leave(true)
      } finally {
        leave(false)
      }
    },

    async stat(file, { peers, signal }) {
      isDagPb(file)
      const root = rootLeaves.get(file.toString()) ?? (await fetched(file, peers, until(signal)))
      const node = readNode(file, root.bytes)
      if (!root.local) {
        if (node.links.length > 0) await blocks.keep(file, root.bytes)
        else rootLeaves.set(file.toString(), root)
      }
      return { size: node.size }
    },

    health: () => health.list(),

    async serveHttp(server) {
      stopHttp.push(await serveHttp(libp2p, server))
    },

    httpAgentFor: (peer) => httpAgentFor(libp2p, peer, timeouts.dialMs),

    ask: createAsk({
      libp2p,
      policy,
      connect: (addresses, signal) => dialler.connect(addresses, { signal: until(signal) }),
      dialMs: timeouts.dialMs,
      log
    }),

    async stop() {
      closing.abort(new Error('the node is stopping'))
      neighbours?.stop()
      await router.stop()
      dialler.stop()
      sources.stop()
      for (const stopOne of stopHttp.splice(0)) await stopOne()
      await swarm.stop()
      libp2p.unregister(bitswapPeers)
      await broker.stop()
      await helia.stop()
    }
  }
}
