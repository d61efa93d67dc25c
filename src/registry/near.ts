import { LRUCache } from 'lru-cache'
import type { Ipfs, Mapping } from '../ipfs/index.ts'
import type { Log } from '../log.ts'
import { type Digest, digestOf, splitDigest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import { LEAF_SIZE } from '../store/dag.ts'
import { rawCid, type Store } from '../store/index.ts'

/** A blob, or a manifest, of which the digest is known, and perhaps the size in bytes. */
export interface Named {
  readonly digest: Digest
  readonly size: number | undefined
}

/** What peers have of the images of other registries: found by digest, since no tree leads to it. */
export interface Near {
  /** Whether there is anybody to ask. */
  any(): Promise<boolean>
  /** Asks for several at once, so that {@link Near.blob} needn't. */
  ahead(named: readonly Named[]): void
  /** Who says that it has a blob, after a moment at most; see {@link Mapping}. */
  blob(named: Named): Promise<Mapping | undefined>
  /**
   * A manifest that a peer has, checked against its digest.
   *
   * @throws the signal's reason, nothing else
   */
  manifest(named: Named, signal: AbortSignal): Promise<Uint8Array | undefined>
}

/** How long it is remembered who has something, and that nobody has, in milliseconds. */
const FOUND_MS = 60_000
const NOBODY_MS = 10_000

/** How long a peer that says it has a manifest may take to send it, in milliseconds. */
const MANIFEST_MS = 2000

/**
 * Makes it.
 *
 * @param options.addresses peers to ask beside those who are near or connected
 */
export function createNear(options: {
  ipfs: Pick<Ipfs, 'block' | 'find' | 'mappings'>
  store: Pick<Store, 'peek'>
  addresses: readonly string[]
  /** Told of bytes of manifests that came. */
  received?: (bytes: number) => void
  log: Log
}): Near {
  const { ipfs, store, addresses, log } = options
  const known = new LRUCache<Digest, Promise<Mapping | undefined>>({ max: 10_000, ttl: FOUND_MS })

  /** Begins to ask for those that aren't known; what was said last of the others stands. */
  function ask(named: readonly Named[]): void {
    const news = named.filter(({ digest }) => !known.has(digest))
    if (news.length === 0) return
    const sought = news.map(({ digest, size }) => ({ digest, ...(size !== undefined && { size }) }))
    const signal = new AbortController().signal // it has a deadline of its own
    const asked = ipfs.mappings.find(sought, { addresses, signal })
    for (const one of news) {
      const { digest } = one
      const found = asked
        .then((all) => all.get(digest) ?? routed(one))
        .catch((error: unknown) => {
          log.debug({ digest, cause: reason(error) }, 'peers could not be asked for a blob')
          return undefined
        })
      known.set(digest, found)
      void found.then((mapping) => {
        if (mapping === undefined && known.peek(digest) === found)
          known.set(digest, found, { ttl: NOBODY_MS })
      })
    }
  }

  /** Whom the network names for a blob of one leaf, whose CID follows from its digest. */
  async function routed({ digest, size }: Named): Promise<Mapping | undefined> {
    const { algorithm, hex } = splitDigest(digest)
    if (size === undefined || size > LEAF_SIZE || algorithm !== 'sha256') return undefined
    const cid = rawCid(Buffer.from(hex, 'hex'))
    const peers = await ipfs
      .find(cid, { signal: AbortSignal.timeout(ipfs.mappings.answerMs) })
      .catch(() => []) // in time, or not
    if (peers.length === 0) return undefined
    return { digest, cid, size, peers, proven: true, proved: () => undefined, refuted: () => undefined }
  }

  async function blob(named: Named): Promise<Mapping | undefined> {
    ask([named])
    const mapping = await known.get(named.digest)
    return (
      mapping && {
        ...mapping,
        get proven() {
          return mapping.proven
        },
        refuted(alone) {
          // what else they said may be as wrong
          known.clear()
          mapping.refuted(alone)
        }
      }
    )
  }

  return {
    any: () => ipfs.mappings.any(addresses),
    blob,

    ahead(named) {
      void (async () => {
        const here = await Promise.all(named.map(({ digest }) => store.peek.blob(digest)))
        ask(named.filter((_, i) => here[i] === undefined))
      })().catch((error: unknown) => log.debug({ cause: reason(error) }, 'could not look ahead'))
    },

    async manifest(named, signal) {
      const { digest } = named
      const mapping = await blob(named)
      // a larger one comes from its registry: its file would have to be put together
      if (mapping === undefined || mapping.size > LEAF_SIZE) return undefined
      const { cid, peers } = mapping
      try {
        const limit = AbortSignal.any([signal, AbortSignal.timeout(MANIFEST_MS)])
        const bytes = await ipfs.block(cid, { peers, signal: limit, keep: false })
        options.received?.(bytes.length)
        if (digestOf(bytes, splitDigest(digest).algorithm) === digest) return bytes
      } catch (error) {
        signal.throwIfAborted()
        log.debug({ digest, cause: reason(error) }, 'a manifest that peers have cannot be had')
      }
      return undefined
    }
  }
}
