import type { CID } from 'multiformats/cid'
import type { Digest } from '../oci/digest.ts'
import { isDigest } from '../oci/digest.ts'
import { compareBytes, type Directories, type LoadBlock } from './directory.ts'
import {
  blobPath,
  blobsPath,
  isPrivate,
  isRepository,
  layerLink,
  layersPath,
  MAX_LINK_FILE,
  readLinkFile,
  referrersPath,
  repositoriesPath,
  repositoryPath,
  revisionLink,
  revisionsPath,
  revisionType,
  type TreePath,
  tagHistoryPath,
  tagIndexFolder,
  tagLink,
  tagsPath
} from './layout.ts'
import { decodeSmallFile, type Link } from './node.ts'

/** What is about to be looked up in a repository. */
export interface Ahead {
  readonly tag?: string
  readonly manifest?: Digest
  readonly blob?: Digest
}

/**
 * One root of a registry tree, read only. Names are the tree's own (`repositories/<name>`). Nothing is
 * read but the directories on the way to what is asked for.
 *
 * Every method throws what `load` throws, and SOURCE_FAILED where the tree isn't sound.
 */
export interface TreeView {
  readonly root: CID
  /**
   * Brings here what is needed to follow `wants` (the tag of a manifest; a manifest or a blob by digest), in
   * one request each and all at once. It finds nothing out and proves nothing: what it can't bring, the
   * other methods fetch.
   */
  ahead(name: string, wants: Ahead, signal: AbortSignal): Promise<void>
  hasRepository(name: string, signal: AbortSignal): Promise<boolean>
  tag(name: string, tag: string, signal: AbortSignal): Promise<Digest | undefined>
  hasManifest(name: string, digest: Digest, signal: AbortSignal): Promise<boolean>
  /** The media type written beside a manifest that doesn't tell it. */
  manifestType(name: string, digest: Digest, signal: AbortSignal): Promise<string | undefined>
  /** Whether the repository has the blob linked. */
  hasBlob(name: string, digest: Digest, signal: AbortSignal): Promise<boolean>
  /** The UnixFS file of a blob or manifest. A CID found by a digest: only its bytes prove that they agree. */
  blob(digest: Digest, signal: AbortSignal): Promise<Link | undefined>
  /** All tags in byte order. */
  tags(name: string, signal: AbortSignal): Promise<readonly string[]>
  /** All manifests of a repository, by digest. */
  manifests(name: string, signal: AbortSignal): AsyncGenerator<Digest>
  /** The manifests whose subject is `subject`, in byte order. */
  referrers(name: string, subject: Digest, signal: AbortSignal): AsyncGenerator<Digest>
  /** All blobs that the repository has linked. */
  layers(name: string, signal: AbortSignal): AsyncGenerator<Digest>
  /** The manifests that a tag points at and has pointed at. */
  tagHistory(name: string, tag: string, signal: AbortSignal): AsyncGenerator<Digest>
  /** Whether a tag has pointed at a manifest. */
  hadTag(name: string, tag: string, digest: Digest, signal: AbortSignal): Promise<boolean>
  /** All content of the tree, whatever repository it belongs to. */
  contents(signal: AbortSignal): AsyncGenerator<Digest>
  /** The first components of the repository names. */
  topFolders(signal: AbortSignal): Promise<readonly string[]>
  /** Repository names in byte order, those after `after` only. */
  repositories(after: string, signal: AbortSignal): AsyncGenerator<string>
}

/** How deep repository names may nest: 255 characters have room for 128 components, besides the domain. */
const MAX_NAME_DEPTH = 130

/** Opens a root for reading; `load` fetches its blocks from wherever they are. */
export function openTree(root: Link, directories: Directories, load: LoadBlock): TreeView {
  const find = (path: TreePath, signal: AbortSignal) => directories.resolve(root, path, load, signal)

  async function smallText(path: TreePath, signal: AbortSignal): Promise<Uint8Array | undefined> {
    const link = await find(path, signal)
    return link && decodeSmallFile(link.cid, await load(link.cid, signal), MAX_LINK_FILE)
  }

  async function link(path: TreePath, signal: AbortSignal): Promise<Digest | undefined> {
    const bytes = await smallText(path, signal)
    return bytes && readLinkFile(bytes)
  }

  async function namesIn(path: TreePath, signal: AbortSignal): Promise<readonly string[]> {
    const dir = await find(path, signal)
    return dir === undefined ? [] : directories.names(dir.cid, load, signal)
  }

  /** The digests below `<path>/<algorithm>/<hex>`. */
  async function* digests(path: TreePath, signal: AbortSignal): AsyncGenerator<Digest> {
    for (const algorithm of await namesIn(path, signal)) {
      for (const hex of await namesIn([...path, algorithm], signal)) {
        const digest = `${algorithm}:${hex}`
        if (isDigest(digest)) yield digest
      }
    }
  }

  async function* walk(
    dir: Link,
    name: string,
    after: string,
    depth: number,
    signal: AbortSignal
  ): AsyncGenerator<string> {
    const children = await directories.names(dir.cid, load, signal)
    const steps: { key: string; child: string; self: boolean }[] = []
    for (const child of children) {
      if (isPrivate(child)) continue
      const full = name === '' ? child : `${name}/${child}`
      // 'a-b' sorts between 'a' and 'a/b', so a name and what is below it are two places in the order.
      if (full > after) steps.push({ key: full, child, self: true })
      if (`${full}/\u{10ffff}` > after) steps.push({ key: `${full}/`, child, self: false })
    }
    for (const step of steps.sort((a, b) => compareBytes(a.key, b.key))) {
      const below = await directories.entry(dir.cid, step.child, load, signal)
      if (below === undefined || below.cid.code !== 0x70) continue
      if (!step.self) {
        if (depth < MAX_NAME_DEPTH) yield* walk(below, step.key.slice(0, -1), after, depth + 1, signal)
      } else if (isRepository(await directories.names(below.cid, load, signal))) yield step.key
    }
  }

  /** The paths that lead to what is wanted. */
  function pathsTo(name: string, { tag, manifest, blob }: Ahead): TreePath[] {
    const paths: TreePath[] = []
    if (tag !== undefined) paths.push(tagLink(name, tag))
    if (manifest !== undefined) paths.push(revisionLink(name, manifest), blobPath(manifest))
    if (blob !== undefined) paths.push(layerLink(name, blob), blobPath(blob))
    return paths
  }

  return {
    root: root.cid,
    async ahead(name, wants, signal) {
      await Promise.allSettled(pathsTo(name, wants).map((path) => find(path, signal)))
      signal.throwIfAborted()
    },
    async hasRepository(name, signal) {
      const dir = await find(repositoryPath(name), signal)
      return dir !== undefined && isRepository(await directories.names(dir.cid, load, signal))
    },
    tag: (name, tag, signal) => link(tagLink(name, tag), signal),
    hasManifest: async (name, digest, signal) =>
      (await find(revisionLink(name, digest), signal)) !== undefined,
    async manifestType(name, digest, signal) {
      const bytes = await smallText(revisionType(name, digest), signal)
      return bytes && Buffer.from(bytes).toString().trim()
    },
    hasBlob: async (name, digest, signal) => (await find(layerLink(name, digest), signal)) !== undefined,
    blob: (digest, signal) => find(blobPath(digest), signal),
    tags: (name, signal) => namesIn(tagsPath(name), signal),
    manifests: (name, signal) => digests(revisionsPath(name), signal),
    referrers: (name, subject, signal) => digests(referrersPath(name, subject), signal),
    layers: (name, signal) => digests(layersPath(name), signal),
    tagHistory: (name, tag, signal) => digests(tagHistoryPath(name, tag), signal),
    hadTag: async (name, tag, digest, signal) =>
      (await find(tagIndexFolder(name, tag, digest), signal)) !== undefined,
    async *contents(signal) {
      for (const algorithm of await namesIn(blobsPath, signal)) {
        for (const part of await namesIn([...blobsPath, algorithm], signal)) {
          for (const hex of await namesIn([...blobsPath, algorithm, part], signal)) {
            const digest = `${algorithm}:${hex}`
            if (isDigest(digest)) yield digest
          }
        }
      }
    },
    topFolders: (signal) => namesIn(repositoriesPath, signal),
    async *repositories(after, signal) {
      const dir = await find(repositoriesPath, signal)
      if (dir !== undefined) yield* walk(dir, '', after, 0, signal)
    }
  }
}
