import type { Libp2p, PeerId } from '@libp2p/interface'
import { LRUCache } from 'lru-cache'
import type { CID } from 'multiformats/cid'
import type { Answers } from './bitswap-answers.ts'
import { type BitswapNetwork, createOutbox } from './outbox.ts'

/**
 * The part of `@helia/bitswap` that the node uses. The package's own sessions aren't: they begin to
 * listen for the answer after the question is out (a fast peer's answer is lost, and the want hangs),
 * never cancel, and look for providers when the ones named fail.
 *
 * @see https://specs.ipfs.tech/bitswap-protocol/
 */
export interface Bitswap {
  network: BitswapNetwork
  /** Calls its own members when messages come. */
  peerWantLists: Answers
  wantList: {
    addEventListener(type: 'block', listener: (event: CustomEvent<BlockEvent>) => void): void
    addEventListener(type: 'presence', listener: (event: CustomEvent<PresenceEvent>) => void): void
  }
  /** Asks every connected peer, and those that routing finds. */
  want(cid: CID, options: { signal: AbortSignal }): Promise<Uint8Array>
}

/** A block has arrived; `cid` was made from its bytes, so a match of the multihash is the verdict. */
interface BlockEvent {
  sender: PeerId
  cid: CID
  block: Uint8Array
}

interface PresenceEvent {
  sender: PeerId
  cid: CID
  has: boolean
}

/** What a peer did wrong, in words that follow its name. */
export class PeerFault extends Error {
  override readonly name = 'PeerFault'
  readonly timeout: boolean
  /** It sent bytes that aren't what their CID says, or what nobody wanted: that is no accident. */
  readonly lie: boolean

  constructor(did: string, options: { timeout?: boolean; lie?: boolean; cause?: unknown } = {}) {
    super(did, { cause: options.cause })
    this.timeout = options.timeout === true
    this.lie = options.lie === true
  }
}

/** It serves as many as it may: not a failure, if it says when it can be asked again. */
export class PeerBusy extends PeerFault {
  /** Milliseconds until then. */
  readonly retryMs: number

  constructor(retryMs: number) {
    super('is busy')
    this.retryMs = retryMs
  }
}

/** A block that came while one peer was asked for it. */
export interface Came {
  bytes: Uint8Array
  /** That peer sent it. Otherwise another one did, who had been asked as well, and it deserves no credit. */
  itself: boolean
}

/** Single blocks from single peers. */
export interface Wants {
  /**
   * The block from that peer, or a {@link PeerFault}: it lacks it, went away, was silent for `silenceMs`
   * (anything wanted that it sends counts as a sign of life, as the blocks before this one share its
   * link), or sent a block that nobody had asked for, which is what a wrong block looks like.
   */
  ask(cid: CID, peer: PeerId, options: { signal: AbortSignal; silenceMs: number }): Promise<Came>
  /** The block from whichever connected or routed peer sends it first. */
  askAll(cid: CID, options: { signal: AbortSignal }): Promise<Uint8Array>
  /** When the peer last sent a block that was wanted; 0 if never. */
  heardOf(peer: PeerId): number
  /** Ends the wait for everything that this peer was asked for. */
  giveUp(peer: PeerId, fault: PeerFault): void
}

/** What {@link createWants} is made from. */
export interface WantsOptions {
  bitswap: Bitswap
  libp2p: Libp2p
  /** Told of a peer that sent a block which nobody had asked for. */
  lied(peer: PeerId, what: string): void
  /** Told of the bytes of a block that the peer had been asked for, each time that it had been. */
  earned(peer: PeerId, bytes: number): void
}

/** Signs of life prolong a want up to this many times `silenceMs`. */
const MOST_SILENCES = 8

type Outcome = { block: Uint8Array; from: string } | { fault: Error }

/** A block that one peer was asked for, and who waits for it. */
interface Want {
  peer: string
  key: string
  waiting: Set<(outcome: Outcome) => void>
}

/** Listens to the node's bitswap; one for the life of the node. */
export function createWants({ bitswap, libp2p, lied, earned }: WantsOptions): Wants {
  const outbox = createOutbox(bitswap.network, libp2p)
  const wants = new Map<string, Want>()
  const heard = new LRUCache<string, number>({ max: 1024 })
  /** Blocks that anybody was asked for, and whether everybody was. */
  const asked = new LRUCache<string, 'one' | 'all'>({ max: 65_536 })
  /** How often a peer may still send a block, by the name of its want. */
  const owed = new LRUCache<string, number>({ max: 65_536 })

  const settle = (matches: (want: Want) => boolean, outcome: Outcome) => {
    for (const want of wants.values()) {
      if (matches(want)) for (const answer of want.waiting) answer(outcome)
    }
  }
  const failAll = (id: string, fault: PeerFault) => settle(({ peer }) => peer === id, { fault })

  bitswap.wantList.addEventListener('block', ({ detail: { sender, cid, block } }) => {
    const key = keyOf(cid)
    const id = sender.toString()
    const whom = asked.get(key)
    if (whom === undefined) {
      const what = `sent a block that nobody had asked for (${cid.toString()})`
      failAll(id, new PeerFault(what, { lie: true }))
      lied(sender, what)
      return
    }
    const name = `${id} ${key}`
    const due = owed.get(name) ?? Number(whom === 'all')
    owed.set(name, Math.max(0, due - 1))
    if (due > 0) {
      heard.set(id, Date.now())
      earned(sender, block.length)
    }
    // whoever sent it, it is the block: those who asked another peer for it have it now as well
    settle((want) => want.key === key, { block, from: id })
  })
  bitswap.wantList.addEventListener('presence', ({ detail: { sender, cid, has } }) => {
    if (has) return
    const want = wants.get(`${sender.toString()} ${keyOf(cid)}`)
    for (const answer of want?.waiting ?? []) answer({ fault: new PeerFault('does not have the block') })
  })
  libp2p.addEventListener('peer:disconnect', ({ detail }) => {
    failAll(detail.toString(), new PeerFault('closed the connection'))
  })

  function join(cid: CID, peer: PeerId, answer: (outcome: Outcome) => void): () => void {
    const key = keyOf(cid)
    const id = peer.toString()
    const name = `${id} ${key}`
    const want = wants.get(name) ?? { peer: id, key, waiting: new Set() }
    want.waiting.add(answer)
    if (!wants.has(name)) {
      wants.set(name, want)
      if (!asked.has(key)) asked.set(key, 'one')
      owed.set(name, (owed.get(name) ?? 0) + 1)
      outbox.want(peer, cid).catch((error: Error) => {
        const fault = new PeerFault(`can't be asked: ${error.message}`, { cause: error })
        for (const each of want.waiting) each({ fault })
      })
    }
    return () => {
      want.waiting.delete(answer)
      if (want.waiting.size > 0 || wants.get(name) !== want) return
      wants.delete(name)
      outbox.cancel(peer, cid)
    }
  }

  return {
    heardOf: (peer) => heard.get(peer.toString()) ?? 0,

    giveUp: (peer, fault) => failAll(peer.toString(), fault),

    askAll(cid, options) {
      asked.set(keyOf(cid), 'all')
      return bitswap.want(cid, options)
    },

    ask(cid, peer, { signal, silenceMs }) {
      const askedAt = Date.now()
      let timer: NodeJS.Timeout | undefined
      return new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason as Error)
        const answer = (outcome: Outcome) => {
          clearTimeout(timer)
          signal.removeEventListener('abort', onAbort)
          leave()
          if ('block' in outcome) resolve({ bytes: outcome.block, itself: outcome.from === peer.toString() })
          else reject(outcome.fault)
        }
        const onAbort = () => answer({ fault: signal.reason as Error })
        const watch = () => {
          const since = Math.max(askedAt, heard.get(peer.toString()) ?? 0)
          const until = Math.min(since + silenceMs, askedAt + MOST_SILENCES * silenceMs)
          if (until > Date.now()) timer = setTimeout(watch, until - Date.now())
          else answer({ fault: new PeerFault(`sent nothing for ${silenceMs} ms`, { timeout: true }) })
        }
        const leave = join(cid, peer, answer)
        signal.addEventListener('abort', onAbort)
        watch()
      })
    }
  }
}

/** A block's name whatever the version of its CID. */
function keyOf(cid: CID): string {
  const { buffer, byteOffset, byteLength } = cid.multihash.bytes
  return Buffer.from(buffer, byteOffset, byteLength).toString('latin1')
}
