import { CID } from 'multiformats/cid'
import type { Block } from '../store/dag.ts'
import {
  afterVarint,
  dataLength,
  linkLength,
  type NamedLink,
  putLink,
  sealBlock,
  TAG,
  varintAt
} from './encode.ts'

/**
 * The links of a directory's node as they lie in its block, and where each one is. Nothing is taken apart
 * before it is asked for, and a changed directory is made from the one before by copying what didn't
 * change: a push into a repository of thousands of tags changes one link of hundreds in a few nodes.
 *
 * @see https://ipld.io/specs/codecs/dag-pb/spec/
 */
export interface LinkTable {
  /** In byte order of their names. */
  readonly bytes: Buffer
  /** Where each link begins, and where the last one ends. */
  readonly starts: Uint32Array
  /** The sum of the links' sizes, in bytes. */
  readonly total: number
}

/** A change of a table at one place: the link that is there goes, or a link comes there, or both. */
export interface Splice {
  readonly at: number
  readonly drop: boolean
  readonly link: NamedLink | undefined
}

export const EMPTY: LinkTable = { bytes: Buffer.alloc(0), starts: new Uint32Array(1), total: 0 }

export const countOf = (table: LinkTable): number => table.starts.length - 1

/** Where the number is that says how long link `i`'s name is; the name follows it. */
function nameStart({ bytes, starts }: LinkTable, i: number): number {
  const cid = afterVarint(bytes, (starts[i] as number) + 1) + 1
  return afterVarint(bytes, cid) + varintAt(bytes, cid) + 1
}

/** Where the bytes of link `i`'s name begin. */
export function nameBytesAt(table: LinkTable, i: number): number {
  return afterVarint(table.bytes, nameStart(table, i))
}

export function nameAt(table: LinkTable, i: number): string {
  const at = nameStart(table, i)
  const start = afterVarint(table.bytes, at)
  return table.bytes.toString('utf8', start, start + varintAt(table.bytes, at))
}

export function linkAt(table: LinkTable, i: number): { cid: CID; size: number } {
  const { bytes } = table
  const at = afterVarint(bytes, (table.starts[i] as number) + 1) + 1
  const start = bytes.byteOffset + afterVarint(bytes, at)
  // A copy: a CID that is kept doesn't keep the whole node.
  const cid = new Uint8Array(bytes.buffer.slice(start, start + varintAt(bytes, at)))
  return { cid: CID.decode(cid), size: sizeAt(table, i) }
}

/** The bytes of link `i`'s CID, where they lie in the block. */
export function cidBytesAt({ bytes, starts }: LinkTable, i: number): Uint8Array {
  const at = afterVarint(bytes, (starts[i] as number) + 1) + 1
  const start = afterVarint(bytes, at)
  return bytes.subarray(start, start + varintAt(bytes, at))
}

/** The size in bytes of the DAG that link `i` points at, as it says. */
export function sizeAt(table: LinkTable, i: number): number {
  const at = nameStart(table, i)
  return varintAt(table.bytes, afterVarint(table.bytes, at) + varintAt(table.bytes, at) + 1)
}

/** Whether the first bytes of link `i`'s digest are among `marks`, as {@link markOf} makes them. */
export function isMarked({ bytes, starts }: LinkTable, i: number, marks: ReadonlySet<number>): boolean {
  const cid = afterVarint(bytes, (starts[i] as number) + 1) + 1
  const end = afterVarint(bytes, cid) + varintAt(bytes, cid)
  return marks.has(bytes.readUInt32BE(end - 4))
}

/** A number that CIDs of the same block share, and that others hardly do. */
export function markOf({ bytes }: CID): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(bytes.length - 4)
}

/** The place of the first link whose name doesn't come before `name`, and whether it begins with that, or is it. */
export function placeOf(
  table: LinkTable,
  name: Uint8Array
): { at: number; isPrefix: boolean; isName: boolean } {
  let low = 0
  let high = countOf(table)
  while (low < high) {
    const middle = (low + high) >>> 1
    if (compareName(table, middle, name) < 0) low = middle + 1
    else high = middle
  }
  const length = low < countOf(table) ? commonLength(table, low, name) : -1
  return { at: low, isPrefix: length >= 0, isName: length === name.length }
}

/** Less than nothing when link `i`'s name comes before `name` in byte order. */
function compareName(table: LinkTable, i: number, name: Uint8Array): number {
  const { bytes } = table
  const at = nameStart(table, i)
  const start = afterVarint(bytes, at)
  const length = varintAt(bytes, at)
  const common = Math.min(length, name.length)
  for (let k = 0; k < common; k++) {
    const difference = (bytes[start + k] as number) - (name[k] as number)
    if (difference !== 0) return difference
  }
  return length - name.length
}

/** The length of link `i`'s name if it begins with `name`, else -1. */
function commonLength(table: LinkTable, i: number, name: Uint8Array): number {
  const { bytes } = table
  const at = nameStart(table, i)
  const start = afterVarint(bytes, at)
  const length = varintAt(bytes, at)
  if (length < name.length) return -1
  for (let k = 0; k < name.length; k++) if (bytes[start + k] !== name[k]) return -1
  return length
}

/** A table through `splices`, which are in the order of their places, and the block that it makes with `data`. */
export function splice(
  old: LinkTable,
  splices: readonly Splice[],
  data: Uint8Array
): { table: LinkTable; block: Block } {
  let count = countOf(old)
  let { total } = old
  let { length } = old.bytes
  for (const { at, drop, link } of splices) {
    if (drop) {
      count--
      total -= sizeAt(old, at)
      length -= (old.starts[at + 1] as number) - (old.starts[at] as number)
    }
    if (link === undefined) continue
    count++
    total += link.size
    length += linkLength(link)
  }
  const bytes = Buffer.allocUnsafe(length + dataLength(data))
  const starts = new Uint32Array(count + 1)
  let from = 0
  let put = 0
  let end = 0
  const copyTo = (to: number): void => {
    const start = old.starts[from] as number
    const shift = end - start
    end += old.bytes.copy(bytes, end, start, old.starts[to])
    for (; from < to; from++) starts[put++] = (old.starts[from] as number) + shift
  }
  for (const { at, drop, link } of splices) {
    copyTo(at)
    if (drop) from = at + 1
    if (link === undefined) continue
    starts[put++] = end
    end = putLink(bytes, link, end)
  }
  copyTo(countOf(old))
  starts[put] = end
  return { table: { bytes: bytes.subarray(0, end), starts, total }, block: sealBlock(bytes, data) }
}

/** The table of `links`, whose names are distinct, and the block that it makes with `data`. */
export function tableOf(links: Iterable<NamedLink>, data: Uint8Array): { table: LinkTable; block: Block } {
  const sorted = [...links].map((link) => ({ link, key: Buffer.from(link.name) }))
  sorted.sort((a, b) => Buffer.compare(a.key, b.key))
  return splice(
    EMPTY,
    sorted.map(({ link }) => ({ at: 0, drop: false, link })),
    data
  )
}

/**
 * The links and the data of a node's block, if it is written as the specification says that it should be: links
 * before data, complete, in byte order, with CIDs of sha2-256 as IPFS makes them. `undefined` where it isn't
 * or isn't a node at all; the library knows what else may be read.
 */
export function scan(block: Uint8Array): { table: LinkTable; data: Uint8Array } | undefined {
  const bytes = Buffer.from(block.buffer, block.byteOffset, block.byteLength)
  const starts: number[] = []
  let total = 0
  let at = 0
  let [last, lastEnd] = [0, -1]
  while (bytes[at] === TAG.link) {
    starts.push(at)
    const body = afterVarint(bytes, at + 1)
    const end = body + varintAt(bytes, at + 1)
    if (!(end <= bytes.length) || bytes[body] !== TAG.cid) return undefined
    const cid = afterVarint(bytes, body + 1)
    const cidEnd = cid + varintAt(bytes, body + 1)
    if (!isPlainCid(bytes, cid, cidEnd) || bytes[cidEnd] !== TAG.name) return undefined
    const name = afterVarint(bytes, cidEnd + 1)
    const nameEnd = name + varintAt(bytes, cidEnd + 1)
    if (!(nameEnd < end) || bytes[nameEnd] !== TAG.size) return undefined
    const size = varintAt(bytes, nameEnd + 1)
    if (Number.isNaN(size) || afterVarint(bytes, nameEnd + 1) !== end) return undefined
    if (lastEnd >= 0 && bytes.compare(bytes, last, lastEnd, name, nameEnd) <= 0) return undefined
    ;[last, lastEnd] = [name, nameEnd]
    total += size
    at = end
  }
  starts.push(at)
  if (bytes[at] !== TAG.data) return undefined
  const data = afterVarint(bytes, at + 1)
  if (data + varintAt(bytes, at + 1) !== bytes.length) return undefined
  const table = { bytes: bytes.subarray(0, at), starts: Uint32Array.from(starts), total }
  return { table, data: bytes.subarray(data) }
}

/** Whether the bytes from `start` to `end` are a CIDv1 of a raw or dag-pb block, or a CIDv0, by sha2-256. */
function isPlainCid(bytes: Uint8Array, start: number, end: number): boolean {
  let at = start
  if (end - start === 36) {
    if (bytes[at++] !== 1) return false
    const codec = bytes[at++]
    if (codec !== 0x55 && codec !== 0x70) return false
  } else if (end - start !== 34) return false
  return bytes[at] === 0x12 && bytes[at + 1] === 0x20
}
