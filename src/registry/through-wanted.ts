import type { CID } from 'multiformats/cid'
import type { Wanted } from '../ipfs/transfer.ts'
import type { Digest } from '../oci/digest.ts'
import type { Upstream } from '../upstream/index.ts'
import type { PeersOf } from './holders.ts'
import type { Near } from './near.ts'
import type { ThroughRepository } from './through.ts'

/** What is known of a blob that isn't here. */
export interface KnownBlob {
  /** Only how long it is will be asked. */
  readonly head: boolean
  /** A tree says that the repository has it. */
  readonly named: boolean
  /** Its file in that tree, and whoever may have that. */
  readonly file?: { readonly cid: CID; readonly peers: PeersOf }
}

/**
 * Makes what says where a repository's blobs are to come from: from peers, where they may be theirs to give, and what
 * they don't send from the upstream. A digest that no manifest of the repository has named, as far as is known, is the
 * upstream's alone: it has to say whether it is there.
 */
export function createWanted(
  options: Pick<ThroughRepository, 'origin' | 'kept'> & {
    readonly upstream: Pick<Upstream, 'isPrivate'>
    readonly near: Pick<Near, 'blob'>
    /** In bytes, where a manifest has said so. */
    sizeOf(digest: Digest): number | undefined
  }
): (digest: Digest, known: KnownBlob, signal: AbortSignal) => Promise<Wanted> {
  const { upstream, near, sizeOf } = options

  return async (digest, { head, named, file }, signal) => {
    const origin = options.origin(digest, { ask: head })
    const plain = { digest, origin, kept: () => options.kept(digest) }
    if (await upstream.isPrivate(signal)) return { ...plain, isPrivate: true }
    // it was pulled through, and left the cache
    if (file !== undefined && (await file.peers(signal)).length > 0) return { digest, ...file, origin }
    const said = sizeOf(digest)
    if (head || (said === undefined && !named)) return plain
    const size = said ?? (await origin.size(signal))
    const mapping = await near.blob({ digest, size })
    if (mapping === undefined) return plain
    const { cid, peers } = mapping
    return { ...plain, size, cid, peers: async () => peers, claim: mapping }
  }
}
