import type { CID } from 'multiformats/cid'
import { readNode } from '../ipfs/unixfs.ts'
import { type Digest, digestOf, isDigest, splitDigest } from '../oci/digest.ts'
import { type Descriptor, MAX_MANIFEST, readManifest } from '../oci/manifest.ts'
import { createDirectories, type LoadBlock, openTree, type TreeView } from '../tree/index.ts'
import { type ImageSource, MoveError, Refused } from './types.ts'

/** How deep a file's blocks may nest. */
const MAX_DEPTH = 16

/** Opens a registry tree over blocks that are at hand. */
export function openRoot(root: CID, load: LoadBlock): TreeView {
  return openTree({ cid: root, size: 0 }, createDirectories(), load)
}

/**
 * One repository of a registry tree as a source of images.
 *
 * @param repository its name in the tree, often with the domain in front
 */
export function createTreeSource(
  view: TreeView,
  load: LoadBlock,
  repository: string,
  name: string
): ImageSource {
  async function* file(
    cid: CID,
    from: number,
    depth: number,
    signal: AbortSignal
  ): AsyncGenerator<Uint8Array> {
    if (depth > MAX_DEPTH) throw new MoveError(`${name}: ${cid.toString()} nests deeper than ${MAX_DEPTH}`)
    signal.throwIfAborted()
    const node = readNode(cid, await load(cid, signal))
    let at = from
    if (at < node.data.length) {
      yield node.data.subarray(at)
      at = 0
    } else at -= node.data.length
    for (const link of node.links) {
      if (at >= link.size) at -= link.size
      else {
        yield* file(link.cid, at, depth + 1, signal)
        at = 0
      }
    }
  }

  async function* content(digest: Digest, at: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const link = await view.blob(digest, signal)
    if (link === undefined) throw new Refused(`${name} lacks ${digest}`, { unknown: true })
    yield* file(link.cid, at, 0, signal)
  }

  return {
    name,
    tags: (signal) => view.tags(repository, signal),
    async manifest(reference, signal) {
      const digest = isDigest(reference) ? reference : await view.tag(repository, reference, signal)
      if (digest === undefined || !(await view.hasManifest(repository, digest, signal)))
        throw new Refused(`${name} has no '${reference}'`, { unknown: true })
      const chunks: Uint8Array[] = []
      let size = 0
      for await (const chunk of content(digest, 0, signal)) {
        size += chunk.length
        if (size > MAX_MANIFEST) throw new MoveError(`${name}: the manifest ${digest} is too large`)
        chunks.push(chunk)
      }
      const bytes = Buffer.concat(chunks)
      if (digestOf(bytes, splitDigest(digest).algorithm) !== digest)
        throw new MoveError(`${name} is damaged: the manifest ${digest} is something else`)
      const type = await view.manifestType(repository, digest, signal)
      return { digest, bytes, mediaType: readManifest(bytes, type).mediaType }
    },
    read: (blob, at, signal) => content(blob.digest, at, signal),
    async referrers(digest, signal) {
      const found: Descriptor[] = []
      for await (const each of view.referrers(repository, digest, signal)) {
        const { mediaType, bytes } = await this.manifest(each, signal)
        found.push({ mediaType, digest: each, size: bytes.length })
      }
      return found
    }
  }
}
