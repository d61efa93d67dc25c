import { decode } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import { decode as decodeMultihash } from 'multiformats/hashes/digest'
import type { Digest } from '../oci/digest.ts'
import { blockName, type HashSet } from '../store/index.ts'
import { onlyFileOf } from './known.ts'
import { cidBytesAt, countOf, nameAt, scan, sizeAt } from './table.ts'

/** What {@link markTree} works with. */
export interface MarkOptions {
  /** Blocks of the store, by multihash; those that aren't here are `undefined`, and nothing is fetched. */
  readonly blocks: (multihashes: readonly Uint8Array[]) => Promise<(Uint8Array | undefined)[]>
  /** Where marks go, as {@link blockName} makes them; what is marked already isn't looked at again. */
  readonly live: HashSet
  /** Content that an entry is named by, where it isn't a sha256. */
  readonly sha256Of: (digest: Digest) => Promise<Uint8Array | undefined>
  /**
   * Given for trees of others: the blobs (sha256) that stay on their own account. Of a blob that isn't among
   * them nothing is marked, so that it can leave the cache.
   */
  readonly onlyBlobs?: HashSet
  /** Called with a directory that isn't here; may throw, where it must be. */
  readonly onMissing?: (cid: CID) => void
  readonly signal: AbortSignal
}

interface Step {
  readonly multihash: Uint8Array
  /** The name of the directory entry that led here, and of the one before that. */
  readonly name: string
  readonly within: string
  /** Whether content is here rather than a directory. */
  readonly content: boolean
}

/** A link of a node; its multihash is a view of the node's bytes. */
type OnLink = (name: string, multihash: Uint8Array, isNode: boolean, size: number) => void

const DAG_PB = 0x70

/** Blocks that are read at once. */
const AT_ONCE = 128

/** What an entry is called that is content rather than a link file, and a folder of content by digest; see `layout.ts`. */
const CONTENT = 'data'
const CONTENTS = 'blobs'

/** UnixFS's numbers for what a node is. */
const DIRECTORY = 1
const SHARD = 5

/**
 * Marks what belongs to a tree: every block below `root` that is here, and all content by its digest where a
 * directory entry is named by one, so that it counts whatever its file looks like in IPFS.
 *
 * Leaves of files aren't marked: they go with their blobs.
 */
export async function markTree(root: CID, options: MarkOptions): Promise<void> {
  const { blocks, live, signal } = options
  const stack: Step[] = []
  if (live.add(blockName(root.multihash.bytes)))
    stack.push({ multihash: root.multihash.bytes, name: '/', within: '/', content: false })
  while (stack.length > 0) {
    signal.throwIfAborted()
    const steps = stack.splice(-AT_ONCE)
    const found = await blocks(steps.map(({ multihash }) => multihash))
    for (const [i, step] of steps.entries()) {
      const bytes = found[i]
      if (bytes !== undefined) await follow(step, bytes, stack, options)
      else if (!step.content) options.onMissing?.(CID.createV1(DAG_PB, decodeMultihash(step.multihash)))
    }
  }
}

async function follow(step: Step, bytes: Uint8Array, stack: Step[], options: MarkOptions): Promise<void> {
  const { live, onlyBlobs } = options
  const node = scan(bytes)
  const { type, each } = node === undefined ? decoded(bytes) : scanned(node)
  if (type !== DIRECTORY && type !== SHARD) {
    each((_, multihash, isNode) => {
      if (!isNode || !live.add(blockName(multihash))) return
      stack.push({ multihash: Uint8Array.from(multihash), name: CONTENT, within: step.name, content: true })
    })
    return
  }
  const others: Digest[] = []
  each((link, multihash, isNode, size) => {
    // a shard below the shard is still the same directory
    const name = type === SHARD ? link.slice(2) : link
    const isShard = type === SHARD && name === ''
    const content = name === CONTENT || (step.within === CONTENTS && name.length > 2)
    const named = isSha256(name)
    if (onlyBlobs !== undefined) {
      const digest = name === CONTENT ? step.name : name
      if (content && isSha256(digest) && !onlyBlobs.has(Buffer.from(digest, 'hex'))) return
    } else if (named) live.add(Buffer.from(name, 'hex'))
    else if (isSha512(name)) others.push(`sha512:${name}`)
    const block = blockName(multihash)
    if (!live.add(block) || !isNode) return
    const file = named && onlyBlobs === undefined ? onlyFileOf(name, block, size) : undefined
    if (file !== undefined) live.add(file)
    else if (isShard) stack.push({ ...step, multihash: Uint8Array.from(multihash) })
    else stack.push({ multihash: Uint8Array.from(multihash), name, within: step.name, content })
  })
  for (const digest of others) {
    const sha256 = await options.sha256Of(digest)
    if (sha256 !== undefined) live.add(sha256)
  }
}

/** A node that is written as it should be. */
function scanned({ table, data }: NonNullable<ReturnType<typeof scan>>) {
  return {
    type: data[0] === 0x08 ? data[1] : undefined,
    each(onLink: OnLink) {
      for (let i = 0; i < countOf(table); i++) {
        const cid = cidBytesAt(table, i)
        // a CIDv0 is the multihash alone, of a node
        const isV1 = cid[0] === 1
        onLink(nameAt(table, i), isV1 ? cid.subarray(2) : cid, !isV1 || cid[1] === DAG_PB, sizeAt(table, i))
      }
    }
  }
}

/** What the library makes of one that isn't. */
function decoded(bytes: Uint8Array) {
  const { Data, Links } = decode(bytes)
  const file = Data === undefined ? undefined : UnixFS.unmarshal(Data)
  return {
    type:
      file?.type === 'hamt-sharded-directory' ? SHARD : file?.type === 'directory' ? DIRECTORY : undefined,
    each(onLink: OnLink) {
      for (const { Name = '', Hash, Tsize = 0 } of Links)
        onLink(Name, Hash.multihash.bytes, Hash.code === DAG_PB, Tsize)
    }
  }
}

const isSha256 = (name: string) => name.length === 64 && /^[0-9a-f]+$/.test(name)
const isSha512 = (name: string) => name.length === 128 && /^[0-9a-f]+$/.test(name)
