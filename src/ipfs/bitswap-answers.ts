import type { PeerId } from '@libp2p/interface'
import type { Blockstore } from 'interface-blockstore'
import { base64 } from 'multiformats/bases/base64'
import { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import { garbage } from '../store/garbage.ts'
import { type BitswapNetwork, emptyMessage, type Message } from './outbox.ts'

/** Answers peers' want lists; takes the place of what `@helia/bitswap` does for that. */
export interface Answers {
  /** Told of each message of a peer. Never throws. */
  receiveMessage(peer: PeerId, message: IncomingMessage): void
  peerDisconnected(peer: PeerId): void
}

/** What is looked at of a message that has come (https://specs.ipfs.tech/bitswap-protocol/#bitswap-1-2-0-wire-format). */
export interface IncomingMessage {
  readonly wantlist?: { readonly full?: boolean; readonly entries: readonly IncomingEntry[] }
}

interface IncomingEntry {
  readonly cid: Uint8Array
  readonly cancel?: boolean
  readonly wantType?: string
  readonly sendDontHave?: boolean
}

/** Something that a peer wants and has not been answered. */
interface Want {
  readonly cid: CID
  /** The block, or only whether it is here. */
  readonly block: boolean
  readonly sendDontHave: boolean
}

interface Asker {
  readonly peer: PeerId
  /** In the order in which they came, by multihash. */
  readonly wants: Map<string, Want>
  /** What is on its way: asked for again meanwhile, it isn't sent twice. */
  readonly sending: Set<string>
  letters: number
  gone: boolean
}

/** How many bytes of blocks a message takes before it leaves; with one leaf more it is within the 4 MiB that peers read. */
const LETTER = 2 * 1024 * 1024

/** How many messages may be on their way to one peer, so that a slow link is full, and to all. */
const LETTERS_EACH = 4
const LETTERS = 24

/** How many wants of one peer are remembered: the leaves of a few large nodes. What comes above that is dropped. */
const MOST_WANTS = 8192

/** How many answers without a block a message takes. */
const MOST_PRESENCES = 1024

/**
 * Makes the answers. `@helia/bitswap` reads every block that a peer wants into memory before it sends the first, and
 * forgets what is above a limit without a word, so that a Helia peer, which wants all leaves of a file at once, waits
 * for ever. Here a peer's wants wait as CIDs, and blocks are read as messages leave.
 *
 * @param blockstore whose `has` and `get` give what is offered, at the pace that is allowed
 */
export function createAnswers(options: {
  blockstore: Pick<Blockstore, 'has' | 'get'>
  network: BitswapNetwork
  log: Log
}): Answers {
  const { blockstore, network, log } = options
  const askers = new Map<string, Asker>()
  let letters = 0

  function askerOf(peer: PeerId): Asker {
    const id = peer.toString()
    const known = askers.get(id)
    if (known !== undefined) return known
    const asker: Asker = { peer, wants: new Map(), sending: new Set(), letters: 0, gone: false }
    askers.set(id, asker)
    return asker
  }

  /** The block if it is here. */
  async function read(cid: CID): Promise<Uint8Array | undefined> {
    if (!(await blockstore.has(cid))) return undefined
    const pieces: Uint8Array[] = []
    try {
      for await (const piece of blockstore.get(cid)) pieces.push(piece)
    } catch (error) {
      // collected since, or damaged: somebody else may have it
      log.debug({ cid: cid.toString(), err: reason(error) }, 'a block that a peer wants could not be read')
      return undefined
    }
    return pieces.length === 1 ? pieces[0] : Buffer.concat(pieces)
  }

  /** Takes wants until a message is full; looks at what is here one after another, as the disk would anyway. */
  async function write(asker: Asker, taken: Set<string>): Promise<Message> {
    const message = emptyMessage()
    for (let size = 0; size < LETTER && message.blockPresences.size < MOST_PRESENCES; ) {
      const [next] = asker.wants
      if (next === undefined || asker.gone) break
      const [key, { cid, block, sendDontHave }] = next
      asker.wants.delete(key)
      asker.sending.add(key)
      taken.add(key)
      const bytes = block ? await read(cid) : undefined
      const has = block ? bytes !== undefined : await blockstore.has(cid)
      // taken back while it was read
      if (!asker.sending.has(key)) continue
      if (bytes !== undefined) {
        message.blocks.set(key, { data: bytes, prefix: prefixOf(cid) })
        size += bytes.length
        garbage(bytes.length)
      } else if (has || sendDontHave) {
        message.blockPresences.set(key, { cid: cid.bytes, type: has ? 'HaveBlock' : 'DoNotHaveBlock' })
      }
    }
    return message
  }

  async function answer(asker: Asker): Promise<void> {
    const taken = new Set<string>()
    try {
      const message = await write(asker, taken)
      if (asker.gone || message.blocks.size + message.blockPresences.size === 0) return
      await network.sendMessage(asker.peer, message)
    } catch (error) {
      // whoever can't be reached asks again when it is back
      log.debug(
        { peer: asker.peer.toString(), err: reason(error) },
        'a peer could not be answered over bitswap'
      )
      asker.wants.clear()
    } finally {
      for (const key of taken) asker.sending.delete(key)
    }
  }

  /** Begins as many messages as may be on their way, the peers in turn. */
  function go(): void {
    for (let begun = true; begun && letters < LETTERS; ) {
      begun = false
      for (const [id, asker] of askers) {
        if (asker.wants.size === 0) {
          if (asker.letters === 0) askers.delete(id)
          continue
        }
        if (asker.letters >= LETTERS_EACH || letters >= LETTERS) continue
        begin(asker)
        begun = true
      }
    }
  }

  function begin(asker: Asker): void {
    letters++
    asker.letters++
    void answer(asker).finally(() => {
      letters--
      asker.letters--
      // who was served goes to the end
      const id = asker.peer.toString()
      if (askers.delete(id) && !asker.gone) askers.set(id, asker)
      go()
    })
  }

  function take(asker: Asker, { cid: bytes, cancel, wantType, sendDontHave = false }: IncomingEntry): void {
    const cid = CID.decode(bytes)
    const key = base64.encode(cid.multihash.bytes)
    if (cancel === true) {
      asker.wants.delete(key)
      asker.sending.delete(key)
      return
    }
    if (asker.sending.has(key)) return
    if (asker.wants.size >= MOST_WANTS && !asker.wants.has(key)) {
      log.debug({ peer: asker.peer.toString() }, 'a peer wants more over bitswap than is remembered')
      return
    }
    asker.wants.set(key, { cid, block: wantType !== 'WantHave', sendDontHave })
  }

  return {
    receiveMessage(peer, { wantlist }) {
      if (wantlist === undefined || wantlist.entries.length === 0) return
      const asker = askerOf(peer)
      if (wantlist.full === true) asker.wants.clear()
      try {
        for (const entry of wantlist.entries) take(asker, entry)
      } catch (error) {
        log.debug({ peer: peer.toString(), err: reason(error) }, 'a peer wants over bitswap what is no CID')
      }
      go()
    },

    peerDisconnected(peer) {
      const asker = askers.get(peer.toString())
      if (asker === undefined) return
      asker.gone = true
      asker.wants.clear()
      askers.delete(peer.toString())
    }
  }
}

/** All of a CID but the hash itself, as it stands in front of a block's bytes. */
function prefixOf(cid: CID): Uint8Array {
  const { bytes, version, code, multihash } = cid
  // a CID of version 0 is a bare multihash
  if (version === 0) return Uint8Array.of(0, code, multihash.code, multihash.digest.length)
  return bytes.slice(0, bytes.length - multihash.digest.length)
}
