import type { PeerId } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { createHeliaLight, type HeliaInit } from 'helia'
import type { Blockstore } from 'interface-blockstore'
import type { Log } from '../log.ts'
import type { Records } from '../store/records.ts'
import { createAsk } from './ask.ts'
import { BITSWAP_PROTOCOL, seatBitswap } from './bitswap.ts'
import { createBlocks } from './blocks.ts'
import { createDialler, peerOf } from './dial.ts'
import { createDistrust } from './distrust.ts'
import { createFetching } from './fetching.ts'
import { createHealthBook } from './health.ts'
import { createHeard } from './heard.ts'
import { httpAgentFor, serveHttp } from './http-stream.ts'
import { loadIdentity } from './identity.ts'
import { composeLibp2p, type Network, QUIET } from './libp2p.ts'
import { type Limits, NO_LIMITS } from './limits.ts'
import { createMappings } from './mappings.ts'
import { createNeighbours } from './mdns.ts'
import { type AllowDial, createPolicy, dialBase, isLoopback } from './policy.ts'
import { createProbe } from './probe.ts'
import { createReach } from './reach.ts'
import { relayKeeper } from './relay.ts'
import { createRouting, heliaRouter } from './routing.ts'
import { blockstoreOf, type Offer } from './seeding.ts'
import { createSources } from './sources.ts'
import { createSurplus } from './surplus.ts'
import { createSwarm } from './swarm.ts'
import type { Ipfs, Timeouts } from './types.ts'
import { createWants, PeerFault } from './wants.ts'

/** What {@link createIpfs} is made from. */
export interface IpfsOptions {
  /** Blocks to serve and to keep; its `get` yields a block in pieces. */
  blockstore: Blockstore
  /** For libp2p's peer store; nothing in it is lost with it, so it is in memory unless given. */
  datastore?: NonNullable<HeliaInit['datastore']>
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
  const local = dialBase(options.allowDial) === 'any'
  const dialMs = timeouts.dialMs
  const keeper = network.relays.length > 0 ? relayKeeper(network.relays, log) : undefined
  const health = createHealthBook()
  const distrust = createDistrust({ libp2p: () => libp2p, health, log })
  const found = { network, neighbours, local, keeper, barred: distrust.barred }
  const libp2p = await composeLibp2p({ ...options, ...found, privateKey, policy, dialMs })
  const helia = createHeliaLight({ blockstore, ...(datastore && { datastore }) })
  const delegatedRouters = routing === 'public' ? network.delegatedRouters : []
  const router = createRouting({ libp2p, delegatedRouters, httpMs: timeouts.blockMs, log })
  if (routing === 'public') helia.addRouter(heliaRouter(router))
  helia.addMixin({ name: 'libp2p', start: () => libp2p.start(), stop: () => libp2p.stop() })
  const surplus = createSurplus(distrust.flooded)
  const offered = offer ? blockstoreOf(offer, limits.up) : blockstore
  const incoming = {
    read: surplus.read,
    overlong: (peer: PeerId) => distrust.flooded(peer, 'began a message that is longer than any may be')
  }
  const broker = await seatBitswap(helia, libp2p, offered, incoming, log)

  const speakers = new Map<string, PeerId>()
  const bitswapPeers = await libp2p.register(BITSWAP_PROTOCOL, {
    onConnect: (peer) => void speakers.set(peer.toString(), peer),
    onDisconnect: (peer) => void speakers.delete(peer.toString())
  })
  await helia.start()
  await broker.start()

  const heard = createHeard(health, limits.down)
  const dialler = createDialler({ libp2p, policy, barredFor: health.barredFor, dialMs: timeouts.dialMs, log })
  const wants = createWants({
    bitswap: broker.bitswap,
    libp2p,
    lied: distrust.deceived,
    earned: (peer, bytes) => surplus.earned(peer, bytes)
  })
  distrust.watch((peer, what) => wants.giveUp(peer, new PeerFault(what, { lie: true })))
  const blocks = createBlocks({
    blockstore,
    wants: heard.wants(wants),
    connected: () => [...speakers.values()],
    late: () => dialler.late(),
    barredFor: (peer) => health.barredFor(peer.toString()),
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
  const isConnected = (peer: PeerId) => libp2p.getConnections(peer).length > 0
  const closing = new AbortController()
  const until = (signal: AbortSignal) => AbortSignal.any([signal, closing.signal])
  const fetching = createFetching({
    blockstore,
    blocks,
    sources,
    swarm,
    health,
    heard,
    lied: distrust.lied,
    down: limits.down === NO_LIMITS.down ? undefined : limits.down,
    isConnected,
    timeouts,
    until,
    log
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
  const nearby = () => (neighbours?.list() ?? []).filter(isConnected)
  const ask = createAsk({
    libp2p,
    policy,
    connect: (addresses, signal) => dialler.connect(addresses, { signal: until(signal) }),
    dialMs: timeouts.dialMs,
    log
  })
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

    neighbours: nearby,

    mappings: createMappings({
      libp2p,
      neighbours: nearby,
      connect,
      ask,
      lied: distrust.lied,
      answerMs: timeouts.answerMs,
      log
    }),

    addressesOf: (peer) => reach.addressesOf(peer),

    find(cid, { signal }) {
      return reach.find(cid, (addresses, end) => connect(addresses, { signal: end }), until(signal))
    },

    routing: router,

    connect,

    block: fetching.block,
    path: fetching.path,
    leaves: fetching.leaves,
    stat: fetching.stat,

    timeouts,

    health: () => health.list(),

    probe: createProbe({
      dialler,
      sources,
      policy,
      files: fetching.files,
      isConnected,
      wants,
      dialMs
    }),

    async serveHttp(server) {
      stopHttp.push(await serveHttp(libp2p, server))
    },

    httpAgentFor: (peer) => httpAgentFor(libp2p, peer, timeouts.dialMs),

    ask,

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
