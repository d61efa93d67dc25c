import * as dagCbor from '@ipld/dag-cbor'
import { decode, type PBLink } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import { encode as encodeVarint } from 'uint8-varint'
import type { StoreBlocks } from '../store/index.ts'
import { type LeafReader, openLeafReader } from './leaf-reader.ts'

/** Which blocks of a DAG go into a CAR. @see https://specs.ipfs.tech/http-gateways/trustless-gateway/#dag-scope-request-query-parameter */
export type DagScope = 'block' | 'entity' | 'all'

/** The first and last byte of a file's content that is wanted; a negative number counts from the end. */
export interface ContentRange {
  readonly from: number
  readonly to: number | undefined
}

/** What to write. */
export interface CarRequest {
  /** Blocks on the way to the last one, which goes in whole as `scope` says; the first is the CAR's root. */
  readonly path: readonly CID[]
  readonly scope: DagScope
  /** For files. */
  readonly bytes?: ContentRange
  /** Whether a block that occurs again is written again. */
  readonly dups: boolean
}

/** Where blocks are found. */
export interface CarBlocks extends Pick<StoreBlocks, 'openFile'> {
  /** `undefined` for a block that isn't there; `place` is where the content of a file's leaf lies in it. */
  find(cid: CID, place?: { offset: number; length: number }): Promise<Uint8Array | undefined>
}

const IDENTITY = 0
const RAW = 0x55
const DAG_PB = 0x70

/** How deep a DAG may be, and how many different blocks are remembered to leave out duplicates. */
const MAX_DEPTH = 64
const MAX_REMEMBERED = 1_000_000

/** Whether a CID holds its block's bytes itself, instead of their hash. */
export function isInline(cid: CID): boolean {
  return cid.multihash.code === IDENTITY
}

/**
 * A CARv1 of blocks in the store, depth first. A block that isn't there ends it with an error, so that a
 * truncated CAR is never taken for a whole one.
 *
 * A chunk may be overwritten when the next one is asked for: whoever keeps it longer has to copy it.
 *
 * @see https://ipld.io/specs/transport/car/carv1/
 */
export async function* writeCar(blocks: CarBlocks, request: CarRequest): AsyncGenerator<Uint8Array> {
  const { path, scope, dups } = request
  const seen = new Set<string>()
  const [root] = path
  const target = path.at(-1)
  if (root === undefined || target === undefined) throw new RangeError('a CAR has a root')
  let leaves: LeafReader | undefined
  try {
    const header = dagCbor.encode({ version: 1, roots: [root] })
    yield Buffer.concat([encodeVarint(header.length), header])
    for (const cid of path.slice(0, -1)) yield* frame(cid, await block(cid))
    yield* walk(target, 0, 0, request.bytes)
  } finally {
    await leaves?.close()
  }

  async function block(cid: CID, place?: { offset: number; length: number }): Promise<Uint8Array> {
    const bytes = isInline(cid) ? cid.multihash.digest : await blocks.find(cid, place)
    if (bytes === undefined) throw new Error(`block ${cid} is not in the store`)
    return bytes
  }

  /** Whether the block goes in: the first time, or if repetitions are wanted. */
  function fresh(cid: CID): boolean {
    if (dups) return true
    const key = cid.toString()
    if (seen.has(key)) return false
    if (seen.size < MAX_REMEMBERED) seen.add(key)
    return true
  }

  function* frame(cid: CID, bytes: Uint8Array): Generator<Uint8Array> {
    // the bytes of such a CID are in whatever links to it, and must not come again
    if (!isInline(cid) && fresh(cid)) yield Buffer.concat([headOf(cid, bytes.length), bytes])
  }

  /** `at` is where the block's content begins in the target, for files. */
  async function* walk(
    cid: CID,
    at: number,
    depth: number,
    range: ContentRange | undefined,
    length?: number
  ): AsyncGenerator<Uint8Array> {
    if (depth > MAX_DEPTH) throw new RangeError(`the DAG is deeper than ${MAX_DEPTH}`)
    const bytes = await block(cid, length === undefined ? undefined : { offset: at, length })
    yield* frame(cid, bytes)
    if (scope === 'block' || cid.code !== DAG_PB) return
    const node = decode(bytes)
    const data = UnixFS.unmarshal(node.Data ?? new Uint8Array())
    if (data.type === 'file' || data.type === 'raw') {
      const [first] = node.Links
      if (depth === 0 && scope === 'entity' && first !== undefined) leaves = await openLeaves(cid, first)
      yield* children(node.Links, data, at, depth, range)
    } else if (data.type === 'directory' && scope === 'all') {
      for (const link of node.Links) yield* walk(link.Hash, 0, depth + 1, undefined)
    } else if (data.type === 'hamt-sharded-directory') {
      for (const link of node.Links) {
        // A link with nothing behind its slot is a shard of the same directory.
        if (scope === 'all' || link.Name?.length === 2) yield* walk(link.Hash, 0, depth + 1, undefined)
      }
    }
  }

  /** The flat file whose DAG this is, if it is one of the store's own blobs: then its leaves lie in it in order. */
  async function openLeaves(root: CID, first: PBLink): Promise<LeafReader | undefined> {
    let leaf = first.Hash
    for (let depth = 0; leaf.code === DAG_PB && depth < MAX_DEPTH; depth++) {
      const below = decode(await block(leaf)).Links[0]
      if (below === undefined) return undefined
      leaf = below.Hash
    }
    const found = await blocks.openFile(root, leaf)
    return found && openLeafReader(found.file, found.size)
  }

  /** The parts of a file in which bytes of the range lie. */
  async function* children(
    links: readonly PBLink[],
    data: UnixFS,
    at: number,
    depth: number,
    range: ContentRange | undefined
  ): AsyncGenerator<Uint8Array> {
    for (const { link, start, length, below } of parts(links, data, range)) {
      if (leaves !== undefined && link.Hash.code === RAW) {
        if (fresh(link.Hash)) yield* leaves.pieces(at + start, length, headOf(link.Hash, length))
      } else yield* walk(link.Hash, at + start, depth + 1, below, length)
    }
  }
}

/** Inner nodes that are read at most to find out how long a CAR will be: 64 GiB of our own leaves. */
const MAX_NODES = 64

/**
 * How long {@link writeCar}'s CAR will be, in bytes, so that it can be sent with its length and nothing around
 * its chunks; `undefined` where that can't be told from a few inner nodes.
 */
export async function carSize(blocks: CarBlocks, request: CarRequest): Promise<number | undefined> {
  const { path, scope, dups, bytes } = request
  const [root] = path
  const target = path.at(-1)
  if (root === undefined || target?.code !== DAG_PB || scope !== 'entity' || !dups) return undefined
  const header = dagCbor.encode({ version: 1, roots: [root] })
  let size = encodeVarint(header.length).length + header.length
  let nodes = 0

  /** Whether all below could be counted. */
  async function count(cid: CID, depth: number, range: ContentRange | undefined): Promise<boolean> {
    if (isInline(cid) || depth > MAX_DEPTH || nodes++ > MAX_NODES) return false
    const block = await blocks.find(cid)
    if (block === undefined) return false
    size += headOf(cid, block.length).length + block.length
    const node = decode(block)
    const data = UnixFS.unmarshal(node.Data ?? new Uint8Array())
    if (data.type !== 'file' && data.type !== 'raw') return false
    for (const { link, length, below } of parts(node.Links, data, range)) {
      if (isInline(link.Hash)) return false
      if (link.Hash.code === RAW) size += headOf(link.Hash, length).length + length
      else if (link.Hash.code !== DAG_PB || !(await count(link.Hash, depth + 1, below))) return false
    }
    return true
  }

  for (const cid of path.slice(0, -1)) {
    const block = isInline(cid) ? undefined : await blocks.find(cid)
    if (block === undefined) return undefined
    size += headOf(cid, block.length).length + block.length
  }
  return (await count(target, 0, bytes)) ? size : undefined
}

/** The links of a file's node below which bytes of the range lie, with where their content begins in the node's. */
function* parts(
  links: readonly PBLink[],
  data: UnixFS,
  range: ContentRange | undefined
): Generator<{ link: PBLink; start: number; length: number; below: ContentRange | undefined }> {
  const size = Number(data.fileSize())
  const from = range === undefined ? 0 : Math.max(0, range.from < 0 ? size + range.from : range.from)
  const last = range?.to === undefined ? size - 1 : range.to < 0 ? size + range.to : range.to
  let start = data.data?.length ?? 0
  for (const [i, link] of links.entries()) {
    const length = Number(data.blockSizes[i] ?? 0)
    const below = range && { from: Math.max(0, from - start), to: last - start }
    if (start + length > from && start <= last) yield { link, start, length, below }
    start += length
  }
}

/** What stands in front of a block in its frame. */
function headOf(cid: CID, length: number): Uint8Array {
  return Buffer.concat([encodeVarint(cid.byteLength + length), cid.bytes])
}
