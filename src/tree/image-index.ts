import { hash } from 'node:crypto'
import { decode } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { LRUCache } from 'lru-cache'
import type { CID } from 'multiformats/cid'
import { reason } from '../oci/errors.ts'
import type { Descriptor } from '../oci/manifest.ts'
import { type Block, rawCid } from '../store/dag.ts'
import type { LoadBlock } from './directory.ts'
import { dataLength, linkLength, putLink, sealBlock } from './encode.ts'
import { keyOf, type Link, UnsoundTree } from './node.ts'

/**
 * The `index.json` of an OCI image layout as a file that a change of one tag changes in few places. Its lines, one a
 * tag, are a trie by the hash of the tag: what fits into {@link LEAF} bytes is a leaf, what doesn't has sixteen
 * parts. So equal tags make an equal file, however they came, and any UnixFS reader reads it from front to end.
 *
 * A line begins with the comma after the one before it; the first in the file begins with a blank instead.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md#indexjson-file
 */
const HEAD = '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[\n'
const TAIL = ']}\n'

/** How many bytes of lines lie in one leaf at most. */
const LEAF = 4 * 1024

/** In how many parts lines are that don't fit a leaf: by one hexadecimal digit of their tags' hashes. */
const FANOUT = 16

/** What stands where a part has no lines. */
const NO_LINES = '\n'

const RAW = 0x55

const LINE =
  /^[ ,](\{"mediaType":"[^"\\]+","digest":"[a-z0-9]+:[0-9a-f]+","size":\d+,"annotations":\{"org\.opencontainers\.image\.ref\.name":"([\w.-]+)"\}\})$/

/** What the index says of a tag's manifest. */
export type Listed = Pick<Descriptor, 'mediaType' | 'digest' | 'size'>

/** A part of the file: where it is, and how many bytes of the file it is. */
interface Part {
  readonly link: Link
  readonly bytes: number
}

type IndexNode =
  | { readonly lines: ReadonlyMap<string, string>; readonly parts?: undefined }
  | { readonly lines?: undefined; readonly parts: readonly Part[] }

/** Parts of indexes that were used lately, as they were read or made. One serves all trees. */
export type IndexCache = LRUCache<string, IndexNode>

/** @param bytes how much memory they take at most, about */
export function createIndexCache(bytes = 16 * 1024 * 1024): IndexCache {
  return new LRUCache({
    maxSize: bytes,
    sizeCalculation: ({ lines, parts = [] }) =>
      500 + parts.length * 300 + (lines === undefined ? 0 : lines.size * 400)
  })
}

/** What {@link changeIndex} works with. */
export interface IndexContext {
  readonly load: LoadBlock
  readonly cache: IndexCache
  /** New blocks land here, by {@link keyOf}. */
  readonly blocks: Map<string, Block>
  readonly signal: AbortSignal
}

/**
 * A leaf; in a node rather than raw, since what belongs to a tree is told from what belongs to a blob by its codec.
 * It is what `UnixFS` marshals to: of type 2, with the text and how long that is.
 */
function textLeaf(text: string): { block: Block; part: Part } {
  const length = varint(text.length)
  const head = [Buffer.of(0x08, 0x02, 0x12), length, Buffer.from(text, 'latin1'), Buffer.of(0x18), length]
  const data = Buffer.concat(head)
  const block = sealBlock(Buffer.allocUnsafe(dataLength(data)), data)
  return { block, part: { link: { cid: block.cid, size: block.bytes.length }, bytes: text.length } }
}

/** A number that has at most 14 bits, as Protobuf writes it. */
const varint = (value: number): Buffer =>
  value < 0x80 ? Buffer.of(value) : Buffer.of((value & 0x7f) | 0x80, value >> 7)

/** What stands around the lines where they are in parts. */
const FRAME = { head: textLeaf(HEAD), tail: textLeaf(TAIL) }

/**
 * The index that `old` becomes when each of `changes`, by tag, is listed, or (`undefined`) not listed any more.
 *
 * @param old the file; `undefined` for one that lists nothing
 * @throws {UnsoundTree} when `old` isn't a file of this making; and what `load` throws
 */
export async function changeIndex(
  old: Link | undefined,
  changes: ReadonlyMap<string, Listed | undefined>,
  context: IndexContext
): Promise<Link> {
  const lines = new Map([...changes].map(([tag, listed]) => [tag, listed && lineOf(tag, listed)]))
  const node: IndexNode = old === undefined ? { lines: new Map() } : await read(old.cid, true, context)
  const made = await changed(node, lines, 0, { was: true, is: true }, context)
  if (node.parts === undefined && made.parts !== undefined) {
    for (const { block } of [FRAME.head, FRAME.tail]) context.blocks.set(keyOf(block.cid), block)
  }
  const link = made.parts === undefined ? wholeFile(made.lines, context) : framed(made.parts, context)
  if (old !== undefined) context.cache.delete(keyOf(old.cid))
  context.cache.set(keyOf(link.cid), made)
  return link
}

function lineOf(tag: string, { mediaType, digest, size }: Listed): string {
  return JSON.stringify({
    mediaType,
    digest,
    size,
    annotations: { 'org.opencontainers.image.ref.name': tag }
  })
}

/** Whether a part held the file's first line, and whether it does now. */
interface First {
  readonly was: boolean
  readonly is: boolean
}

/** A node through `changes`; it has at most a leaf's lines, or parts. */
async function changed(
  node: IndexNode,
  changes: ReadonlyMap<string, string | undefined>,
  depth: number,
  first: First,
  context: IndexContext
): Promise<IndexNode> {
  if (node.parts === undefined) {
    const lines = new Map(node.lines)
    for (const [tag, line] of changes) {
      if (line === undefined) lines.delete(tag)
      else lines.set(tag, line)
    }
    return fits(lines.values()) ? { lines } : { parts: divided(lines, depth, first.is, context) }
  }
  const groups = Map.groupBy(changes, ([tag]) => slotOf(tag, depth))
  const parts: Part[] = []
  let [wasSeen, isSeen] = [false, false]
  for (const [slot, part] of node.parts.entries()) {
    const firstHere = { was: first.was && !wasSeen, is: first.is && !isSeen }
    const here = new Map(groups.get(slot))
    const stays = here.size === 0 && firstHere.was === firstHere.is
    const now = stays ? part : await changedPart(part, here, depth + 1, firstHere, context)
    wasSeen ||= part.bytes > NO_LINES.length
    isSeen ||= now.bytes > NO_LINES.length
    parts.push(now)
  }
  const together = parts.every(({ bytes }) => bytes <= LEAF)
  if (!together || sum(parts.filter(({ bytes }) => bytes > NO_LINES.length)) > LEAF) return { parts }
  const lines = new Map<string, string>()
  for (const { link } of parts) {
    const below = await read(link.cid, false, context)
    for (const [tag, line] of below.lines ?? []) lines.set(tag, line)
  }
  return { lines }
}

async function changedPart(
  part: Part,
  changes: ReadonlyMap<string, string | undefined>,
  depth: number,
  first: First,
  context: IndexContext
): Promise<Part> {
  const made = await changed(await read(part.link.cid, false, context), changes, depth, first, context)
  // Not likely to be asked for again, and in the way of what is.
  context.cache.delete(keyOf(part.link.cid))
  return keep(made, first.is, context)
}

/** More lines than a leaf holds, as parts. */
function divided(
  lines: ReadonlyMap<string, string>,
  depth: number,
  first: boolean,
  context: IndexContext
): Part[] {
  const groups = Map.groupBy(lines, ([tag]) => slotOf(tag, depth))
  let seen = false
  return Array.from({ length: FANOUT }, (_, slot) => {
    const here = new Map(groups.get(slot))
    const isFirst = first && !seen
    seen ||= here.size > 0
    const node = fits(here.values()) ? { lines: here } : { parts: divided(here, depth + 1, isFirst, context) }
    return keep(node, isFirst, context)
  })
}

/** A part of the file that isn't the whole of it. */
function keep(node: IndexNode, first: boolean, context: IndexContext): Part {
  const { block, part } =
    node.parts === undefined ? textLeaf(textOf(node.lines, first) || NO_LINES) : nodeOf(node.parts)
  const key = keyOf(block.cid)
  context.blocks.set(key, block)
  context.cache.set(key, node)
  return part
}

/** The file where all its lines fit a leaf. */
function wholeFile(lines: ReadonlyMap<string, string>, { blocks }: IndexContext): Link {
  const bytes = Buffer.from(HEAD + textOf(lines, true) + TAIL)
  const cid = rawCid(new Uint8Array(hash('sha256', bytes, 'buffer')))
  blocks.set(keyOf(cid), { cid, bytes })
  return { cid, size: bytes.length }
}

/** The file where they don't. */
function framed(parts: readonly Part[], { blocks }: IndexContext): Link {
  const { block, part } = nodeOf([FRAME.head.part, ...parts, FRAME.tail.part])
  blocks.set(keyOf(block.cid), block)
  return part.link
}

function nodeOf(parts: readonly Part[]): { block: Block; part: Part } {
  const data = new UnixFS({ type: 'file', blockSizes: parts.map(({ bytes }) => BigInt(bytes)) }).marshal()
  const links = parts.map(({ link }) => ({ name: '', ...link }))
  const bytes = Buffer.allocUnsafe(
    links.reduce((length, link) => length + linkLength(link), dataLength(data))
  )
  let at = 0
  for (const link of links) at = putLink(bytes, link, at)
  const block = sealBlock(bytes, data)
  const size = links.reduce((total, link) => total + link.size, block.bytes.length)
  return { block, part: { link: { cid: block.cid, size }, bytes: sum(parts) } }
}

const sum = (parts: readonly Part[]): number => parts.reduce((total, { bytes }) => total + bytes, 0)

function fits(lines: Iterable<string>): boolean {
  let bytes = 0
  for (const line of lines) bytes += line.length + 2
  return bytes <= LEAF
}

function textOf(lines: ReadonlyMap<string, string>, first: boolean): string {
  const sorted = [...lines].sort(([a], [b]) => (a < b ? -1 : 1))
  return sorted.map(([, line], i) => `${first && i === 0 ? ' ' : ','}${line}\n`).join('')
}

function slotOf(tag: string, depth: number): number {
  return Number.parseInt(hash('sha256', tag)[depth] ?? '0', 16)
}

/** Reads a part, or the whole file; both are checked to be of this making, line by line. */
async function read(cid: CID, whole: boolean, { load, cache, signal }: IndexContext): Promise<IndexNode> {
  const key = keyOf(cid)
  const hit = cache.get(key)
  if (hit !== undefined) return hit
  const bytes = await load(cid, signal)
  try {
    const node = cid.code === RAW ? readWhole(bytes, whole) : readNode(bytes, whole)
    cache.set(key, node)
    return node
  } catch (error) {
    throw new UnsoundTree(cid, `is not an index of an image layout as Seaway writes it: ${reason(error)}`)
  }
}

function readWhole(bytes: Uint8Array, whole: boolean): IndexNode {
  const text = Buffer.from(bytes).toString('latin1')
  if (!whole || !text.startsWith(HEAD) || !text.endsWith(TAIL)) throw new Error('it is another file')
  return { lines: linesOf(text.slice(HEAD.length, -TAIL.length)) }
}

function readNode(bytes: Uint8Array, whole: boolean): IndexNode {
  const { Data = new Uint8Array(), Links } = decode(bytes)
  const file = UnixFS.unmarshal(Data)
  if (file.type !== 'file') throw new Error(`it is a ${file.type}`)
  if (Links.length === 0 && !whole) {
    const text = Buffer.from(file.data ?? []).toString('latin1')
    return { lines: linesOf(text === NO_LINES ? '' : text) }
  }
  const parts = Links.map(({ Hash, Tsize = 0 }, i) => ({
    link: { cid: Hash, size: Tsize },
    bytes: Number(file.blockSizes[i])
  }))
  const lines = whole ? parts.slice(1, -1) : parts
  const frame = [parts[0], parts.at(-1)].map((part) => part?.link.cid.toString())
  const { head, tail } = FRAME
  const framed = [head, tail].every(({ block }, i) => frame[i] === block.cid.toString())
  if (lines.length !== FANOUT || whole !== framed) throw new Error('its parts are others')
  return { parts: lines }
}

function linesOf(text: string): Map<string, string> {
  const lines = new Map<string, string>()
  for (const each of text.split('\n').slice(0, -1)) {
    const [, line, tag] = LINE.exec(each) ?? []
    if (line === undefined || tag === undefined) throw new Error('a line is of another form')
    lines.set(tag, line)
  }
  return lines
}
