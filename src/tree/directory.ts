import { LRUCache } from 'lru-cache'
import type { CID } from 'multiformats/cid'
import { type DirNode, decodeDirectory, keyOf, type Link, MAX_SHARD_DEPTH, slotsOf } from './node.ts'

/** Where a walk is: in the directory `from`, on its way along `names`. */
export interface Way {
  readonly from: CID
  readonly names: readonly string[]
}

/**
 * Fetches a block by CID and verifies it: out of the store, or from a peer. With `way`, the blocks that the
 * walk will need next may be fetched along with it.
 */
export type LoadBlock = (cid: CID, signal: AbortSignal, way?: Way) => Promise<Uint8Array>

/** Reads directories, keeping those used lately decoded. Nodes are immutable, so one cache serves all trees. */
export interface Directories {
  load(cid: CID, load: LoadBlock, signal: AbortSignal, way?: Way): Promise<DirNode>
  /** A node that was just made, so that the next change doesn't decode it again. */
  remember(cid: CID, node: DirNode): void
  /** A directory that another one has replaced: not likely to be asked for again. */
  forget(cid: CID): void
  /** The entry `name` of a directory, sharded or not. */
  entry(dir: CID, name: string, load: LoadBlock, signal: AbortSignal): Promise<Link | undefined>
  /** What `path` leads to from `root`; the root itself for an empty path. */
  resolve(
    root: Link,
    path: readonly string[],
    load: LoadBlock,
    signal: AbortSignal
  ): Promise<Link | undefined>
  /** All names of a directory in byte order. Entries themselves are not loaded. */
  names(dir: CID, load: LoadBlock, signal: AbortSignal): Promise<readonly string[]>
}

/** How many entries are listed of one directory at most: a limit for trees of strangers. */
const MAX_ENTRIES = 2_000_000

/** How many shards of one are read at once for a listing. */
const AT_ONCE = 32

/** What a node or a listing takes in memory besides its bytes, about. */
const OVERHEAD = 1500

/** What a name in a listing takes besides its characters. */
const NAME_OVERHEAD = 24

/** @param bytes how much memory directories take at most, besides a fifth of that for lists of their names */
export function createDirectories(bytes = 40 * 1024 * 1024): Directories {
  const nodes = new LRUCache<string, DirNode>({
    maxSize: bytes,
    sizeCalculation: ({ table }) => OVERHEAD + table.bytes.length + table.starts.byteLength
  })
  const listings = new LRUCache<string, readonly string[]>({
    maxSize: bytes / 5,
    sizeCalculation: (names) => names.reduce((sum, name) => sum + NAME_OVERHEAD + name.length, OVERHEAD)
  })

  async function load(cid: CID, fetch: LoadBlock, signal: AbortSignal, way?: Way): Promise<DirNode> {
    const key = keyOf(cid)
    const hit = nodes.get(key)
    if (hit !== undefined) return hit
    const node = decodeDirectory(cid, await fetch(cid, signal, way))
    nodes.set(key, node)
    return node
  }

  async function entry(
    dir: CID,
    name: string,
    fetch: LoadBlock,
    signal: AbortSignal,
    beyond: readonly string[] = []
  ): Promise<Link | undefined> {
    const way = { from: dir, names: [name, ...beyond] }
    let node = await load(dir, fetch, signal, way)
    if (node.kind === 'flat') return node.links.get(name)
    const path = await slotsOf(name)
    for (const slot of path) {
      if (node.kind !== 'shard') return undefined
      const found = node.slots.get(slot)
      if (found === undefined) return undefined
      if (found.name !== undefined) return found.name === name ? found.link : undefined
      node = await load(found.link.cid, fetch, signal, way)
    }
    return undefined
  }

  async function collect(
    cid: CID,
    depth: number,
    into: string[],
    fetch: LoadBlock,
    signal: AbortSignal
  ): Promise<void> {
    const node = await load(cid, fetch, signal)
    if (node.kind === 'flat') for (const name of node.links.keys()) into.push(name)
    else {
      const below: CID[] = []
      for (const slot of node.slots.values()) {
        if (slot.name !== undefined) into.push(slot.name)
        else if (depth < MAX_SHARD_DEPTH) below.push(slot.link.cid)
      }
      for (let at = 0; at < below.length; at += AT_ONCE) {
        const some = below.slice(at, at + AT_ONCE)
        await Promise.all(some.map((cid) => load(cid, fetch, signal)))
        for (const cid of some) await collect(cid, depth + 1, into, fetch, signal)
      }
    }
    if (into.length > MAX_ENTRIES)
      throw new RangeError(`directory ${cid} has more than ${MAX_ENTRIES} entries`)
  }

  return {
    load,
    entry,
    remember(cid, node) {
      nodes.set(keyOf(cid), node)
    },
    forget(cid) {
      nodes.delete(keyOf(cid))
      listings.delete(keyOf(cid))
    },
    async resolve(root, path, fetch, signal) {
      let at: Link | undefined = root
      for (const [i, name] of path.entries()) {
        if (at === undefined) return undefined
        at = await entry(at.cid, name, fetch, signal, path.slice(i + 1))
      }
      return at
    },
    async names(dir, fetch, signal) {
      const key = keyOf(dir)
      const hit = listings.get(key)
      if (hit !== undefined) return hit
      const found: string[] = []
      await collect(dir, 0, found, fetch, signal)
      found.sort(compareBytes)
      listings.set(key, found)
      return found
    }
  }
}

/** Orders strings by their UTF-8 bytes, which for the ASCII names of a registry is plain comparison. */
export function compareBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
