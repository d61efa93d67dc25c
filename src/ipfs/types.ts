import type { Agent, Server } from 'node:http'
import type { PeerId } from '@libp2p/interface'
import type { CID } from 'multiformats/cid'
import type { SmallAnswer, SmallQuestion } from './ask.ts'
import type { Health } from './health.ts'
import type { Mappings } from './mappings.ts'
import type { Probe } from './probe.ts'
import type { Routing } from './routing.ts'

export type { PeerId } from '@libp2p/interface'

/** One leaf of a UnixFS file. Its block is `prefix + data + suffix`. */
export interface Leaf {
  cid: CID
  /** Where `data` begins in the file's content, in bytes. */
  offset: number
  /** The content bytes that this leaf holds. */
  data: Uint8Array
  /** What the block has in front of `data`: empty for a raw leaf, protobuf framing for a dag-pb one. */
  prefix: Uint8Array
  /** What the block has behind `data`. */
  suffix: Uint8Array
  /** Whether it came out of the node's own store. */
  local: boolean
  /** Gives the leaf's memory back for the next one; nothing of the leaf may be used afterwards. A leaf for
   * which it isn't called is left to the collector. */
  release(): void
}

/** Where content may come from, and what ends the wait for it. */
export interface FetchOptions {
  /** Asked first, in this order; after them any connected peer. */
  peers: readonly PeerId[]
  /** Whether somebody who is no peer has it, too: then the routing isn't asked when those fail, which takes its time. */
  elsewhere?: boolean
  signal: AbortSignal
}

/** How to read a file. */
export interface LeavesOptions extends FetchOptions {
  /** The first byte wanted, default 0; the first leaf is the one that holds it, whole. */
  from?: number
  /** Multiaddrs of trustless gateways (`…/http`, `…/https`) that are said to have the file. */
  gateways?: readonly string[]
  /** The file's size in bytes, where it is known: for a large one, others who fetch it now are found and asked too. */
  size?: number
}

/** The IPFS node as the rooms above see it. */
export interface Ipfs {
  /** This node's peer id, the same after every start with the same records. */
  readonly peerId: string

  /**
   * Multiaddrs to publish: the announced ones if there are any, else those listened on; each ends in
   * `/p2p/<peer id>`, and loopback ones come last.
   */
  addresses(): string[]

  /**
   * Connects to the peers behind `multiaddrs`: peers at once, the addresses of one peer hedged, joined
   * with dials that are under way to the same address. Resolves when the first peer is connected, with
   * all that are by then; the others go on for at most `timeouts.dialMs`. Oneself, and a peer that is
   * connected already, are no errors; addresses that end in `/http` or `/https` aren't dialled but
   * remembered as gateways of the peer they name (see {@link Ipfs.leaves}), which is among those returned.
   *
   * @throws RegistryError SOURCE_FAILED, or SOURCE_TIMEOUT when nothing answered in time, naming every
   * address and what came of it.
   */
  connect(multiaddrs: readonly string[], options: { signal: AbortSignal }): Promise<PeerId[]>

  /** Connected peers of the local network, found by mDNS. */
  neighbours(): readonly PeerId[]

  /** Who has blobs that are known only by their digests. */
  readonly mappings: Mappings

  /** Multiaddrs at which a connected peer can be reached again, those that worked first, each with its id. */
  addressesOf(peer: PeerId): Promise<string[]>

  /**
   * Connects to peers that the network says have `cid`: resolves with the first that are connected, and with
   * nobody when nobody is found, or can be reached.
   *
   * @throws the signal's reason where nobody is connected by then, nothing else
   */
  find(cid: CID, options: { signal: AbortSignal }): Promise<PeerId[]>

  /**
   * Asks the gateways of the peers behind `addresses` for something small, all at once; answers come as they
   * arrive, unchecked, and whoever fails is passed over.
   *
   * @throws the signal's reason, nothing else
   */
  ask(addresses: readonly string[], question: SmallQuestion): AsyncGenerator<SmallAnswer>

  /** Who has what, as the network tells it; it tells nothing where `routing` is `none`. */
  readonly routing: Routing

  /**
   * One block that matches its CID: the local store's, else fetched from `peers` in their order and then
   * from any connected peer, and kept in the blockstore (unless `keep` is false). A peer that says nothing for
   * `timeouts.blockMs` is given up.
   *
   * @throws RegistryError SOURCE_FAILED or SOURCE_TIMEOUT naming each peer and what it did.
   */
  block(cid: CID, options: FetchOptions & { keep?: boolean }): Promise<Uint8Array>

  /**
   * Fetches the blocks from `root` along the directory names of `path`, the last one included, in one
   * request to a gateway of `peers` (plain HTTP, else HTTP over a libp2p stream), and keeps them where
   * {@link Ipfs.block} and {@link Ipfs.stat} find them. What didn't come, for whatever reason, is left to
   * those: nothing is proven by an answer but what its blocks say.
   *
   * @returns how many blocks came.
   * @throws the signal's reason, nothing else.
   */
  path(root: CID, path: readonly string[], options: FetchOptions): Promise<number>

  /**
   * The leaves of the file below `file`, in order. They come out of the own store, else as verified CAR
   * streams from `gateways` and those of `peers` over plain HTTP, else from `peers` over HTTP on libp2p
   * streams, else by bitswap; a source that fails gives way to the next at the first block that is missing.
   *
   * Reads ahead within a window of 16 MiB (all files together: 64 MiB and one leaf a file) and asks for
   * nothing while the consumer is behind. Inner nodes are kept in the blockstore, leaves are not. Leaving
   * the loop stops everything.
   *
   * @throws RegistryError SOURCE_FAILED or SOURCE_TIMEOUT; SOURCE_FAILED also for what isn't a
   * well-formed file.
   * @see https://specs.ipfs.tech/unixfs/
   */
  leaves(file: CID, options: LeavesOptions): AsyncGenerator<Leaf>

  /**
   * What `file` is, by its root node: the bytes of content it says it has.
   *
   * @throws RegistryError SOURCE_FAILED for what isn't a file, and as {@link Ipfs.block} does.
   */
  stat(file: CID, options: FetchOptions): Promise<{ size: number }>

  /**
   * Serves HTTP to peers over libp2p streams (`/http/1.1`): every stream becomes a connection of `server`,
   * which needn't listen. Everything that it answers is public to whoever can connect.
   *
   * @see https://github.com/libp2p/specs/blob/master/http/README.md
   */
  serveHttp(server: Server): Promise<void>

  /** An agent for `node:http` requests over such streams to `peer`. */
  httpAgentFor(peer: PeerId): Agent

  /** The deadlines that it keeps. */
  readonly timeouts: Timeouts

  /** How the sources used lately have behaved: peers by their ids, gateways by their addresses too. */
  health(): readonly Health[]

  /** Tries single addresses and ways of content, for who wants to know which of them work. */
  readonly probe: Probe

  /** Closes every connection and ends every wait. */
  stop(): Promise<void>
}

/** Deadlines in milliseconds. */
export interface Timeouts {
  /** For a dial, name lookup and handshakes included. */
  dialMs: number
  /** For a peer's silence while a block is wanted of it. */
  blockMs: number
  /** For a stream on which nothing moves. */
  idleMs: number
  /** For what peers are asked while a client waits who can be served otherwise; {@link ANSWER_MS} unless given. */
  answerMs?: number
}
