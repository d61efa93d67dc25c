import { bootstrap } from '@libp2p/bootstrap'
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { dcutr } from '@libp2p/dcutr'
import { identify } from '@libp2p/identify'
import type { Libp2p, MultiaddrConnection, PeerId, PrivateKey } from '@libp2p/interface'
import { kadDHT, removePrivateAddressesMapper, removePublicAddressesMapper } from '@libp2p/kad-dht'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { type TCPSocketOptions, tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { yamux } from '@libp2p/yamux'
import { createLibp2p, type Libp2pOptions } from 'libp2p'
import type { Neighbours } from './mdns.ts'
import { NAME_RULES } from './name-records.ts'
import { trustListeners } from './own-addresses.ts'
import type { DialPolicy } from './policy.ts'
import { type relayKeeper, relayServer } from './relay.ts'
import { guardedWebSockets } from './web-socket.ts'

/**
 * What a stream may have in flight: 8 MiB are 100 MB/s at 80 ms of round trip. The package lets the window
 * grow to 16 MiB and cuts streams that hold more than 4 MiB unread, so that pausing a fast one ended it.
 */
const STREAMS = { maxStreamWindowSize: 8 * 1024 * 1024, maxReadBufferLength: 16 * 1024 * 1024 }

/** How the node finds others, is found, and how many it deals with. */
export interface Network {
  /** Where the DHT is entered; none for no DHT. */
  bootstrap: readonly string[]
  /** URLs of services that are asked who has what. */
  delegatedRouters: readonly string[]
  /** Look for peers on the local network, and be found there. */
  mdns: boolean
  /** Relays, with their peer ids, through which this node is to be reached. */
  relays: readonly string[]
  /** Be such a relay. */
  relayServer: boolean
  maxPeers: number
  /** Connections that may come from one IP address. */
  maxPeersPerAddress: number
}

/** A node that is found by those who are told its address, and finds nobody by itself. */
export const QUIET: Network = {
  bootstrap: [],
  delegatedRouters: [],
  mdns: false,
  relays: [],
  relayServer: false,
  maxPeers: 300,
  maxPeersPerAddress: 64
}

/** What the composition needs to know. */
export interface Libp2pSettings {
  privateKey: PrivateKey
  datastore?: NonNullable<Libp2pOptions['datastore']>
  listen: readonly string[]
  announce: readonly string[]
  routing: 'public' | 'none'
  /** {@link QUIET} unless given. */
  network?: Network
  neighbours?: Neighbours | undefined
  policy: DialPolicy
  /** Whether nobody is to deal with that peer; nobody is unless given. */
  barred?: (peer: PeerId) => boolean
  /** Whether private addresses may be dialled, so that a DHT of the local network is of use. */
  local?: boolean
  /** Keeps places at relays. */
  keeper?: ReturnType<typeof relayKeeper> | undefined
  dialMs: number
}

/**
 * The libp2p node, not started: TCP, WebSocket and relayed connections, TLS before noise (about 1.6 times as
 * fast), yamux.
 *
 * Nothing here looks for peers unless `routing` is `public`, or `network` says so. The DHT runs as a client:
 * the public one, and beside it, where private addresses may be dialled, the one of the local network, as
 * Kubo does it.
 */
export async function composeLibp2p(settings: Libp2pSettings): Promise<Libp2p> {
  const { privateKey, datastore, listen, announce, network = QUIET, policy, dialMs } = settings
  const { neighbours, keeper, barred = () => false } = settings
  // the TCP transport hands its options on to net.connect, which takes more than their type says
  const dialOpts = { lookup: policy.lookup } as TCPSocketOptions
  const routed = settings.routing === 'public' && network.bootstrap.length > 0
  const services = {
    identify: identify(),
    ping: ping(),
    dcutr: dcutr(),
    listeners: trustListeners(),
    ...(network.relayServer ? { relay: relayServer() } : {}),
    ...(keeper === undefined ? {} : { relays: keeper }),
    ...(neighbours === undefined ? {} : { mdns: neighbours.service }),
    ...(routed ? { dht: publicDht(), ...(settings.local === true ? { lanDht: localDht() } : {}) } : {})
  }
  const node: Libp2p = await createLibp2p({
    start: false,
    privateKey,
    ...(datastore && { datastore }),
    addresses: { listen: [...listen], announce: [...announce] },
    transports: [tcp({ dialOpts }), guardedWebSockets(policy), circuitRelayTransport()],
    connectionEncrypters: [tls(), noise()],
    streamMuxers: [yamux({ streamOptions: STREAMS })],
    // the union of the sets of services confuses the inference of the node's type, which nobody here needs
    services: services as unknown as NonNullable<Libp2pOptions['services']>,
    peerDiscovery: routed ? [bootstrap({ list: [...network.bootstrap] })] : [],
    connectionGater: {
      denyDialMultiaddr: async (address) => (await policy.refusal(address)) !== undefined,
      denyDialPeer: barred,
      denyInboundConnection: async (connection) => crowded(connection),
      denyInboundEncryptedConnection: barred,
      denyOutboundEncryptedConnection: barred
    },
    // a link that is busy with our own blocks answers pings late: that is no reason to cut it
    connectionMonitor: { abortConnectionOnPingFailure: false },
    connectionManager: {
      dialTimeout: dialMs,
      addressDialTimeout: dialMs,
      maxConnections: network.maxPeers,
      maxIncomingPendingConnections: 32,
      // many gateways can share one address (NAT, a cluster's egress)
      inboundConnectionThreshold: 64
    }
  })

  /** Whether as many connections have come from the same address already as may. */
  function crowded({ remoteAddr }: Pick<MultiaddrConnection, 'remoteAddr'>): boolean {
    const host = remoteAddr.getComponents()[0]?.value
    const same = node
      .getConnections()
      .filter(
        ({ direction, remoteAddr: from }) =>
          direction === 'inbound' && from.getComponents()[0]?.value === host
      )
    return same.length >= network.maxPeersPerAddress
  }

  return node
}

/** https://github.com/libp2p/specs/blob/master/kad-dht/README.md */
function publicDht(): ReturnType<typeof kadDHT> {
  return kadDHT({
    protocol: '/ipfs/kad/1.0.0',
    clientMode: true,
    peerInfoMapper: removePrivateAddressesMapper,
    ...NAME_RULES,
    reprovide: NEVER
  })
}

function localDht(): ReturnType<typeof kadDHT> {
  return kadDHT({
    protocol: '/ipfs/lan/kad/1.0.0',
    clientMode: true,
    peerInfoMapper: removePublicAddressesMapper,
    logPrefix: 'libp2p:lan-dht',
    datastorePrefix: '/lan-dht',
    metricsPrefix: 'libp2p_lan_dht',
    ...NAME_RULES,
    reprovide: NEVER
  })
}

/** What is provided, and when again, is for `providing.ts` to say: it knows what is still here. */
const NEVER = { threshold: 0, validity: 2 ** 45, interval: 2 ** 31 - 1 }
