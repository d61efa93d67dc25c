/** A peer that speaks bitswap and nothing else, message by message, so that it can say what no library would. */
import { setTimeout as sleep } from 'node:timers/promises'
import { generateKeyPair } from '@libp2p/crypto/keys'
import type { PeerId, Stream } from '@libp2p/interface'
import { MemoryDatastore } from 'datastore-core'
import { CID } from 'multiformats/cid'
import {
  BlockPresenceType,
  type BitswapMessage as Message,
  BitswapMessage as messages,
  WantType
} from '../../node_modules/@helia/bitswap/dist/src/pb/message.js'
import { BITSWAP_PROTOCOL } from '../../src/ipfs/bitswap.ts'
import { composeLibp2p } from '../../src/ipfs/libp2p.ts'
import { createPolicy } from '../../src/ipfs/policy.ts'

/** What a stream may have to send, in bytes, before it is given more. */
const MOST_UNSENT = 1024 * 1024

/** A block and its name. */
export interface Block {
  cid: CID
  bytes: Uint8Array
}

/** A message with blocks in it, as it goes over the wire. */
export function blocksMessage(blocks: readonly Block[]): Buffer {
  return framed({
    blocks: blocks.map(({ cid, bytes }) => ({ prefix: cid.bytes.slice(0, 4), data: new Uint8Array(bytes) })),
    blockPresences: [],
    pendingBytes: 0
  })
}

/** The length that stands in front of a message. */
export function lengthOf(message: number): Buffer {
  const bytes: number[] = []
  let left = message
  for (; left > 127; left = Math.floor(left / 128)) bytes.push((left % 128) | 128)
  return Buffer.from([...bytes, left])
}

function framed(message: Message): Buffer {
  const bytes = messages.encode(message)
  return Buffer.concat([lengthOf(bytes.length), bytes])
}

/** How it answers. */
export interface Answers {
  /** The block that it answers with. */
  find(cid: CID): Uint8Array | undefined
  /** What it sends on a stream of its own instead, as it goes over the wire; nothing for a block as usual. */
  instead(cid: CID): AsyncGenerator<Uint8Array>
}

/** One that listens. */
export interface BitswapPeer {
  /** With its id. */
  readonly multiaddr: string
  stop(): Promise<void>
}

/** Starts it on a port of its own. */
export async function startBitswapPeer({ find, instead }: Answers): Promise<BitswapPeer> {
  const libp2p = await composeLibp2p({
    privateKey: await generateKeyPair('Ed25519'),
    datastore: new MemoryDatastore(),
    listen: ['/ip4/127.0.0.1/tcp/0'],
    announce: [],
    routing: 'none',
    policy: createPolicy('any'),
    dialMs: 5000
  })

  async function say(to: PeerId, pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
    const [connection] = libp2p.getConnections(to)
    const stream = await connection?.newStream(BITSWAP_PROTOCOL)
    if (stream === undefined) return
    for await (const piece of pieces) {
      stream.send(piece)
      // it takes whatever it is given, and the other peers of this process want to go on
      do await sleep(1)
      while (stream.writeBufferLength > MOST_UNSENT && stream.status === 'open')
    }
    await stream.close()
  }

  async function answer(cid: CID, to: PeerId): Promise<void> {
    const other = instead(cid)
    const first = await other.next()
    if (first.done !== true) return say(to, led(first.value, other))
    const bytes = find(cid)
    if (bytes !== undefined) return say(to, [blocksMessage([{ cid, bytes }])])
    const presence = { cid: cid.bytes, type: BlockPresenceType.DoNotHaveBlock }
    return say(to, [framed({ blocks: [], blockPresences: [presence], pendingBytes: 0 })])
  }

  async function listen(stream: Stream, from: PeerId): Promise<void> {
    let read = Buffer.alloc(0)
    // streams of which one end stays open count against what a connection may have
    const closed = stream.close()
    for await (const chunk of stream) {
      read = Buffer.concat([read, chunk.subarray()])
      for (let next = first(read); next !== undefined; next = first(read)) {
        read = read.subarray(next.end)
        for (const { cid, cancel, wantType } of messages.decode(next.bytes).wantlist?.entries ?? []) {
          if (cancel === true || wantType === WantType.WantHave) continue
          answer(CID.decode(cid), from).catch(() => {}) // whoever asked has cut us off
        }
      }
    }
    await closed
  }

  await libp2p.handle(
    BITSWAP_PROTOCOL,
    (stream, { remotePeer }) => void listen(stream, remotePeer).catch(() => {})
  )
  await libp2p.start()
  return { multiaddr: String(libp2p.getMultiaddrs()[0]), stop: async () => libp2p.stop() }
}

/** The first whole message of what was read, and where it ends. */
function first(read: Buffer): { bytes: Buffer; end: number } | undefined {
  let length = 0
  for (let at = 0; at < read.length; at++) {
    length += ((read[at] ?? 0) & 127) * 128 ** at
    if ((read[at] ?? 0) > 127) continue
    const end = at + 1 + length
    return end <= read.length ? { bytes: read.subarray(at + 1, end), end } : undefined
  }
  return undefined
}

async function* led(first: Uint8Array, rest: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield first
  yield* rest
}
