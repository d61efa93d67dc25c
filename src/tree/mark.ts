import { decode } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import type { Digest } from '../oci/digest.ts'
import { blockName, type HashSet } from '../store/index.ts'

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
  readonly cid: CID
  /** The name of the directory entry that led here. */
  readonly name: string
}

const DAG_PB = 0x70

/** Blocks that are read at once. */
const AT_ONCE = 64

/** What an entry is called that is content rather than a link file; see `layout.ts`. */
const CONTENT = 'data'

/**
 * Marks what belongs to a tree: every block below `root` that is here, and all content by its digest where a
 * directory entry is named by one, so that it counts whatever its file looks like in IPFS.
 *
 * Leaves of files aren't marked: they go with their blobs.
 */
export async function markTree(root: CID, options: MarkOptions): Promise<void> {
  const { blocks, live, signal } = options
  const stack: Step[] = []
  const mark = (cid: CID, name: string) => {
    if (live.add(blockName(cid.multihash.bytes)) && cid.code === DAG_PB) stack.push({ cid, name })
  }
  mark(root, '/')
  while (stack.length > 0) {
    signal.throwIfAborted()
    const steps = stack.splice(-AT_ONCE)
    const found = await blocks(steps.map(({ cid }) => cid.multihash.bytes))
    for (const [i, step] of steps.entries()) {
      const bytes = found[i]
      if (bytes !== undefined) await follow(step, bytes, mark, options)
      else if (step.name !== CONTENT) options.onMissing?.(step.cid)
    }
  }
}

async function follow(
  { name }: Step,
  bytes: Uint8Array,
  mark: (cid: CID, name: string) => void,
  options: MarkOptions
): Promise<void> {
  const { Data, Links } = decode(bytes)
  const type = Data === undefined ? 'raw' : UnixFS.unmarshal(Data).type
  const sharded = type === 'hamt-sharded-directory'
  if (type !== 'directory' && !sharded) {
    for (const { Hash } of Links) if (Hash.code === DAG_PB) mark(Hash, CONTENT)
    return
  }
  for (const { Name = '', Hash } of Links) {
    // a shard below the shard is still the same directory
    const entry = sharded ? Name.slice(2) || name : Name
    if (options.onlyBlobs !== undefined) {
      if (entry === CONTENT && isSha256(name) && !options.onlyBlobs.has(Buffer.from(name, 'hex'))) continue
    } else if (isSha256(entry)) options.live.add(Buffer.from(entry, 'hex'))
    else if (isSha512(entry)) {
      const sha256 = await options.sha256Of(`sha512:${entry}`)
      if (sha256 !== undefined) options.live.add(sha256)
    }
    mark(Hash, entry)
  }
}

const isSha256 = (name: string) => name.length === 64 && /^[0-9a-f]+$/.test(name)
const isSha512 = (name: string) => name.length === 128 && /^[0-9a-f]+$/.test(name)
