import { createHash } from 'node:crypto'
import { Agent } from 'node:http'
import { Agent as SecureAgent } from 'node:https'
import type { Libp2p } from '@libp2p/interface'
import { peerIdFromMultihash, peerIdFromString } from '@libp2p/peer-id'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { LRUCache } from 'lru-cache'
import { create as createMultihash } from 'multiformats/hashes/digest'
import type { Log } from '../log.ts'
import { peerOf } from './dial.ts'
import { createGateway, type Gateway, originOf } from './gateway.ts'
import type { HealthBook } from './health.ts'
import { httpAgentFor, openPeer } from './http-stream.ts'
import type { DialPolicy } from './policy.ts'
import type { PeerId, Timeouts } from './types.ts'
import { openSocket } from './wire.ts'

/** Gateways that are tried for one file. */
const MAX_GATEWAYS = 8

/** What a source that was never asked is taken for, in bytes a second: plain HTTP is about twice as fast as a stream. */
const HTTP_SPEED = 100e6
const STREAM_SPEED = 50e6

/** Where CARs can be had, best first. */
export interface Sources {
  /** Takes the `/http` and `/https` addresses among `addresses` for those of the peers they name, or of
   * `peers` where they name none; returns the others, and the peers that were named. An address that names
   * nobody stands for a peer of its own besides, which nobody can dial. */
  remember(addresses: readonly string[]): {
    rest: string[]
    named: PeerId[]
    assign(peers: readonly PeerId[]): void
  }
  /** Those of `first` before all others; plain HTTP first, which is more than twice as fast, then HTTP over
   * streams to the peers. */
  gateways(peers: readonly PeerId[], addresses: readonly string[], first?: readonly PeerId[]): Gateway[]
  /** The same without dialling anybody: streams only to peers that are connected. */
  ready(peers: readonly PeerId[]): Gateway[]
  /** HTTP addresses of these peers that the dial policy forbids, each with the reason. */
  refusals(peers: readonly PeerId[]): readonly string[]
  /** HTTP addresses that are remembered of a peer, without its id. */
  known(peer: PeerId): readonly string[]
  stop(): void
}

/** Makes the list for a node. */
export function createSources(options: {
  libp2p: Libp2p
  policy: DialPolicy
  timeouts: Timeouts
  health: Pick<HealthBook, 'order' | 'barredFor'>
  log: Log
}): Sources {
  const { libp2p, policy, timeouts, health, log } = options
  const addressesOf = new LRUCache<string, string[]>({ max: 1024 })
  const plain = new Agent({ keepAlive: true, maxSockets: 16 })
  const secure = new SecureAgent({ keepAlive: true, maxSockets: 16 })

  /** Why the policy keeps an HTTP address from being asked, where that can be told from the address. */
  function refusalOf(text: string): string | undefined {
    const address = parse(text)
    const base = address && originOf(address)
    return base && policy.urlRefusal(base)
  }

  function overHttp(text: string): Gateway | undefined {
    const address = parse(text)
    const base = address && originOf(address)
    if (base === undefined) return undefined
    const refused = refusalOf(text)
    if (refused !== undefined) {
      log.debug({ address: text }, `gateway not used: ${refused}`)
      return undefined
    }
    const agent = base.protocol === 'https:' ? secure : plain
    const source = peerOf(address as Multiaddr) ?? text
    const { lookup } = policy
    const connect = openSocket({ url: base, lookup })
    return createGateway({ name: text, source, base, agent, lookup, headMs: timeouts.blockMs, connect })
  }

  function overStream(peer: PeerId): Gateway {
    const name = `peer ${peer.toString()}`
    const agent = httpAgentFor(libp2p, peer, timeouts.dialMs)
    const base = new URL('http://gateway.invalid')
    const connect = openPeer(libp2p, peer)
    return createGateway({ name, source: peer.toString(), base, agent, headMs: timeouts.blockMs, connect })
  }

  function list(
    peers: readonly PeerId[],
    addresses: readonly string[],
    streams: readonly PeerId[]
  ): Gateway[] {
    const known = peers.flatMap((peer) => addressesOf.get(peer.toString()) ?? [])
    const texts = new Set([...addresses, ...known])
    const plain = [...texts].flatMap((text) => overHttp(text) ?? [])
    const guesses = new Map(plain.map((gateway) => [gateway, HTTP_SPEED]))
    const all = [...plain, ...streams.map(overStream)].filter(({ source }) => health.barredFor(source) === 0)
    const guess = (gateway: Gateway) => guesses.get(gateway) ?? STREAM_SPEED
    return health.order(all, { name: ({ name }) => name, guess }).slice(0, MAX_GATEWAYS)
  }

  return {
    remember(addresses) {
      const gateways = addresses
        .flatMap((text) => parse(text) ?? [])
        .filter((one) => originOf(one) !== undefined)
      const texts = new Set(gateways.map(String))
      const add = (peer: string, address: Multiaddr) => {
        const known = (addressesOf.get(peer) ?? []).filter((text) => text !== address.toString())
        addressesOf.set(peer, [address.toString(), ...known].slice(0, MAX_GATEWAYS))
      }
      for (const address of gateways) add(peerOf(address) ?? nameless(address).toString(), address)
      return {
        named: [...new Set(gateways.map((one) => peerOf(one) ?? nameless(one).toString()))].flatMap(
          (id) => parsePeer(id) ?? []
        ),
        rest: addresses.filter((text) => !texts.has(parse(text)?.toString() ?? '')),
        assign(peers) {
          for (const address of gateways) {
            if (peerOf(address) === undefined) for (const peer of peers) add(peer.toString(), address)
          }
        }
      }
    },

    gateways(peers, addresses, first = []) {
      const ahead = list(first, [], first)
      const names = new Set(ahead.map(({ name }) => name))
      return [...ahead, ...list(peers, addresses, peers).filter(({ name }) => !names.has(name))]
    },

    ready: (peers) =>
      list(
        peers,
        [],
        peers.filter((peer) => libp2p.getConnections(peer).length > 0)
      ),

    refusals: (peers) =>
      peers
        .flatMap((peer) => addressesOf.get(peer.toString()) ?? [])
        .flatMap((text) => {
          const why = refusalOf(text)
          return why === undefined ? [] : [`${text} is not asked: ${why}`]
        }),

    known: (peer) => addressesOf.get(peer.toString()) ?? [],

    stop() {
      plain.destroy()
      secure.destroy()
    }
  }
}

function parse(text: string): Multiaddr | undefined {
  try {
    return multiaddr(text)
  } catch {
    // the dialler reports what isn't a multiaddr, with the rest of the addresses
    return undefined
  }
}

/** A peer id that follows from a gateway's address. */
function nameless(address: Multiaddr): PeerId {
  const sha256 = createHash('sha256').update(address.bytes).digest()
  return peerIdFromMultihash(createMultihash(0x12, sha256))
}

function parsePeer(text: string): PeerId | undefined {
  try {
    return peerIdFromString(text)
  } catch {
    // an address that names nobody is of no use, and the dialler says so
    return undefined
  }
}
