import { decode, type PBLink } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import type { Mark, Marks, Store } from '../store/index.ts'

const DAG_PB = 0x70
const MAX_DEPTH = 64

/** Marks that are written together. */
const BATCH = 1000

/** Blocks that one walk remembers, so that a tree which names one many times doesn't cost more. */
const MAX_REMEMBERED = 1_000_000

/** Marks what is below a root. */
export interface Marker {
  /**
   * Marks the blocks below `root` that are in the store, down to those below which all is marked already.
   * What isn't here is passed over; a later walk finds it if it has come by then.
   *
   * @param afresh goes through all of it again, whatever is marked: marks below may have gone
   * @throws the signal's reason
   */
  mark(root: CID, afresh?: boolean): Promise<void>
}

/** Makes the marker. One walk at a time; its memory is the path that it is on, and the blocks it remembers. */
export function createMarker(options: {
  blocks: Pick<Store['blocks'], 'find' | 'has'>
  marks: Marks
  signal: AbortSignal
}): Marker {
  const { blocks, marks, signal } = options

  return {
    async mark(root, afresh = false) {
      const batch = new Map<string, [Uint8Array, Mark]>()
      const seen = new Map<string, boolean>()

      async function set(multihash: Uint8Array, mark: Mark): Promise<void> {
        batch.set(Buffer.from(multihash).toString('latin1'), [multihash, mark])
        if (batch.size >= BATCH) await flush()
      }

      async function flush(): Promise<void> {
        const rows = [...batch.values()]
        batch.clear()
        if (rows.length > 0) await marks.set(rows)
      }

      /** Whether all of the DAG is here, and marked now. */
      async function visit(cid: CID, depth: number): Promise<boolean> {
        signal.throwIfAborted()
        const key = cid.toString()
        const known = seen.get(key)
        if (known !== undefined) return known
        const whole = await look(cid, depth)
        if (seen.size < MAX_REMEMBERED) seen.set(key, whole)
        return whole
      }

      async function look(cid: CID, depth: number): Promise<boolean> {
        if (depth > MAX_DEPTH) return false
        if (!afresh && (await marks.of(cid)) === 'all') return true
        if (cid.code !== DAG_PB) {
          const here = await blocks.has(cid)
          if (here) await set(cid.multihash.bytes, 'all')
          return here
        }
        const bytes = await blocks.find(cid)
        if (bytes === undefined) return false
        const node = decode(bytes)
        const whole = (await asBlob(cid, node)) ?? (await children(node.Links, depth))
        await set(cid.multihash.bytes, whole ? 'all' : 'some')
        return whole
      }

      async function children(links: readonly PBLink[], depth: number): Promise<boolean> {
        let whole = true
        for (const { Hash } of links) whole = (await visit(Hash, depth + 1)) && whole
        return whole
      }

      /** A file that is one of the store's blobs is marked by its digest, and the nodes above its leaves one by one. */
      async function asBlob(
        root: CID,
        { Data, Links }: ReturnType<typeof decode>
      ): Promise<boolean | undefined> {
        if (Data === undefined || UnixFS.unmarshal(Data).isDirectory()) return undefined
        const first = await firstLeaf(Links, 0)
        const blob = first && (await marks.blobOf(root, first))
        if (blob === undefined) return undefined
        await set(blob, 'all')
        await inner(Links, 1)
        return true
      }

      async function firstLeaf(links: readonly PBLink[], depth: number): Promise<CID | undefined> {
        const cid = links[0]?.Hash
        if (cid === undefined || cid.code !== DAG_PB) return cid
        const bytes = depth < MAX_DEPTH ? await blocks.find(cid) : undefined
        return bytes && firstLeaf(decode(bytes).Links, depth + 1)
      }

      async function inner(links: readonly PBLink[], depth: number): Promise<void> {
        for (const { Hash } of links) {
          if (Hash.code !== DAG_PB || depth > MAX_DEPTH) continue
          const bytes = await blocks.find(Hash)
          if (bytes === undefined) continue
          await set(Hash.multihash.bytes, 'all')
          await inner(decode(bytes).Links, depth + 1)
        }
      }

      await visit(root, 0)
      await flush()
    }
  }
}
