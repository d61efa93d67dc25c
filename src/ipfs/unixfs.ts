import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import { RegistryError, reason } from '../oci/errors.ts'

const RAW = 0x55

/** A file of more bytes than this is refused: 1 TiB. */
const MAX_FILE = 2 ** 40

/** An inner node with more links than this is refused (the widest profile in use has 1024). */
const MAX_LINKS = 16_384

const NOTHING = new Uint8Array()

/** A child of an inner node, and how many bytes of content its parent says it holds. */
export interface Link {
  cid: CID
  size: number
}

/** One block of a file, taken apart. `data` is its own content; a leaf has no links. */
export interface FileNode {
  data: Uint8Array
  prefix: Uint8Array
  suffix: Uint8Array
  links: Link[]
  /** Bytes of content in it and below it, as it says. */
  size: number
}

/**
 * Whether a block can be an inner node, by its CID.
 *
 * @throws RegistryError SOURCE_FAILED for codecs that no file is made of.
 */
export function isDagPb(cid: CID): boolean {
  if (cid.code === dagPb.code) return true
  if (cid.code === RAW) return false
  throw malformed(cid, `has the codec 0x${cid.code.toString(16)}, which no UnixFS file is made of`)
}

/**
 * Takes one block of a file apart: raw, or dag-pb with UnixFS in it. Children that hold no byte are left
 * out, since they could be nested without end at no cost to whoever made them.
 *
 * @throws RegistryError SOURCE_FAILED for a directory, a symlink, and what isn't well-formed.
 * @see https://specs.ipfs.tech/unixfs/#dag-pb-node
 */
export function readNode(cid: CID, block: Uint8Array): FileNode {
  if (!isDagPb(cid)) return { data: block, prefix: NOTHING, suffix: NOTHING, links: [], size: block.length }
  const { unixfs, children } = decode(cid, block)
  if (unixfs.type !== 'file' && unixfs.type !== 'raw') throw malformed(cid, `is a ${unixfs.type}, not a file`)
  if (children.length > MAX_LINKS) throw malformed(cid, `has more than ${MAX_LINKS} links`)
  if (children.length !== unixfs.blockSizes.length) {
    throw malformed(cid, `has ${children.length} links and ${unixfs.blockSizes.length} sizes`)
  }
  const size = unixfs.fileSize()
  if (size > MAX_FILE) throw malformed(cid, `says that it holds ${size} bytes; the limit is ${MAX_FILE}`)
  const links = children
    .map((child, index) => ({ cid: child, size: Number(unixfs.blockSizes[index]) }))
    .filter((link) => link.size > 0)
  return { ...around(cid, block, unixfs.data ?? NOTHING), links, size: Number(size) }
}

function decode(cid: CID, block: Uint8Array): { unixfs: UnixFS; children: CID[] } {
  try {
    const node = dagPb.decode(block)
    if (node.Data === undefined) throw new Error('it has no data')
    return { unixfs: UnixFS.unmarshal(node.Data), children: node.Links.map(({ Hash }) => Hash) }
  } catch (cause) {
    throw malformed(cid, `isn't a UnixFS node: ${reason(cause)}`)
  }
}

/** Where the content lies in its block. */
function around(cid: CID, block: Uint8Array, data: Uint8Array): Pick<FileNode, 'data' | 'prefix' | 'suffix'> {
  if (data.length === 0) return { data: NOTHING, prefix: block, suffix: NOTHING }
  const at =
    data.buffer === block.buffer
      ? data.byteOffset - block.byteOffset
      : Buffer.from(block.buffer, block.byteOffset, block.byteLength).indexOf(data)
  if (at < 0) throw malformed(cid, "doesn't hold its own content")
  const end = at + data.length
  return { data: block.subarray(at, end), prefix: block.subarray(0, at), suffix: block.subarray(end) }
}

/** The refusal of a file's block for what it is. */
export function malformed(cid: CID, what: string): RegistryError {
  return new RegistryError('SOURCE_FAILED', `the block ${cid.toString()} ${what}`)
}
