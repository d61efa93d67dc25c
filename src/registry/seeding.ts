import type { CID } from 'multiformats/cid'
import type { Offer, Provider } from '../ipfs/index.ts'
import type { Log } from '../log.ts'
import type { Digest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import type { Store } from '../store/index.ts'
import type { TreeWriter } from '../tree/index.ts'

/** What the network is told of what is here. */
export interface Seeding {
  /** The roots of the local trees of our own, then the roots of the blobs that are offered. */
  all(signal: AbortSignal): AsyncGenerator<CID>
  /** The network is told from now on of roots as they change, and of what is pushed. */
  tell(provider: Provider): void
  /** Blobs were pushed into a tree. */
  pushed(digests: readonly Digest[]): void
  /**
   * Runs a collection. It takes the marks of what it found in no tree; what came back into one meanwhile, below a
   * directory that was marked whole before, is marked again afterwards.
   */
  collecting<T>(work: () => Promise<T>): Promise<T>
}

/** Has the offer follow the local trees, from the start on. */
export function createSeeding(options: {
  store: Pick<Store, 'blobs' | 'marks' | 'privates'>
  trees: Pick<TreeWriter, 'domains' | 'onRoot' | 'root'>
  offer: Pick<Offer, 'include' | 'policy'>
  /** Whether the tree of a domain is told of when nobody has just pushed to it; every one unless given. */
  isOwn?: (domain: string) => Promise<boolean>
  log: Log
}): Seeding {
  const { store, trees, offer, isOwn = async () => true, log } = options
  const latest = new Map<string, CID>()
  let provider: Provider | undefined
  /** Trees that change while collections run. */
  const changed = new Map<string, CID>()
  let collections = 0

  trees.onRoot((domain, root) => {
    offer.include(root)
    if (collections > 0) changed.set(domain, root)
    if (offer.policy === 'none' || provider === undefined) return
    const before = latest.get(domain)
    latest.set(domain, root)
    provider.add([root], before)
  })

  async function* roots(): AsyncGenerator<CID> {
    for await (const domain of trees.domains()) {
      const root = (await isOwn(domain)) ? await trees.root(domain) : undefined
      if (root !== undefined) yield root
    }
  }

  async function includeAll(): Promise<void> {
    for await (const root of roots()) offer.include(root)
  }
  if (offer.policy === 'published') {
    includeAll().catch((error: unknown) =>
      log.error({ cause: reason(error) }, 'could not read the local trees')
    )
  }

  async function cidsOf(digests: readonly Digest[]): Promise<CID[]> {
    const found = await Promise.all(digests.map((digest) => store.blobs.stat(digest)))
    return found.flatMap((blob) => blob?.cid ?? [])
  }

  return {
    async *all(signal) {
      if (offer.policy === 'none') return
      yield* roots()
      for await (const { cid, marked } of store.marks.blobs()) {
        signal.throwIfAborted()
        if ((marked || offer.policy === 'all') && !(await store.privates.covers(cid))) yield cid
      }
    },

    tell(how) {
      provider = how
    },

    async collecting(work) {
      collections++
      try {
        return await work()
      } finally {
        collections--
        for (const root of changed.values()) offer.include(root, true)
        if (collections === 0) changed.clear()
      }
    },

    pushed(digests) {
      if (offer.policy === 'none' || provider === undefined) return
      const tell = provider
      cidsOf(digests).then(
        (cids) => tell.add(cids),
        (error: unknown) => log.warn({ cause: reason(error) }, 'could not tell the network of a push')
      )
    }
  }
}
