import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import type { Digest } from '../oci/digest.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { LEAF_SIZE } from '../store/dag.ts'
import type { BlobInfo, BlobWriter, Store } from '../store/index.ts'
import { type Lent, lend } from './lend.ts'
import type { Mapping } from './mappings.ts'
import { createPatience } from './patience.ts'
import type { Ipfs, Leaf, PeerId } from './types.ts'

/**
 * Whoever has a blob outside of IPFS. Nothing proves its bytes but the digest of the whole.
 */
export interface Origin {
  /** What messages call it. */
  readonly what: string
  /** In bytes. @throws {RegistryError} BLOB_UNKNOWN, SOURCE_FAILED, SOURCE_TIMEOUT */
  size(signal: AbortSignal): Promise<number>
  /** The bytes from `from` to the end; a chunk may be used again when the next one is asked for. */
  read(from: number, signal: AbortSignal): AsyncIterable<Uint8Array>
  /** What it sent turned out to be something else. */
  refuted(): void
}

/**
 * What an earlier transfer had left of a blob, or what was added to it, was wrong. Nothing of it is there any more, so who
 * wants the blob may try again at once.
 */
export class WrongStart extends RegistryError {}

interface Blob {
  /** What the bytes must have. */
  readonly digest: Digest
  /** Told of bytes of content that came from peers. */
  readonly received?: (bytes: number) => void
  /** Told when it is in the store. */
  readonly kept?: (blob: BlobInfo) => void
  /** Peers may not have it from here. */
  readonly isPrivate?: boolean
  /** In bytes, where it is known. */
  readonly size?: number
}

interface InIpfs {
  /** The UnixFS file that is said to hold it. */
  readonly cid: CID
  /** Peers to ask, found when they are needed. */
  readonly peers: (signal: AbortSignal) => Promise<readonly PeerId[]>
  /** Told what came of it where only peers say that this file holds the blob. */
  readonly claim?: Pick<Mapping, 'proven' | 'proved' | 'refuted'>
}

/**
 * A blob to be fetched: by the file that is said to hold it, from an origin, or both; then the origin is asked
 * for what no peer sent.
 */
export type Wanted = Blob &
  ((InIpfs & { readonly origin?: Origin }) | { readonly origin: Origin; readonly cid?: never })

/** Where a blob's last piece begins, in bytes: what is withheld until the digest of the whole is known. */
export function tailOf(size: number): number {
  return Math.floor(Math.max(0, size - 1) / LEAF_SIZE) * LEAF_SIZE
}

/** What {@link receive} works with. */
export interface Reception {
  wanted: Wanted
  writer: BlobWriter
  /** In bytes, as the file's root says. */
  size: number
  signal: AbortSignal
  /** Told of each leaf that was verified, before it is written. Whoever wants its memory longer holds it; the
   * next one comes when this resolves. */
  arrived(leaf: Lent): Promise<void>
  /** Told as soon as the digest of the whole has turned out right, with the last piece (if it came by now
   * and not before): what follows is only to make the blob durable. */
  verified(tail: Uint8Array | undefined): void
}

/** The multicodecs of raw blocks and of sha2-256. */
const RAW = 0x55
const SHA2_256 = 0x12

/** Makes the part of a transfer that takes a file's leaves in order and makes a blob of the store of them. */
export function createReceiver(options: { ipfs: Ipfs; store: Store; log: Log }) {
  const { ipfs, store, log } = options

  /**
   * Takes what is left of the file from the peers there are. Where they fail, it goes on with those who could not be
   * asked yet: a peer that was still being dialled is connected by then.
   */
  async function takeFromPeers(reception: Reception, file: InIpfs, tail: Tail): Promise<void> {
    const { signal } = reception
    const asked = new Set<string>()
    for (let peers = await file.peers(signal); ; ) {
      for (const peer of peers) asked.add(peer.toString())
      try {
        await takeLeaves(reception, file.cid, tail, peers)
        return
      } catch (error) {
        signal.throwIfAborted()
        if (!(error instanceof RegistryError) || !error.code.startsWith('SOURCE_')) throw error
        peers = await file.peers(signal).catch(() => []) // then what failed before is the reason
        if (!peers.some((peer) => !asked.has(peer.toString()))) throw error
        log.debug({ cid: file.cid.toString(), cause: error.message }, 'others are asked for the rest')
      }
    }
  }

  /** Leaves in order into the writer; a leaf of another chunking is noted so that its block can be served too. */
  async function takeLeaves(
    reception: Reception,
    cid: CID,
    tail: Tail,
    peers: readonly PeerId[]
  ): Promise<void> {
    const { wanted, writer, size, signal } = reception
    const patience = wanted.origin && createPatience(ipfs.timeouts.blockMs, signal)
    const end = patience?.signal ?? signal
    const elsewhere = wanted.origin !== undefined
    const leaves = ipfs.leaves(cid, { from: writer.size, size, peers, elsewhere, signal: end })
    for await (const leaf of patience?.watch(leaves) ?? leaves) {
      // The first leaf after a resume can begin before the place where the file ended.
      const skip = writer.size - leaf.offset
      if (leaf.offset + leaf.data.length > size)
        throw new RegistryError('SOURCE_FAILED', `${cid} holds more bytes than its root says`)
      if (!leaf.local) wanted.received?.(leaf.data.length)
      tail.keep(leaf)
      const lent = lend(leaf)
      const passedOn = reception.arrived(lent)
      const own = isOwnLeaf(leaf, size)
      if (own && skip === 0) {
        await writer.appendLeaf(leaf.data, leaf.cid.multihash.digest, lent.release)
        await passedOn
        continue
      }
      try {
        await writer.append(skip > 0 ? leaf.data.subarray(skip) : leaf.data)
      } finally {
        lent.release()
      }
      await passedOn
      if (!own) {
        writer.addForeignLeaf({
          multihash: leaf.cid.multihash.bytes,
          offset: leaf.offset,
          length: leaf.data.length,
          // copies, so that the framing doesn't keep its whole block in memory
          prefix: leaf.prefix.slice(),
          suffix: leaf.suffix.slice()
        })
      }
    }
    if (writer.size !== size)
      throw new RegistryError('SOURCE_FAILED', `${cid} ended after ${writer.size} of ${size} bytes`)
  }

  /** What an origin sends, in order into the writer. */
  async function takeBytes({ writer, size, signal }: Reception, origin: Origin, tail: Tail): Promise<void> {
    for await (const data of origin.read(writer.size, signal)) {
      const offset = writer.size
      if (offset + data.length > size)
        throw new RegistryError('SOURCE_FAILED', `${origin.what} sent more than the ${size} bytes it said`)
      tail.keep({ offset, data })
      await writer.append(data)
    }
    if (writer.size !== size)
      throw new RegistryError('SOURCE_FAILED', `${origin.what} ended after ${writer.size} of ${size} bytes`)
  }

  /** From peers, and from the origin what they don't have; `unproven` is told before the first byte of that. */
  async function take(reception: Reception, tail: Tail, unproven: () => void): Promise<void> {
    const { wanted, signal } = reception
    const { origin } = wanted
    if (wanted.cid !== undefined) {
      try {
        await takeFromPeers(reception, wanted, tail)
        return
      } catch (error) {
        signal.throwIfAborted()
        const failed = error instanceof RegistryError && error.code.startsWith('SOURCE_')
        if (origin === undefined || !failed) throw error
        log.info(
          { digest: wanted.digest, from: origin.what, cause: reason(error) },
          'peers fail, so the origin is asked'
        )
      }
    }
    if (origin === undefined) return
    unproven()
    await takeBytes(reception, origin, tail)
  }

  /**
   * What was verified stays in the incoming folder, under the CID, for the next try. Not so with other
   * chunkings: where their leaves lie is known only until the process ends; nor on a full disk, which would
   * stay full; nor with bytes that nothing proves, in a file that is named by a CID.
   */
  async function setAside(writer: BlobWriter, error: unknown, mixed: boolean): Promise<void> {
    const full = error instanceof RegistryError && error.code === 'STORAGE_FULL'
    if (writer.hasForeignLeaves || full || mixed) await writer.abort()
    else
      await writer
        .suspend()
        .catch((cause: unknown) => log.warn({ cause: reason(cause) }, 'could not keep a partial transfer'))
    await writer.close()
  }

  /** Fetches the blob into the store. @throws RegistryError SOURCE_FAILED, SOURCE_TIMEOUT, STORAGE_FULL */
  return async function receive(reception: Reception): Promise<BlobInfo> {
    const { wanted, writer, size, verified } = reception
    const tail = createTail(size)
    const resumed = wanted.cid === undefined && writer.size > 0
    let mixed = false
    let claim = wanted.cid === undefined ? undefined : wanted.claim
    try {
      await take(reception, tail, () => {
        mixed = wanted.cid !== undefined
        // then nothing came by the file that they named
        if (writer.size === 0) claim = undefined
      })
    } catch (error) {
      await setAside(writer, error, mixed)
      throw error
    }
    const onVerified = () => verified(tail.bytes())
    const also = { onVerified, cached: true, isPrivate: wanted.isPrivate === true }
    try {
      const blob = await store.blobs.commit(writer, wanted.digest, also)
      if (!mixed) claim?.proved()
      return blob
    } catch (error) {
      if (!(error instanceof RegistryError) || error.code !== 'DIGEST_INVALID') throw error
      if (resumed) {
        // who sent which part of it is not known any more
        const why = `what an earlier transfer had left of ${wanted.digest} does not fit; it is dropped`
        throw new WrongStart('SOURCE_FAILED', why, { cause: error })
      }
      // where both sent something, a file that peers made up is likelier than a registry that is wrong
      if (claim !== undefined) claim.refuted(!mixed)
      else wanted.origin?.refuted()
      log.error(
        {
          digest: wanted.digest,
          cid: wanted.cid?.toString(),
          from: wanted.origin?.what,
          cause: error.message
        },
        'a source names wrong content for a digest'
      )
      const who = claim !== undefined ? 'a peer' : wanted.cid === undefined ? wanted.origin?.what : 'the tree'
      throw new RegistryError(
        'SOURCE_FAILED',
        `what ${who} holds as ${wanted.digest} is other content; nothing of it was kept`,
        { cause: error }
      )
    }
  }
}

/** The last piece of a file, gathered from the leaves that hold it. */
interface Tail {
  keep(part: Pick<Leaf, 'offset' | 'data'>): void
  /** All of it, or `undefined` when a part came before this process did. */
  bytes(): Uint8Array | undefined
}

function createTail(size: number): Tail {
  const start = tailOf(size)
  let bytes: Buffer | undefined
  let filled = 0
  return {
    keep({ offset, data }) {
      if (offset + data.length <= start) return
      bytes ??= Buffer.alloc(size - start)
      const part = data.subarray(Math.max(0, start - offset))
      bytes.set(part, Math.max(0, offset - start))
      filled += part.length
    },
    bytes: () => (filled === size - start ? bytes : undefined)
  }
}

/** Whether a leaf is one that the store's own chunking has at that place, so that it needs no row of its own. */
function isOwnLeaf(leaf: Leaf, size: number): boolean {
  return (
    leaf.cid.code === RAW &&
    leaf.cid.multihash.code === SHA2_256 &&
    leaf.offset % LEAF_SIZE === 0 &&
    leaf.data.length === Math.min(LEAF_SIZE, size - leaf.offset)
  )
}
