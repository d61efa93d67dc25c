import type { Libp2p, PeerId } from '@libp2p/interface'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import type { Log } from '../log.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { AllFailed, type Failure, hedged } from './hedged.ts'
import type { DialPolicy } from './policy.ts'

/** How long an address has to itself before the peer's next one is tried beside it
 * (https://www.rfc-editor.org/rfc/rfc8305#section-8). */
const STAGGER_MS = 250

/** A record from the network may name this many addresses; the rest isn't looked at. */
const MAX_ADDRESSES = 64

/** Connects to peers by their addresses. */
export interface Dialler {
  /** As `Ipfs.connect`, for addresses that libp2p dials. */
  connect(addresses: readonly string[], options: { signal: AbortSignal }): Promise<PeerId[]>
  /**
   * Peers that a {@link Dialler.connect} returned without: those that are still being dialled, and those
   * whose connection is so new that its protocols may not be known yet.
   */
  late(): Promise<PeerId>[]
  /**
   * Dials one address by itself, even when its peer is connected already.
   *
   * @throws NotDialled where the policy refuses it, OtherPeer where another peer answers; what libp2p throws; the
   * signal's reason
   */
  alone(address: Multiaddr, signal: AbortSignal): Promise<PeerId>
  stop(): void
}

/** The policy refuses an address, or its peer is left alone for now. */
export class NotDialled extends Error {
  override readonly name = 'NotDialled'
}

/** Another peer than the address names has answered there. */
export class OtherPeer extends Error {
  override readonly name = 'OtherPeer'
}

/** The peer id at the end of an address, if it has one. */
export function peerOf(address: Multiaddr): string | undefined {
  return address.getComponents().findLast(({ name }) => name === 'p2p')?.value
}

/** A dial under way, with how many wait for it: it is aborted when nobody does. */
interface Dial {
  peer: Promise<PeerId>
  waiting: number
  controller: AbortController
}

/**
 * libp2p tries the addresses of one peer one after the other, so a first address that swallows packets
 * costs a whole time-out; this dials them one by one, without the peer id so that libp2p doesn't join
 * them, and checks the identity afterwards.
 */
export function createDialler(options: {
  libp2p: Libp2p
  policy: DialPolicy
  /** Milliseconds for which nobody is to deal with a peer; 0 unless given. */
  barredFor?: (id: string) => number
  dialMs: number
  log: Log
}): Dialler {
  const { libp2p, policy, barredFor = () => 0, dialMs, log } = options
  const self = libp2p.peerId.toString()
  const dials = new Map<string, Dial>()
  const underWay = new Set<Promise<PeerId>>()
  const stopped = new AbortController()

  const connected = (id: string | undefined) =>
    id === undefined
      ? undefined
      : libp2p
          .getConnections()
          .find(({ remotePeer, status }) => status === 'open' && remotePeer.toString() === id)?.remotePeer

  async function dial(address: Multiaddr, id: string | undefined, signal: AbortSignal): Promise<PeerId> {
    const refused = await policy.refusal(address)
    if (refused !== undefined) throw new NotDialled(`not dialled: ${refused}`)
    const barredMs = id === undefined ? 0 : barredFor(id)
    if (barredMs > 0)
      throw new NotDialled(`not dialled for another ${Math.ceil(barredMs / 1000)} s, for it has flooded us`)
    signal.throwIfAborted()
    // a /dnsaddr record holds addresses of many peers, and only the peer id says which are wanted
    // and a relay wants to know whom to connect us with
    const named = address.getComponents()[0]?.name === 'dnsaddr' || isRelayed(address)
    const connection = await libp2p.dial(named ? address : withoutPeer(address), { signal })
    const answered = connection.remotePeer.toString()
    if (id === undefined || answered === id) return connection.remotePeer
    await connection.close().catch((error: Error) => connection.abort(error))
    throw new OtherPeer(`answered as another peer, ${answered}`)
  }

  async function joined(address: Multiaddr, id: string | undefined, signal: AbortSignal): Promise<PeerId> {
    const already = connected(id)
    if (already !== undefined) return already
    const key = address.toString()
    let entry = dials.get(key)
    if (entry === undefined) {
      const controller = new AbortController()
      const limit = AbortSignal.any([controller.signal, stopped.signal, AbortSignal.timeout(dialMs)])
      const peer = dial(address, id, limit)
        .catch((error: unknown) => {
          throw limit.reason instanceof DOMException && limit.reason.name === 'TimeoutError'
            ? limit.reason
            : error
        })
        .finally(() => dials.delete(key))
      entry = { peer, waiting: 0, controller }
      dials.set(key, entry)
    }
    const { peer, controller } = entry
    entry.waiting++
    const leave = () => {
      if (--entry.waiting === 0) controller.abort()
    }
    signal.addEventListener('abort', leave)
    try {
      return await peer
    } finally {
      signal.removeEventListener('abort', leave)
    }
  }

  return {
    stop: () => stopped.abort(new Error('the node is stopping')),

    alone: (address, signal) => dial(address, peerOf(address), AbortSignal.any([signal, stopped.signal])),

    late() {
      const fresh = libp2p.getConnections().filter(({ timeline }) => Date.now() - timeline.open < dialMs)
      return [...underWay, ...fresh.map(async ({ remotePeer }) => remotePeer)]
    },

    async connect(addresses, { signal }) {
      signal.throwIfAborted()
      const failed: Failure<string>[] = []
      const groups = new Map<string, Multiaddr[]>()
      const found: PeerId[] = []
      let ourselves = false
      for (const text of addresses.slice(0, MAX_ADDRESSES)) {
        const address = parse(text, failed)
        if (address === undefined) continue
        const id = peerOf(address)
        if (id === self || libp2p.getMultiaddrs().some((own) => withoutPeer(own).equals(address)))
          ourselves = true
        else groups.set(id ?? text, [...(groups.get(id ?? text) ?? []), address])
      }

      // a caller that goes away takes its dials along; one that has its answer leaves the others running
      const given = new AbortController()
      const giveUp = () => given.abort(signal.reason)
      signal.addEventListener('abort', giveUp)
      const races = [...groups.values()].map(async (group) => {
        const candidates = group.toSorted((a, b) => Number(isRelayed(a)) - Number(isRelayed(b)))
        const id = candidates.map(peerOf)[0]
        const already = connected(id)
        const peer =
          already ??
          (await hedged({
            candidates,
            attempt: (address, end) => joined(address, id, end),
            patience: (_, startedAt) => startedAt + STAGGER_MS - Date.now(),
            signal: given.signal
          }).catch((error: unknown) => {
            if (!(error instanceof AllFailed)) throw error
            for (const { candidate, error: why } of error.failures as Failure<Multiaddr>[]) {
              failed.push({ candidate: candidate.toString(), error: why })
              log.debug({ address: candidate.toString(), err: reason(why) }, 'dial failed')
            }
            throw error
          }))
        found.push(peer)
        return peer
      })
      for (const race of races) {
        underWay.add(race)
        const settled = () => void underWay.delete(race)
        race.then(settled, settled) // the failure is told below, or is nobody's
      }
      try {
        await Promise.any(races)
      } catch (cause) {
        signal.throwIfAborted()
        if (ourselves) return []
        throw refusal(failed, dialMs, cause)
      } finally {
        signal.removeEventListener('abort', giveUp)
      }
      return [...found]
    }
  }
}

function parse(text: string, failed: Failure<string>[]): Multiaddr | undefined {
  try {
    return multiaddr(text)
  } catch (error) {
    failed.push({ candidate: text, error: new Error(`not a multiaddr: ${reason(error)}`) })
    return undefined
  }
}

/** Whether an address leads through a relay (https://github.com/libp2p/specs/blob/master/relay/circuit-v2.md). */
export function isRelayed(address: Multiaddr): boolean {
  return address.getComponents().some(({ name }) => name === 'p2p-circuit')
}

function withoutPeer(address: Multiaddr): Multiaddr {
  const id = peerOf(address)
  return id === undefined ? address : address.decapsulate(`/p2p/${id}`)
}

function refusal(failed: readonly Failure<string>[], dialMs: number, cause: unknown): RegistryError {
  const late = failed.length > 0 && failed.every(({ error }) => timedOut(error))
  const list = failed.map(
    ({ candidate, error }) =>
      `${candidate} (${timedOut(error) ? `no answer within ${dialMs} ms` : why(error, candidate)})`
  )
  const text = list.length > 0 ? list.join(', ') : 'no address was given'
  return new RegistryError(late ? 'SOURCE_TIMEOUT' : 'SOURCE_FAILED', `no peer could be reached: ${text}`, {
    cause
  })
}

function timedOut(error: unknown): boolean {
  return error instanceof Error && error.name === 'TimeoutError'
}

function why(error: unknown, address = ''): string {
  if (error instanceof AggregateError) return error.errors.map((one) => why(one, address)).join('; ')
  // libp2p's own words are about 'valid addresses', of which there was one
  if (error instanceof Error && error.name === 'NoValidAddressesError')
    return address.startsWith('/p2p/')
      ? 'no address of this peer is known'
      : 'not a way that is spoken here: TCP, WebSocket and HTTP are'
  return reason(error)
}
