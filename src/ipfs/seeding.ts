import type { Blockstore } from 'interface-blockstore'
import { NotFoundError } from 'interface-store'
import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import type { Digest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import type { Store } from '../store/index.ts'
import type { CarBlocks } from './car-writer.ts'
import type { Limiter } from './limits.ts'
import type { Mapped } from './mappings.ts'
import { createMarker } from './marker.ts'

/** What peers are offered: the trees of our own with what they hold, everything in the store, or nothing. What is private never is. */
export type SeedPolicy = 'published' | 'all' | 'none'

/** The store as peers see it. */
export interface Offer extends CarBlocks {
  readonly policy: SeedPolicy
  has(cid: CID): Promise<boolean>
  /** The file of a blob that is offered, for those who know only its digest. */
  mapped(digest: Digest): Promise<Mapped | undefined>
  /**
   * A tree of our own has this root now: it and all below it are offered.
   *
   * @param afresh believes no mark on the way: a collection may have taken some below
   */
  include(root: CID, afresh?: boolean): void
  stop(): Promise<void>
}

/** A block is at most this long in what bitswap reads of the store, in bytes. */
const MOST = 1024 * 1024

/** How long somebody who asks for a block waits for a new tree to be marked, in milliseconds. */
const MARKING_MS = 5000

/**
 * Makes the offer. With `published` a block is offered if it is marked: marks are set once, when a tree
 * changes, from its new root down to what is marked already (`marker.ts`), so that a request costs a look or
 * two, and a push as much as it changed. A mark stays until its block is collected: earlier roots are offered
 * as long as they are kept.
 */
export function createOffer(options: {
  policy: SeedPolicy
  store: Pick<Store, 'blocks' | 'marks' | 'peek' | 'privates'>
  log: Log
}): Offer {
  const { policy, log } = options
  const { blocks, marks, peek, privates } = options.store
  const stopped = new AbortController()
  const marker = createMarker({ blocks, marks, signal: stopped.signal })
  let marking: Promise<void> | undefined

  async function offers(cid: CID): Promise<boolean> {
    if (policy === 'none' || (await privates.covers(cid))) return false
    if (policy === 'all') return true
    if (await marks.covers(cid)) return true
    if (marking === undefined) return false
    await within(MARKING_MS, marking)
    return marks.covers(cid)
  }

  const has = async (cid: CID): Promise<boolean> => (await offers(cid)) && blocks.has(cid)

  return {
    policy,
    has,
    async mapped(digest) {
      const blob = await peek.blob(digest)
      if (blob === undefined || !(await has(blob.cid))) return undefined
      return { digest, cid: blob.cid, size: blob.size }
    },
    find: async (cid) => ((await offers(cid)) ? blocks.find(cid) : undefined),
    openFile: async (root, leaf) => ((await offers(root)) ? blocks.openFile(root, leaf) : undefined),
    include(root, afresh = false) {
      if (policy !== 'published' || stopped.signal.aborted) return
      const before = marking ?? Promise.resolve()
      const mine = before
        .then(() => marker.mark(root, afresh))
        .catch((error: unknown) => {
          if (!stopped.signal.aborted)
            log.error({ root: root.toString(), err: reason(error) }, 'a tree could not be marked as offered')
        })
        .finally(() => {
          if (marking === mine) marking = undefined
        })
      marking = mine
    },
    async stop() {
      stopped.abort(new Error('the gateway is stopping'))
      await marking
    }
  }
}

/** What bitswap reads blocks from: the offer, at the pace of the limit. */
export function blockstoreOf(
  offer: Pick<Blockstore, 'has'> & Pick<CarBlocks, 'find'>,
  up: Limiter
): Blockstore {
  async function* get(cid: CID, options?: { signal?: AbortSignal }): AsyncGenerator<Uint8Array> {
    // taken before the block is read, so that those who wait hold nothing
    await up.take(MOST, options?.signal)
    const bytes = await offer.find(cid)
    up.giveBack(MOST - (bytes?.length ?? 0))
    if (bytes === undefined) throw new NotFoundError(`no block ${cid} is offered here`)
    yield bytes
  }
  return { has: (cid: CID) => offer.has(cid), get } as unknown as Blockstore
}

async function within(ms: number, work: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  await Promise.race([work, promise])
  clearTimeout(timer)
}
