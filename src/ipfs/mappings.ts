import type { Libp2p, PeerId } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { LRUCache } from 'lru-cache'
import { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { type Digest, splitDigest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import { LEAF_SIZE } from '../store/dag.ts'
import { rawCid } from '../store/index.ts'
import { peerOf } from './dial.ts'
import type { Distrust } from './distrust.ts'
import { SWARM_PROTOCOL } from './swarm.ts'
import type { Ipfs } from './types.ts'

/**
 * Where a gateway says which of the blobs that are asked for it offers, and the CIDs of their files:
 * `<path>?digests=sha256:…,sha256:…` is answered `{"blobs":[{"digest":"sha256:…","cid":"…","size":5}]}`.
 */
export const MAPPINGS_PATH = '/seaway/blobs'

/** Digests in one question: more would not fit into the first line of a request. */
export const MAX_ASKED = 100

/** What a gateway says of one blob. */
export interface Mapped {
  readonly digest: Digest
  /** The root of its file. */
  readonly cid: CID
  /** In bytes. */
  readonly size: number
}

/** What peers say of a blob that is known only by its digest. Nothing proves it but the blob itself. */
export interface Mapping extends Mapped {
  /** Those who say so, connected. */
  readonly peers: readonly PeerId[]
  /** Whether one of them has been right by now, or the CID follows from the digest. */
  readonly proven: boolean
  /** The file turned out to be the blob. */
  proved(): void
  /**
   * The file turned out to be something else: they are asked nothing of the kind for a while.
   *
   * @param alone every byte came by this CID, so that it was theirs and nobody else's fault
   */
  refuted(alone: boolean): void
}

/** A blob that is looked for. */
export interface Sought {
  readonly digest: Digest
  /** In bytes, where it is known: what is said to be of another size isn't it. */
  readonly size?: number
}

/** Finds the files of blobs that are known only by their digests. */
export interface Mappings {
  /** How long {@link Mappings.find} takes at most, in milliseconds. */
  readonly answerMs: number
  /** Whether there is anybody to ask, here or behind `addresses`. */
  any(addresses: readonly string[]): Promise<boolean>
  /**
   * Asks neighbours on the local network, gateways that we have connected to and those behind `addresses`, all at once, and takes
   * what has been said when each of `sought` was found, or after {@link Mappings.answerMs}.
   *
   * @throws the signal's reason, nothing else
   */
  find(
    sought: readonly Sought[],
    options: { addresses: readonly string[]; signal: AbortSignal }
  ): Promise<ReadonlyMap<Digest, Mapping>>
}

/** How long answers are waited for, in milliseconds: a client waits meanwhile, perhaps for what nobody has. */
export const ANSWER_MS = 500

/** How long one isn't asked again who gave no answer in time, or a wrong one, in milliseconds. */
const SILENT_MS = 30_000
const REFUTED_MS = 10 * 60_000

/** Peers that are asked at most, and how much of an answer is read, in bytes. */
const MAX_PEERS = 16
const MAX_ANSWER = 64 * 1024

const DAG_PB = 0x70
const SHA2_256 = 0x12

/** Makes the asking side. */
export function createMappings(options: {
  libp2p: Libp2p
  neighbours: Ipfs['neighbours']
  connect: Ipfs['connect']
  ask: Ipfs['ask']
  lied: Distrust['lied']
  answerMs?: number | undefined
  log: Log
}): Mappings {
  const { libp2p, answerMs = ANSWER_MS, log } = options
  const silent = new LRUCache<string, true>({ max: 1024, ttl: SILENT_MS })
  const refuted = new LRUCache<string, true>({ max: 1024, ttl: REFUTED_MS })
  const proven = new LRUCache<string, true>({ max: 1024 })

  /**
   * Peers that we have connected to, and that are gateways: they speak what only those do. Who has connected to us might
   * be anybody, and needn't hear what we look for.
   */
  async function gateways(): Promise<PeerId[]> {
    const ours = libp2p.getConnections().filter(({ direction }) => direction === 'outbound')
    const peers = new Map(ours.map(({ remotePeer }) => [remotePeer.toString(), remotePeer]))
    const spoken = await Promise.all(
      [...peers.values()].map(async (peer) => {
        const known = await libp2p.peerStore.get(peer).catch(() => undefined) // it has just gone, or just come
        return known?.protocols.includes(SWARM_PROTOCOL) === true ? [peer] : []
      })
    )
    return spoken.flat()
  }

  /** Whom to ask, each by the addresses that there are of it: those who were named, neighbours, then the others. */
  async function whom(addresses: readonly string[]): Promise<[key: string, addresses: readonly string[]][]> {
    const groups = new Map<string, string[]>()
    const add = (key: string, address: string) => groups.set(key, [...(groups.get(key) ?? []), address])
    for (const address of addresses) add(peerOf(multiaddr(address)) ?? address, address)
    for (const peer of [...options.neighbours(), ...(await gateways())])
      if (!groups.has(peer.toString())) add(peer.toString(), `/p2p/${peer}`)
    return [...groups]
      .filter(([key]) => key !== libp2p.peerId.toString() && !silent.has(key) && !refuted.has(key))
      .slice(0, MAX_PEERS)
  }

  /** What one of them says. */
  async function answerOf(
    addresses: readonly string[],
    sought: ReadonlyMap<Digest, Sought>,
    signal: AbortSignal
  ): Promise<{ peer: PeerId; blobs: Mapped[] } | undefined> {
    const [peer] = await options.connect(addresses, { signal })
    if (peer === undefined) return undefined
    const path = `${MAPPINGS_PATH}?digests=${[...sought.keys()].join(',')}`
    const question = { path, accept: 'application/json', maxBytes: MAX_ANSWER, signal }
    for await (const { bytes } of options.ask(addresses, question))
      return { peer, blobs: read(bytes, sought) }
    return undefined
  }

  function mappingOf(blob: Mapped, peers: readonly PeerId[]): Mapping {
    const ids = peers.map(String)
    return {
      ...blob,
      peers,
      get proven() {
        return blob.size <= LEAF_SIZE || ids.some((id) => proven.has(id))
      },
      proved() {
        for (const id of ids) proven.set(id, true)
      },
      refuted(alone) {
        for (const id of ids) {
          refuted.set(id, true)
          proven.delete(id)
          if (alone) options.lied(id, `names other content for ${blob.digest}`)
        }
        if (!alone) log.warn({ digest: blob.digest, peers: ids }, 'peers may name other content for a digest')
      }
    }
  }

  return {
    answerMs,

    any: async (addresses) => (await whom(addresses)).length > 0,

    async find(sought, { addresses, signal }) {
      signal.throwIfAborted()
      const wanted = new Map(
        sought
          .filter(({ digest }) => digest.startsWith('sha256:'))
          .slice(0, MAX_ASKED)
          .map((one) => [one.digest, one])
      )
      const asked = wanted.size === 0 ? [] : await whom(addresses)
      if (asked.length === 0) return new Map()
      const enough = new AbortController()
      const late = AbortSignal.timeout(answerMs)
      const end = AbortSignal.any([signal, late, enough.signal])
      const said = new Map<Digest, Map<string, { blob: Mapped; peers: PeerId[] }>>()
      const note = (blob: Mapped, peer: PeerId) => {
        const claims = said.get(blob.digest) ?? new Map<string, { blob: Mapped; peers: PeerId[] }>()
        const claim = claims.get(blob.cid.toString()) ?? { blob, peers: [] }
        claim.peers.push(peer)
        said.set(blob.digest, claims.set(blob.cid.toString(), claim))
      }
      const asking = asked.map(async ([key, at]) => {
        try {
          const answer = await answerOf(at, wanted, end)
          if (answer === undefined) throw new Error('it answers nothing of the kind')
          for (const blob of answer.blobs) note(blob, answer.peer)
          if (said.size === wanted.size) enough.abort(new Error('all are found'))
        } catch (error) {
          // whom others were faster than may be fast the next time
          if (!signal.aborted && !enough.signal.aborted) silent.set(key, true)
          log.debug({ peer: key, cause: reason(error) }, 'no answer to which blobs it has')
        }
      })
      await Promise.all(asking)
      signal.throwIfAborted()
      return new Map(
        [...said].map(([digest, claims]) => {
          // those who agree with somebody who was right before, else the many
          const [best] = [...claims.values()]
            .map(({ blob, peers }) => mappingOf(blob, peers))
            .sort((a, b) => Number(b.proven) - Number(a.proven) || b.peers.length - a.peers.length)
          return [digest, best as Mapping]
        })
      )
    }
  }
}

/** What an answer says of what is sought; what can't be so is left out. */
function read(bytes: Uint8Array, sought: ReadonlyMap<Digest, Sought>): Mapped[] {
  const said = JSON.parse(Buffer.from(bytes).toString()) as { blobs?: unknown } | null
  if (!Array.isArray(said?.blobs)) throw new Error('it is no list of blobs')
  const found = new Map<Digest, Mapped>()
  for (const entry of said.blobs.slice(0, MAX_ASKED) as ({ [key: string]: unknown } | null)[]) {
    const wanted = sought.get(String(entry?.['digest']) as Digest)
    const blob = wanted && mapped(wanted, entry?.['cid'], entry?.['size'])
    if (blob !== undefined) found.set(blob.digest, blob)
  }
  return [...found.values()]
}

function mapped({ digest, size: known }: Sought, text: unknown, size: unknown): Mapped | undefined {
  if (typeof text !== 'string' || typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    return undefined
  if (known !== undefined && size !== known) return undefined
  const cid = parse(text)
  if (cid === undefined) return undefined
  const follows = rawCid(Buffer.from(splitDigest(digest).hex, 'hex'))
  const fits =
    size <= LEAF_SIZE
      ? cid.equals(follows)
      : cid.version === 1 && cid.code === DAG_PB && cid.multihash.code === SHA2_256
  return fits ? { digest, cid, size } : undefined
}

function parse(text: string): CID | undefined {
  try {
    return CID.parse(text)
  } catch {
    return undefined // then it names nothing
  }
}
