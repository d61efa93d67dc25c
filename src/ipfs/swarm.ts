import type { Connection, Libp2p, PeerId, Stream } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import { untilAborted } from '../oci/waiting.ts'
import { type Dialler, peerOf } from './dial.ts'
import { isLoopback } from './policy.ts'
import { createSwarmBook, type Lease } from './swarm-book.ts'

/**
 * Who else is fetching a file. One stream a file: the asker sends `{"want":"<CID>","offers":true}`, `offers`
 * saying whether what it fetches can be had from it, and is answered
 * `{"peers":[["<multiaddr>",…],…]}`, each a line of JSON; it sends `{}` every half minute while it fetches
 * and `{"have":true}` when it is through, and closes the stream when it no longer fetches.
 */
export const SWARM_PROTOCOL = '/seaway/swarm/1.0.0'

/** Files smaller than this aren't worth the question, in bytes. */
export const SWARM_MIN = 16 * 1024 * 1024

/** How long the answer, and then a connection to somebody it names, may take, in milliseconds. */
const ANSWER_MS = 1000
const CONNECT_MS = 2000

/** How often an asker says that it is still there, and how long one may say nothing until it is taken to be gone. */
const BEAT_MS = 30_000
const SILENCE_MS = 4 * BEAT_MS

/** What is read of an answer, and of a question with all its signs of life, in bytes. */
const MAX_ANSWER = 16 * 1024
const MAX_QUESTION = 64 * 1024

/** Of an answer: peers, and addresses of each. */
const MAX_PEERS = 4
const MAX_ADDRESSES = 8

/** A place among those who fetch a file. */
export interface Membership {
  /** Connected peers to ask for it before anybody else, best first. */
  readonly peers: readonly PeerId[]
  /** Ends it, the first time; `whole` says that the file is here now and can be had from us. */
  leave(whole: boolean): void
}

/** Peers that fetch the same file at the same time, brought together by the one whom they all asked. */
export interface Swarm {
  /**
   * Asks the first of `peers` that is connected and may speak the protocol who else is fetching `file`, and
   * connects to those. Never fails: whoever doesn't answer in time, or names nobody, costs at most
   * a few seconds. Without such a peer it ends at once.
   */
  join(file: CID, peers: readonly PeerId[], signal: AbortSignal): Promise<Membership>
  stop(): Promise<void>
}

/** Starts to answer, and makes the asking side. */
export async function createSwarm(options: {
  libp2p: Libp2p
  /** Whether what is fetched here is offered to peers, so that they may be told. */
  offers: boolean
  dialler: Pick<Dialler, 'connect'>
  /** Whether a peer has failed so lately that it had better be left alone. */
  resting: (peer: string) => boolean
  /** Told of a peer that was named and can't be reached. */
  failed: (peer: string) => void
  log: Log
  /** How long an asker may say nothing, in milliseconds; a few times what they promise unless given. */
  silenceMs?: number
}): Promise<Swarm> {
  const { libp2p, offers, dialler, resting, failed, log, silenceMs = SILENCE_MS } = options
  const connections = () => libp2p.getConnections()
  const book = createSwarmBook((peer) =>
    connections().some(({ remotePeer }) => remotePeer.toString() === peer)
  )

  /** The addresses that a connected peer says it listens on, as the peer behind `asker` can use them. */
  async function addressesOf(peer: string, asker: Connection): Promise<string[]> {
    const id = connections().find(({ remotePeer }) => remotePeer.toString() === peer)?.remotePeer
    if (id === undefined) return []
    const near = isLoopback(asker.remoteAddr)
    const { addresses } = await libp2p.peerStore.get(id)
    return addresses
      .map(({ multiaddr: address }) => address)
      .filter((address) => near || !isLoopback(address))
      .slice(0, MAX_ADDRESSES)
      .map((address) => (peerOf(address) === undefined ? `${address}/p2p/${peer}` : address.toString()))
  }

  async function answer(stream: Stream, connection: Connection): Promise<void> {
    const silent = setTimeout(() => stream.abort(new Error(`nothing said for ${silenceMs} ms`)), silenceMs)
    silent.unref()
    let lease: Lease | undefined
    try {
      const lines = linesOf(stream, MAX_QUESTION)
      const question = (await lines.next()).value as { want?: unknown; offers?: unknown } | undefined
      const file = CID.parse(String(question?.want)).toString()
      const entered = book.enter(file, connection.remotePeer.toString(), question?.offers === true)
      if (entered === undefined) throw new Error('it fetches too many files at once')
      lease = entered.lease
      const peers = await Promise.all(entered.others.map((peer) => addressesOf(peer, connection)))
      send(stream, { peers: peers.filter((addresses) => addresses.length > 0) })
      for await (const line of lines) {
        silent.refresh()
        if ((line as { have?: unknown }).have === true) lease.complete()
      }
    } finally {
      clearTimeout(silent)
      lease?.end()
    }
    await stream.close()
  }

  await libp2p.handle(
    SWARM_PROTOCOL,
    (stream, connection) => {
      answer(stream, connection).catch((error: unknown) => {
        log.debug({ peer: connection.remotePeer.toString(), err: reason(error) }, 'swarm question ended')
        stream.abort(new Error('not answered'))
      })
    },
    { maxInboundStreams: 128 }
  )

  /** The first peer that can be asked, with its connection. */
  async function tracker(peers: readonly PeerId[]): Promise<Connection | undefined> {
    for (const peer of peers) {
      const connection = libp2p.getConnections(peer).find(({ status }) => status === 'open')
      if (connection === undefined) continue
      const known = await libp2p.peerStore.get(peer).catch(() => undefined) // it isn't known at all yet
      // one that has just connected may not have said yet what it speaks: it is asked, and says so then
      const identified = known?.metadata.has('AgentVersion') === true
      if (!identified || known.protocols.includes(SWARM_PROTOCOL)) return connection
    }
    return undefined
  }

  async function ask(stream: Stream, file: CID): Promise<string[][]> {
    send(stream, { want: file.toString(), offers })
    const lines = linesOf(stream, MAX_ANSWER)
    const said = (await lines.next()).value as { peers?: unknown } | undefined
    const groups = Array.isArray(said?.peers) ? said.peers.slice(0, MAX_PEERS) : []
    return groups.map((group: unknown) =>
      Array.isArray(group) ? group.filter(isPeerAddress).slice(0, MAX_ADDRESSES) : []
    )
  }

  async function reach(addresses: readonly string[], signal: AbortSignal): Promise<PeerId[]> {
    const peer = peerOf(multiaddr(addresses[0])) as string
    // all of one peer: an answer can't make us dial a crowd
    const own = addresses.filter((address) => peerOf(multiaddr(address)) === peer)
    if (peer === libp2p.peerId.toString() || resting(`peer ${peer}`)) return []
    const limit = AbortSignal.any([signal, AbortSignal.timeout(CONNECT_MS)])
    return dialler.connect(own, { signal: limit }).catch((error: unknown) => {
      log.debug({ peer, err: reason(error) }, 'a peer that fetches the same cannot be reached')
      if (!signal.aborted) failed(`peer ${peer}`)
      return []
    })
  }

  return {
    async join(file, peers, signal) {
      const nobody: Membership = { peers: [], leave: () => {} }
      const connection = await tracker(peers)
      if (connection === undefined) return nobody
      const limit = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)])
      let stream: Stream | undefined
      try {
        stream = await connection.newStream(SWARM_PROTOCOL, { signal: limit })
        const groups = await untilAborted(ask(stream, file), limit)
        const found = await Promise.all(
          groups.filter((group) => group.length > 0).map((group) => reach(group, signal))
        )
        const named = found.flat()
        if (named.length > 0)
          log.info({ file: file.toString(), peers: named.map(String) }, 'others fetch the same file')
        return { peers: named, leave: membership(stream) }
      } catch (error) {
        stream?.abort(new Error('no answer'))
        signal.throwIfAborted()
        log.debug({ peer: connection.remotePeer.toString(), err: reason(error) }, 'swarm not joined')
        return nobody
      }
    },
    stop: () => libp2p.unhandle(SWARM_PROTOCOL)
  }
}

/** Keeps the stream alive until it is left. */
function membership(stream: Stream): Membership['leave'] {
  const beat = setInterval(() => say({}), BEAT_MS)
  beat.unref()
  function say(what: object): void {
    try {
      send(stream, what)
    } catch {
      clearInterval(beat) // the other side has gone: it forgets us without being told
    }
  }
  let left = false
  return (whole) => {
    if (left) return
    left = true
    clearInterval(beat)
    if (whole) say({ have: true })
    stream.close().catch((error: unknown) => stream.abort(new Error('not closed', { cause: error })))
  }
}

function send(stream: Stream, what: object): void {
  stream.send(Buffer.from(`${JSON.stringify(what)}\n`))
}

/** The JSON objects that a stream holds, one a line; throws for anything else, and past `limit` bytes. */
async function* linesOf(stream: Stream, limit: number): AsyncGenerator<object> {
  let rest = ''
  let taken = 0
  for await (const chunk of stream) {
    const bytes = chunk.subarray()
    taken += bytes.length
    if (taken > limit) throw new Error(`more than ${limit} bytes`)
    const parts = (rest + Buffer.from(bytes).toString('latin1')).split('\n')
    rest = parts.pop() ?? ''
    for (const part of parts) {
      const value: unknown = JSON.parse(part)
      if (typeof value !== 'object' || value === null) throw new Error('not an object')
      yield value
    }
  }
}

function isPeerAddress(text: unknown): text is string {
  if (typeof text !== 'string' || text.length > 256) return false
  try {
    return peerOf(multiaddr(text)) !== undefined
  } catch {
    // what isn't an address names nobody
    return false
  }
}
