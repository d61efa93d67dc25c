import type { PeerDiscovery, PeerId, PeerInfo } from '@libp2p/interface'
import { mdns } from '@libp2p/mdns'
import type { Multiaddr } from '@multiformats/multiaddr'
import { LRUCache } from 'lru-cache'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'

/** Peers on the local network that are kept connected, and how many are dialled at the same time. */
const MAX_NEIGHBOURS = 32
const DIALS = 4

/** How long a neighbour that couldn't be reached isn't dialled again, in milliseconds. */
const REST_MS = 60_000

/** Peers of the local network, found by mDNS. */
export interface Neighbours {
  /** The service for libp2p. */
  readonly service: (components: Parameters<ReturnType<typeof mdns>>[0]) => PeerDiscovery
  /** Begins to connect to those that are found. */
  watch(connect: (addresses: readonly string[], signal: AbortSignal) => Promise<readonly PeerId[]>): void
  /** Peers that were found and reached; they may have gone since. */
  list(): readonly PeerId[]
  stop(): void
}

/**
 * Finds peers by multicast DNS and connects to them, so that they are asked like any connected peer. Whoever
 * is on the same network can answer: what they send is verified like everything else, and at most
 * 32 of them are listened to.
 *
 * @see https://github.com/libp2p/specs/blob/master/discovery/mdns.md
 */
export function createNeighbours(options: { log: Log; dialMs: number }): Neighbours {
  const { log, dialMs } = options
  const reached = new LRUCache<string, PeerId>({ max: MAX_NEIGHBOURS })
  const resting = new LRUCache<string, true>({ max: 1024, ttl: REST_MS })
  const stopped = new AbortController()
  let connect: Parameters<Neighbours['watch']>[0] | undefined
  /** Those who were found before anybody could connect to them: the next question is ten seconds away. */
  let early: PeerInfo[] = []
  let dialling = 0

  async function meet(id: PeerId, multiaddrs: readonly Multiaddr[]): Promise<void> {
    const peer = id.toString()
    if (connect === undefined || stopped.signal.aborted || dialling >= DIALS || resting.has(peer)) return
    if (!reached.has(peer) && reached.size >= MAX_NEIGHBOURS) return
    dialling++
    try {
      const addresses = multiaddrs.map((address) => `${address}/p2p/${peer}`)
      const signal = AbortSignal.any([stopped.signal, AbortSignal.timeout(dialMs)])
      const peers = await connect(addresses, signal)
      for (const one of peers) {
        if (!reached.has(one.toString())) log.info({ peer: one.toString() }, 'found on the local network')
        reached.set(one.toString(), one)
      }
    } catch (error) {
      resting.set(peer, true)
      reached.delete(peer)
      log.debug({ peer, err: reason(error) }, 'a peer of the local network cannot be reached')
    } finally {
      dialling--
    }
  }

  return {
    service(components) {
      const discovery = mdns()(components)
      discovery.addEventListener('peer', ({ detail }: CustomEvent<PeerInfo>) => {
        if (connect !== undefined) void meet(detail.id, detail.multiaddrs)
        else if (early.length < MAX_NEIGHBOURS) early.push(detail)
      })
      return discovery
    },
    watch(how) {
      connect = how
      for (const { id, multiaddrs } of early) void meet(id, multiaddrs)
      early = []
    },
    list: () => [...reached.values()],
    stop: () => stopped.abort(new Error('the node is stopping'))
  }
}
