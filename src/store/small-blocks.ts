import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { createGathered } from './gathered.ts'
import { type IndexDb, rowKey } from './index-db.ts'

/** The hash functions that are worked out, by their multicodec. */
const ALGORITHMS: ReadonlyMap<number, string> = new Map([
  [0x12, 'sha256'],
  [0x13, 'sha512']
])

/** The blocks that are kept whole in the index: none is given whose bytes aren't what its name says. */
export interface SmallBlocks {
  /** The bytes of a block; `undefined` when it isn't here, or isn't what it was. */
  get(multihash: Uint8Array): Promise<Uint8Array | undefined>
  /** Whether it is here; one that was met damaged isn't, until it was read well again. */
  has(multihash: Uint8Array): Promise<boolean>
}

/** How many damaged blocks are remembered, so that nobody is told that they are here. */
const MAX_BAD = 10_000

/**
 * @param setAside called with a block whose bytes aren't what they were, and awaited before it is said not to be
 *   here: whoever then fetches it writes over it
 */
export function createSmallBlocks(
  db: IndexDb,
  setAside: (multihash: Uint8Array) => Promise<void>
): SmallBlocks {
  const bad = new LRUCache<string, true>({ max: MAX_BAD })
  const read = createGathered(db)

  async function get(multihash: Uint8Array): Promise<Uint8Array | undefined> {
    const bytes = await read(rowKey('k', multihash))
    if (bytes === undefined) return undefined
    const fits = matches(multihash, bytes) !== false
    if (bad.size > 0 || !fits) {
      const name = Buffer.from(multihash).toString('latin1')
      if (fits) bad.delete(name)
      else bad.set(name, true)
    }
    if (fits) return bytes
    await setAside(multihash)
    return undefined
  }

  return {
    get,
    async has(multihash) {
      if (bad.has(Buffer.from(multihash).toString('latin1'))) return (await get(multihash)) !== undefined
      return db.has(rowKey('k', multihash))
    }
  }
}

/**
 * Whether bytes are what a multihash says; `undefined` for hash functions that can't be worked out here, of
 * which there are none in what this gateway writes or fetches.
 *
 * @see https://github.com/multiformats/multihash
 */
export function matches(multihash: Uint8Array, bytes: Uint8Array): boolean | undefined {
  const algorithm = ALGORITHMS.get(multihash[0] ?? -1)
  if (algorithm === undefined || multihash.length !== 2 + (multihash[1] ?? 0)) return undefined
  const hash = createHash(algorithm).update(bytes).digest()
  return hash.length === multihash[1] && Buffer.compare(hash, multihash.subarray(2)) === 0
}
