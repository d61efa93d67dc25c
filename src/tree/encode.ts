import { hash } from 'node:crypto'
import { CID } from 'multiformats/cid'
import { create as createMultihash } from 'multiformats/hashes/digest'
import type { Block } from '../store/dag.ts'

/** A link as it is written into a directory's node. */
export interface NamedLink {
  readonly name: string
  readonly cid: CID
  /** Of the whole DAG below it, in bytes. */
  readonly size: number
}

const DAG_PB = 0x70
const SHA2_256 = 0x12

/** The tags of dag-pb: of a node its data and its links, of a link its CID, its name and its size. */
export const TAG = { data: 0x0a, link: 0x12, cid: 0x0a, name: 0x12, size: 0x18 } as const

/** How many bytes a node's data takes in its block. */
export const dataLength = (data: Uint8Array): number => 1 + varintLength(data.length) + data.length

/** The block of a node whose links are written already; `data` goes behind them, up to the end of `bytes`. */
export function sealBlock(bytes: Buffer, data: Uint8Array): Block {
  const at = bytes.length - dataLength(data)
  bytes[at] = TAG.data
  bytes.set(data, putVarint(bytes, data.length, at + 1))
  const sha256 = new Uint8Array(hash('sha256', bytes, 'buffer'))
  return { bytes, cid: CID.createV1(DAG_PB, createMultihash(SHA2_256, sha256)) }
}

/** How many bytes a link takes, its head included. */
export function linkLength(link: NamedLink): number {
  const body = bodyLength(link)
  return 1 + varintLength(body) + body
}

function bodyLength({ name, cid, size }: NamedLink): number {
  const cidBytes = cid.bytes.length
  const nameBytes = Buffer.byteLength(name)
  return 3 + varintLength(cidBytes) + cidBytes + varintLength(nameBytes) + nameBytes + varintLength(size)
}

/** Writes a link at `at`; returns where the next one goes. */
export function putLink(bytes: Buffer, link: NamedLink, at: number): number {
  const cid = link.cid.bytes
  bytes[at] = TAG.link
  let end = putVarint(bytes, bodyLength(link), at + 1)
  bytes[end++] = TAG.cid
  end = putVarint(bytes, cid.length, end)
  bytes.set(cid, end)
  end += cid.length
  bytes[end++] = TAG.name
  end = putVarint(bytes, Buffer.byteLength(link.name), end)
  end += bytes.write(link.name, end)
  bytes[end++] = TAG.size
  return putVarint(bytes, link.size, end)
}

function varintLength(value: number): number {
  let length = 1
  // Sizes pass 32 bits, so no shifting.
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) length++
  return length
}

function putVarint(bytes: Uint8Array, value: number, at: number): number {
  let end = at
  let rest = value
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes[end++] = (rest % 0x80) | 0x80
  bytes[end++] = rest
  return end
}

/** The number at `at`; not a number where the bytes end before it does, or where it is too large to be exact. */
export function varintAt(bytes: Uint8Array, at: number): number {
  let value = 0
  let factor = 1
  for (let i = at; factor <= 2 ** 49; i++) {
    const byte = bytes[i]
    if (byte === undefined) return Number.NaN
    value += (byte & 0x7f) * factor
    if (byte < 0x80) return value <= Number.MAX_SAFE_INTEGER ? value : Number.NaN
    factor *= 0x80
  }
  return Number.NaN
}

/** Where what follows the number at `at` begins. */
export function afterVarint(bytes: Uint8Array, at: number): number {
  let end = at
  while ((bytes[end] as number) >= 0x80) end++
  return end + 1
}
