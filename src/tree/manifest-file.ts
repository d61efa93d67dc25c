import { decode } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import { type Digest, digestOf, splitDigest } from '../oci/digest.ts'
import { MAX_MANIFEST, readManifest } from '../oci/manifest.ts'
import type { LoadBlock } from './directory.ts'
import type { Listed } from './image-index.ts'
import type { TreeView } from './view.ts'

/** How deep a manifest's file can be: of the smallest pieces, four megabytes are no deeper. */
const MAX_DEPTH = 8

/**
 * What a descriptor says of a manifest of a repository, read from its bytes and checked against its digest.
 * `undefined` where that can't be told: it isn't there, isn't what it should be, or can't be loaded.
 */
export async function describeManifest(
  view: TreeView,
  repository: string,
  digest: Digest,
  load: LoadBlock,
  signal: AbortSignal
): Promise<Listed | undefined> {
  try {
    const link = await view.blob(digest, signal)
    if (link === undefined) return undefined
    const bytes = Buffer.concat(await pieces(link.cid, { left: MAX_MANIFEST }, MAX_DEPTH, load, signal))
    if (digestOf(bytes, splitDigest(digest).algorithm) !== digest) return undefined
    const { mediaType } = readManifest(bytes, await view.manifestType(repository, digest, signal))
    return { mediaType, digest, size: bytes.length }
  } catch {
    signal.throwIfAborted()
    return undefined
  }
}

/** The bytes of a file, in order. */
async function pieces(
  cid: CID,
  room: { left: number },
  depth: number,
  load: LoadBlock,
  signal: AbortSignal
): Promise<Uint8Array[]> {
  const bytes = await load(cid, signal)
  const { Data, Links } = cid.code === 0x70 ? decode(bytes) : { Data: undefined, Links: [] }
  const content = Data === undefined ? bytes : (UnixFS.unmarshal(Data).data ?? new Uint8Array())
  room.left -= content.length
  if (room.left < 0 || (Links.length > 0 && depth === 0)) throw new RangeError(`${cid} is no manifest`)
  const all = [content]
  for (const { Hash } of Links) all.push(...(await pieces(Hash, room, depth - 1, load, signal)))
  return all
}
