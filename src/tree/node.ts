import { decode } from '@ipld/dag-pb'
import { murmur3128 } from '@multiformats/murmur3'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import { RegistryError, reason } from '../oci/errors.ts'
import type { Block } from '../store/dag.ts'
import type { NamedLink } from './encode.ts'
import { type Entries, entriesOf } from './entries.ts'
import {
  countOf,
  EMPTY,
  type LinkTable,
  linkAt,
  nameAt,
  nameBytesAt,
  placeOf,
  type Splice,
  scan,
  splice,
  tableOf
} from './table.ts'

/** A directory's link: what it points at, and the size in bytes of the whole DAG below it. */
export interface Link {
  readonly cid: CID
  readonly size: number
}

/** A plain directory node. */
export interface FlatNode {
  readonly kind: 'flat'
  readonly links: Entries<string, Link>
  readonly table: LinkTable
}

/** One place of a shard: an entry, or the shard below. */
export type Slot =
  | { readonly name: string; readonly link: Link }
  | { readonly name: undefined; readonly link: Link }

/** A node of a sharded directory (HAMT), by slot number. */
export interface ShardNode {
  readonly kind: 'shard'
  readonly slots: Entries<number, Slot>
  readonly table: LinkTable
  /** Which slots are taken, as bits; the first byte holds the highest ones. */
  readonly field: Uint8Array
}

/** A directory node as it lies in one block. Never changed once made: nodes are shared between roots. */
export type DirNode = FlatNode | ShardNode

/** A node that was just made, and its block. */
export interface Made<N extends DirNode> {
  readonly node: N
  readonly block: Block
}

/**
 * A flat directory whose block would be larger than this (bytes) is sharded. The profile allows 256 KiB;
 * this is less because a change writes its directory anew, and durably: with 2,000 tags a push into flat
 * directories writes half a megabyte, into sharded ones some thirty kilobytes.
 */
export const SHARD_ABOVE = 32 * 1024

const DAG_PB = 0x70
const FANOUT = 256

/** How deep a shard can be: the hash has 64 bits and each level takes eight. */
export const MAX_SHARD_DEPTH = 8

/** A text that CIDs of the same block share: for maps, and much cheaper to make than the CID's own. */
export function keyOf({ bytes }: CID): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

const FLAT_DATA = Buffer.from(new UnixFS({ type: 'directory' }).marshal())

/**
 * Decodes a directory's block.
 *
 * @see https://specs.ipfs.tech/unixfs/
 * @throws {UnsoundTree} when it isn't a directory: a tree is someone else's until proven sound
 */
export function decodeDirectory(cid: CID, block: Uint8Array): DirNode {
  if (cid.code !== DAG_PB) throw new UnsoundTree(cid, 'is a file where a directory was expected')
  try {
    const { table, data } = scan(block) ?? leniently(block)
    if (FLAT_DATA.equals(data)) return flatNode(table)
    const { type, fanout } = UnixFS.unmarshal(data)
    if (type === 'directory') return flatNode(table)
    if (type !== 'hamt-sharded-directory') throw new Error(`it is a ${type}`)
    if (fanout !== BigInt(FANOUT)) throw new Error(`fanout ${fanout} is not supported`)
    let last = -1
    for (let i = 0; i < countOf(table); i++) {
      const slot = slotAt(table, i)
      if (Number.isNaN(slot)) throw new Error('a link has no slot')
      if (slot === last) throw new Error(`slot ${slot} is taken twice`)
      last = slot
    }
    return shardNode(table)
  } catch (error) {
    throw new UnsoundTree(cid, `is not a directory: ${reason(error)}`)
  }
}

/** What the library makes of a block that isn't written as it should be: of links of one name the last. */
function leniently(block: Uint8Array): { table: LinkTable; data: Uint8Array } {
  const { Links, Data = new Uint8Array() } = decode(block)
  const links = new Map<string, NamedLink>()
  for (const { Name = '', Hash, Tsize = 0 } of Links) links.set(Name, { name: Name, cid: Hash, size: Tsize })
  return { table: tableOf(links.values(), Data).table, data: Data }
}

/** The slot of link `i` of a shard: two hex digits in capitals in front of its name. */
function slotAt(table: LinkTable, i: number): number {
  const at = nameBytesAt(table, i)
  return hexDigit(table.bytes[at]) * 16 + hexDigit(table.bytes[at + 1])
}

function hexDigit(byte = 0): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  return byte >= 0x41 && byte <= 0x46 ? byte - 0x41 + 10 : Number.NaN
}

const prefixOf = (slot: number): string => slot.toString(16).toUpperCase().padStart(2, '0')

function flatNode(table: LinkTable): FlatNode {
  const find = (name: string) => {
    const { at, isName } = placeOf(table, Buffer.from(name))
    return isName ? linkAt(table, at) : undefined
  }
  const links = entriesOf(
    countOf(table),
    find,
    (i) => nameAt(table, i),
    (i) => linkAt(table, i)
  )
  return { kind: 'flat', table, links }
}

function shardNode(table: LinkTable, field = fieldOf(table)): ShardNode {
  const slotOf = (i: number): Slot => ({
    name: nameAt(table, i).slice(2) || undefined,
    link: linkAt(table, i)
  })
  const find = (slot: number) => {
    const { at, isPrefix } = placeOf(table, Buffer.from(prefixOf(slot)))
    return isPrefix ? slotOf(at) : undefined
  }
  const slots = entriesOf(countOf(table), find, (i) => slotAt(table, i), slotOf)
  return { kind: 'shard', table, slots, field }
}

function fieldOf(table: LinkTable): Uint8Array {
  const field = new Uint8Array(FANOUT / 8)
  for (let i = 0; i < countOf(table); i++) mark(field, slotAt(table, i), true)
  return field
}

/** A directory with nothing in it. */
export const EMPTY_FLAT: FlatNode = flatNode(EMPTY)

/** A flat directory through `puts` (`undefined` removes what is there). */
export function changeFlat(
  old: FlatNode,
  puts: Iterable<readonly [string, Link | undefined]>
): Made<FlatNode> {
  const keyed = [...puts].map(([name, link]) => ({ name, link, key: Buffer.from(name) }))
  const splices = keyed
    .sort((a, b) => Buffer.compare(a.key, b.key))
    .map(({ name, link, key }): Splice => {
      const { at, isName } = placeOf(old.table, key)
      return { at, drop: isName, link: link && { name, cid: link.cid, size: link.size } }
    })
  const { table, block } = splice(old.table, splices, FLAT_DATA)
  return { block, node: flatNode(table) }
}

/** A shard with nothing in it. */
export const EMPTY_SHARD: ShardNode = shardNode(EMPTY)

/** One node of a sharded directory through `puts` (`undefined` empties a slot). */
export function changeShard(
  old: ShardNode,
  puts: Iterable<readonly [number, Slot | undefined]>
): Made<ShardNode> {
  const field = Uint8Array.from(old.field)
  const splices = [...puts]
    .sort(([a], [b]) => a - b)
    .map(([slot, to]): Splice => {
      mark(field, slot, to !== undefined)
      const prefix = prefixOf(slot)
      const { at, isPrefix } = placeOf(old.table, Buffer.from(prefix))
      const link = to && { name: prefix + (to.name ?? ''), cid: to.link.cid, size: to.link.size }
      return { at, drop: isPrefix, link }
    })
  const first = field.findIndex((byte) => byte !== 0)
  const bits = field.subarray(first === -1 ? field.length : first)
  const { table, block } = splice(old.table, splices, shardData(bits))
  return { block, node: shardNode(table, field) }
}

/** What `UnixFS` of a shard marshals to, in a tenth of the time. */
function shardData(bits: Uint8Array): Uint8Array {
  return Buffer.concat([SHARD_HEAD, Buffer.of(bits.length), bits, SHARD_TAIL])
}

/** Type 5, and that the bits follow; murmur3 and the fan-out. */
const SHARD_HEAD = Buffer.of(0x08, 0x05, 0x12)
const SHARD_TAIL = Buffer.of(0x28, murmur3128.code, 0x30, (FANOUT & 0x7f) | 0x80, FANOUT >> 7)

/** Notes in a shard's bit field, whose first byte holds the highest slots, whether a slot is taken. */
function mark(field: Uint8Array, slot: number, taken: boolean): void {
  const at = field.length - 1 - (slot >> 3)
  const bit = 1 << (slot & 7)
  field[at] = taken ? (field[at] as number) | bit : (field[at] as number) & ~bit
}

/** The slots of `name` in a sharded directory, by depth. */
export async function slotsOf(name: string): Promise<Uint8Array> {
  return (await murmur3128.encode(new TextEncoder().encode(name))).subarray(0, MAX_SHARD_DEPTH)
}

/** The bytes of a small file that lies in one block, raw or wrapped. */
export function decodeSmallFile(cid: CID, bytes: Uint8Array, limit: number): Uint8Array {
  let content = bytes
  if (cid.code === DAG_PB) {
    try {
      const node = decode(bytes)
      const file = UnixFS.unmarshal(node.Data ?? new Uint8Array())
      if (node.Links.length > 0 || (file.type !== 'file' && file.type !== 'raw'))
        throw new Error('not one block of a file')
      content = file.data ?? new Uint8Array()
    } catch (error) {
      throw new UnsoundTree(cid, `is not a small file: ${reason(error)}`)
    }
  }
  if (content.length > limit)
    throw new UnsoundTree(cid, `has ${content.length} bytes where at most ${limit} make sense`)
  return content
}

/** A tree that isn't what it should be: someone else's, or damaged. */
export class UnsoundTree extends RegistryError {
  constructor(cid: CID, what: string) {
    super('SOURCE_FAILED', `the registry tree is not sound: ${cid} ${what}`, {
      detail: { cid: cid.toString() }
    })
  }
}
