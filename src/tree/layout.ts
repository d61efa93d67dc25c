import { createHash } from 'node:crypto'
import { CID } from 'multiformats/cid'
import { type Digest, isDigest, splitDigest } from '../oci/digest.ts'
import { type Block, rawCid } from '../store/dag.ts'
import type { Link } from './node.ts'

/**
 * Where everything is in a registry tree. This file alone knows the paths: Docker Distribution's own,
 * with two additions that a stock registry passes over.
 *
 * ```
 * <root>/docker/registry/v2/
 *   blobs/sha256/<first two hex>/<hex>/data
 *   repositories/<name>/
 *     _manifests/revisions/sha256/<hex>/link
 *     _manifests/revisions/sha256/<hex>/type          only where the manifest doesn't tell its media type
 *     _manifests/tags/<tag>/current/link
 *     _manifests/tags/<tag>/index/sha256/<hex>/link
 *     _layers/sha256/<hex>/link
 *     _referrers/sha256/<subject hex>/sha256/<hex>/link
 * ```
 *
 * A link file holds a digest, `sha256:<hex>`, without a newline.
 *
 * @see https://github.com/distribution/distribution/blob/v2.8.2/registry/storage/paths.go
 */
const BASE = ['docker', 'registry', 'v2'] as const

/** A path in a tree, from its root. */
export type TreePath = readonly string[]

export const repositoriesPath: TreePath = [...BASE, 'repositories']

/** The folder of a repository; `name` is the tree's name for it, with the domain where Seaway wrote it. */
export function repositoryPath(name: string): TreePath {
  return [...repositoriesPath, ...name.split('/')]
}

export const blobsPath: TreePath = [...BASE, 'blobs']

export function blobFolder(digest: Digest): TreePath {
  const { algorithm, hex } = splitDigest(digest)
  return [...BASE, 'blobs', algorithm, hex.slice(0, 2), hex]
}

export function blobPath(digest: Digest): TreePath {
  return [...blobFolder(digest), 'data']
}

export function revisionsPath(name: string): TreePath {
  return [...repositoryPath(name), '_manifests', 'revisions']
}

export function revisionFolder(name: string, digest: Digest): TreePath {
  return [...revisionsPath(name), ...digestParts(digest)]
}

export function revisionLink(name: string, digest: Digest): TreePath {
  return [...revisionFolder(name, digest), 'link']
}

export function revisionType(name: string, digest: Digest): TreePath {
  return [...revisionFolder(name, digest), 'type']
}

export function tagsPath(name: string): TreePath {
  return [...repositoryPath(name), '_manifests', 'tags']
}

export function tagFolder(name: string, tag: string): TreePath {
  return [...tagsPath(name), tag]
}

export function tagLink(name: string, tag: string): TreePath {
  return [...tagFolder(name, tag), 'current', 'link']
}

export function tagIndexFolder(name: string, tag: string, digest: Digest): TreePath {
  return [...tagFolder(name, tag), 'index', ...digestParts(digest)]
}

/** The manifests that a tag has pointed at. */
export function tagHistoryPath(name: string, tag: string): TreePath {
  return [...tagFolder(name, tag), 'index']
}

export function layersPath(name: string): TreePath {
  return [...repositoryPath(name), '_layers']
}

export function layerFolder(name: string, digest: Digest): TreePath {
  return [...repositoryPath(name), '_layers', ...digestParts(digest)]
}

export function layerLink(name: string, digest: Digest): TreePath {
  return [...layerFolder(name, digest), 'link']
}

export function referrersPath(name: string, subject: Digest): TreePath {
  return [...repositoryPath(name), '_referrers', ...digestParts(subject)]
}

export function referrerFolder(name: string, subject: Digest, referrer: Digest): TreePath {
  return [...referrersPath(name, subject), ...digestParts(referrer)]
}

/** Whether a folder below `repositories/` is part of a repository rather than of a name. */
export function isPrivate(component: string): boolean {
  return component.startsWith('_')
}

/** The folders that a repository consists of. */
export function privateFolders(name: string): TreePath[] {
  return ['_manifests', '_layers', '_referrers'].map((folder) => [...repositoryPath(name), folder])
}

/** Whether a folder below `repositories/` is itself a repository, by the names in it. */
export function isRepository(components: readonly string[]): boolean {
  return components.includes('_manifests') || components.includes('_layers')
}

/** The longest a link file or a type file can be, in bytes, with room for a newline. */
export const MAX_LINK_FILE = 300

/** A link file for `digest`: its block, and the link to it. */
export function linkFile(digest: Digest): { block: Block; link: Link } {
  return smallFile(digest)
}

/** A file of a few bytes: its block, and the link to it. */
export function smallFile(text: string): { block: Block; link: Link } {
  const bytes = Buffer.from(text)
  const cid = rawCid(createHash('sha256').update(bytes).digest())
  return { block: { cid, bytes }, link: { cid, size: bytes.length } }
}

/** The digest in a link file; a newline at its end is accepted. `undefined` when it holds none. */
export function readLinkFile(bytes: Uint8Array): Digest | undefined {
  const text = Buffer.from(bytes).toString().trim()
  return isDigest(text) ? text : undefined
}

/** The CID that a blob of one raw leaf has: worked out from its digest, so only for sha256. */
export function cidOfSmallBlob(digest: Digest): CID | undefined {
  const { algorithm, hex } = splitDigest(digest)
  return algorithm === 'sha256' ? rawCid(Buffer.from(hex, 'hex')) : undefined
}

function digestParts(digest: Digest): [string, string] {
  const { algorithm, hex } = splitDigest(digest)
  return [algorithm, hex]
}
