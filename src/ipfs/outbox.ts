import type { Libp2p, PeerId } from '@libp2p/interface'
import { base64 } from 'multiformats/bases/base64'
import type { CID } from 'multiformats/cid'

/** One line of a want list (https://specs.ipfs.tech/bitswap-protocol/#bitswap-1-2-0-wire-format). */
interface Entry {
  cid: Uint8Array
  priority: number
  wantType: 'WantBlock'
  cancel: boolean
  sendDontHave: boolean
}

/** A message as `@helia/bitswap` queues it; keys are multihashes in base64. */
export interface Message {
  full: boolean
  pendingBytes: number
  wantlist: Map<string, Entry>
  blocks: Map<string, { data: Uint8Array; prefix: Uint8Array }>
  blockPresences: Map<string, { cid: Uint8Array; type: 'HaveBlock' | 'DoNotHaveBlock' }>
}

/** A message with nothing in it. */
export function emptyMessage(): Message {
  return { full: false, pendingBytes: 0, wantlist: new Map(), blocks: new Map(), blockPresences: new Map() }
}

/** The part of `@helia/bitswap` that sends. */
export interface BitswapNetwork {
  /** Dials the peer if need be; resolves when the message has left. */
  sendMessage(peer: PeerId, message: Message): Promise<void>
}

/** Want lists to single peers, what is said in one turn of the event loop put into one message. */
export interface Outbox {
  /** Asks `peer` for a block; rejects when the question can't be brought to it. */
  want(peer: PeerId, cid: CID): Promise<void>
  /** Takes the question back, or closes it: a Helia peer won't send a block twice to one that didn't. */
  cancel(peer: PeerId, cid: CID): void
}

/** What is to be said to one peer. */
interface Letter {
  entries: Map<string, Entry>
  sent: Promise<void>
}

/** Makes the outbox over the package's network, whose own sessions never send a cancel. */
export function createOutbox(network: BitswapNetwork, libp2p: Libp2p): Outbox {
  const letters = new Map<string, Letter>()
  /** Cancels that haven't left yet: a new want for the same block has to come after them. */
  const cancelling = new Map<string, Promise<void>>()

  async function post(peer: PeerId, entries: Map<string, Entry>): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve))
    letters.delete(peer.toString())
    if (entries.size === 0) return
    await network.sendMessage(peer, { ...emptyMessage(), wantlist: entries })
  }

  function letterTo(peer: PeerId): Letter {
    const id = peer.toString()
    const open = letters.get(id)
    if (open !== undefined) return open
    const entries = new Map<string, Entry>()
    const sent = post(peer, entries)
    const letter = { entries, sent }
    letters.set(id, letter)
    return letter
  }

  return {
    async want(peer, cid) {
      const key = base64.encode(cid.multihash.bytes)
      await cancelling.get(`${peer.toString()} ${key}`)
      const { entries, sent } = letterTo(peer)
      entries.set(key, {
        cid: cid.bytes,
        priority: 1,
        wantType: 'WantBlock',
        cancel: false,
        sendDontHave: true
      })
      await sent
    },

    cancel(peer, cid) {
      const key = base64.encode(cid.multihash.bytes)
      if (letters.get(peer.toString())?.entries.delete(key) === true) return
      // a cancel isn't worth a dial
      if (libp2p.getConnections(peer).length === 0) return
      const { entries, sent } = letterTo(peer)
      entries.set(key, {
        cid: cid.bytes,
        priority: 1,
        wantType: 'WantBlock',
        cancel: true,
        sendDontHave: false
      })
      const name = `${peer.toString()} ${key}`
      const gone = sent
        // the peer is away, and its list of our wants with it
        .catch(() => {})
        .finally(() => {
          if (cancelling.get(name) === gone) cancelling.delete(name)
        })
      cancelling.set(name, gone)
    }
  }
}
