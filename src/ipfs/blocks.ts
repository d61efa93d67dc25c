import type { Blockstore } from 'interface-blockstore'
import type { CID } from 'multiformats/cid'
import { isAbort, RegistryError, reason } from '../oci/errors.ts'
import { AllFailed, type Failure, hedged } from './hedged.ts'
import type { FetchOptions, PeerId } from './types.ts'
import { PeerBusy, PeerFault, type Wants } from './wants.ts'

/** The largest block that is taken: bitswap's limit for a whole message
 * (https://specs.ipfs.tech/bitswap-protocol/#block-sizes asks for 2 MiB at least). */
export const MAX_BLOCK = 4 * 1024 * 1024

/** Inline content: what an identity CID may carry at most, as Kubo has it. */
const MAX_IDENTITY = 128
const IDENTITY = 0

/** Connected peers that are asked when the named ones don't have the block. */
const MAX_OTHERS = 8

/** How long a peer that failed is asked last. */
const DEMOTED_MS = 30_000

/** Whom to ask: a peer, those who are connected only later, or the routing. */
type Candidate = PeerId | 'late' | 'routing'
const SAID = { late: 'a peer that came later', routing: 'the routing' }

/** No peer was connected later. */
class NobodyElse extends Error {}

/** A block that matches its CID. */
export interface Fetched {
  bytes: Uint8Array
  /** It came out of the own store, or out of the CID itself. */
  local: boolean
  /** Gives the memory back, where it can be used again. */
  release?: () => void
}

/** Blocks from the store and from peers, one by one. */
export interface Blocks {
  /** The block out of the own store, or out of the CID itself. */
  local(cid: CID, signal: AbortSignal): Promise<Uint8Array | undefined>
  /** Fetches without keeping. Never pending for longer than the peers' deadlines together. */
  fetch(cid: CID, options: FetchOptions): Promise<Fetched>
  /** Keeps a block that {@link Blocks.fetch} brought from elsewhere. */
  keep(cid: CID, bytes: Uint8Array): Promise<void>
}

/**
 * Makes the fetcher.
 *
 * A local block isn't hashed again: it was verified before it was kept, and what the disk does to it
 * afterwards is for `seaway verify`. A peer that fails goes to the end of everybody's order for half a
 * minute, so that it costs the deadline once and not once a block.
 */
export function createBlocks(options: {
  blockstore: Blockstore
  wants: Wants
  /** Connected peers that speak bitswap. */
  connected: () => readonly PeerId[]
  /** Peers that are about to be connected. */
  late: () => Promise<PeerId>[]
  /** Milliseconds for which nobody is to deal with a peer. */
  barredFor: (peer: PeerId) => number
  /** Whether to ask the routing as the last resort. */
  routed: boolean
  blockMs: number
}): Blocks {
  const { blockstore, wants, connected, late, barredFor, routed, blockMs } = options
  const demoted = new Map<string, number>()

  function order(named: readonly PeerId[]): PeerId[] {
    const names = new Set(named.map(String))
    const others = connected().filter((peer) => !names.has(peer.toString()))
    const now = Date.now()
    for (const [peer, until] of demoted) if (until < now) demoted.delete(peer)
    const late = (peer: PeerId) => Number(demoted.has(peer.toString()))
    return [...named, ...others.slice(0, MAX_OTHERS)].sort((a, b) => late(a) - late(b))
  }

  /** @param end aborted also when another peer was faster; `signal` only when nobody waits any more */
  async function fromPeer(
    cid: CID,
    peer: PeerId,
    end: AbortSignal,
    signal: AbortSignal
  ): Promise<Uint8Array> {
    const barredMs = barredFor(peer)
    if (barredMs > 0)
      throw new PeerFault(`isn't asked for another ${Math.ceil(barredMs / 1000)} s, for it has flooded us`)
    const start = Date.now()
    const demote = () => demoted.set(peer.toString(), Date.now() + DEMOTED_MS)
    /** Its time was up when another was faster: that would cost as much again with every block. */
    const late = () => Date.now() - start >= blockMs / 4
    try {
      const { bytes, itself } = await wants.ask(cid, peer, { signal: end, silenceMs: blockMs })
      if (itself) demoted.delete(peer.toString())
      else if (late()) demote()
      return bytes
    } catch (error) {
      if (!signal.aborted && (!end.aborted || late())) demote()
      throw error
    }
  }

  /** From those who become connected while the others are asked, one after the other. */
  async function fromLate(
    cid: CID,
    asked: ReadonlySet<string>,
    end: AbortSignal,
    signal: AbortSignal
  ): Promise<Uint8Array> {
    const known = new Set(asked)
    let failure: unknown
    for (let i = 0; i < MAX_OTHERS; i++) {
      const fresh = late().map(async (connecting) => {
        const peer = await connecting
        if (known.has(peer.toString())) throw new Error('asked already')
        return peer
      })
      const peer = await Promise.any(fresh).catch(() => undefined) // the dialler tells who can't be reached
      if (peer === undefined || end.aborted) break
      known.add(peer.toString())
      try {
        return await fromPeer(cid, peer, end, signal)
      } catch (error) {
        failure = error
      }
    }
    throw failure ?? new NobodyElse()
  }

  async function fromAnywhere(cid: CID, signal: AbortSignal): Promise<Uint8Array> {
    const limit = AbortSignal.timeout(blockMs)
    try {
      return await wants.askAll(cid, { signal: AbortSignal.any([signal, limit]) })
    } catch (cause) {
      throw limit.aborted
        ? new PeerFault(`found nobody within ${blockMs} ms`, { timeout: true, cause })
        : cause
    }
  }

  return {
    async local(cid, signal) {
      if (cid.multihash.code !== IDENTITY) return readLocal(blockstore, cid, signal)
      if (cid.multihash.digest.length <= MAX_IDENTITY) return cid.multihash.digest
      throw new RegistryError('SOURCE_FAILED', `an inline CID holds more than ${MAX_IDENTITY} bytes`)
    },

    async fetch(cid, { peers, elsewhere = false, signal }) {
      signal.throwIfAborted()
      const local = await this.local(cid, signal)
      if (local !== undefined) return { bytes: local, local: true }
      const first = order(peers)
      const asked = new Set(first.map(String))
      const bytes = await hedged<Candidate, Uint8Array>({
        candidates: [...first, 'late', ...(routed && !elsewhere ? (['routing'] as const) : [])],
        attempt: (from, end) => {
          if (from === 'late') return fromLate(cid, asked, end, signal)
          return from === 'routing' ? fromAnywhere(cid, end) : fromPeer(cid, from, end, signal)
        },
        patience: (from, startedAt) => {
          const sign = typeof from === 'string' ? startedAt : Math.max(startedAt, wants.heardOf(from))
          // however much it sends: another is tried beside it in the end
          return Math.min(sign + blockMs / 4, startedAt + blockMs / 2) - Date.now()
        },
        signal
      }).catch((error: unknown) => {
        throw error instanceof AllFailed ? refusal(cid, error.failures as Failure<Candidate>[]) : error
      })
      if (bytes.length <= MAX_BLOCK) return { bytes, local: false }
      throw new RegistryError('SOURCE_FAILED', `block ${cid.toString()} is larger than ${MAX_BLOCK} bytes`)
    },

    async keep(cid, bytes) {
      await blockstore.put(cid, bytes)
    }
  }
}

/** A block of the own store in one piece, or `undefined`. */
async function readLocal(
  blockstore: Blockstore,
  cid: CID,
  signal: AbortSignal
): Promise<Uint8Array | undefined> {
  const pieces: Uint8Array[] = []
  try {
    for await (const piece of blockstore.get(cid, { signal })) pieces.push(piece)
  } catch (error) {
    if (error instanceof Error && error.name === 'NotFoundError') return undefined
    throw error
  }
  const [only] = pieces
  return pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces)
}

function refusal(cid: CID, all: readonly Failure<Candidate>[]): RegistryError {
  const failures = all.filter(({ error }) => !(error instanceof NobodyElse))
  if (failures.length === 0) {
    return new RegistryError(
      'SOURCE_FAILED',
      `block ${cid.toString()}: no peer is connected that could have it`
    )
  }
  // Who is busy may have it as well as who is silent.
  const late = failures.every(
    ({ error }) =>
      error instanceof PeerBusy || (error instanceof PeerFault && error.timeout) || isAbort(error)
  )
  const list = failures.map(
    ({ candidate, error }) =>
      `${typeof candidate === 'string' ? SAID[candidate] : `peer ${candidate.toString()}`} ${reason(error)}`
  )
  return new RegistryError(
    late ? 'SOURCE_TIMEOUT' : 'SOURCE_FAILED',
    `block ${cid.toString()}: ${list.join('; ')}`,
    {
      cause: new AggregateError(failures.map(({ error }) => error))
    }
  )
}
