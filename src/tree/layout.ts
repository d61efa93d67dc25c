import { createHash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { CID } from 'multiformats/cid'
import { type Digest, isDigest, splitDigest } from '../oci/digest.ts'
import { type Block, rawCid } from '../store/dag.ts'
import type { Link } from './node.ts'

/**
 * Where everything is in a registry tree. This file alone knows the paths: Docker Distribution's own,
 * with additions that a stock registry passes over.
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
 * <root>/oci/<name>/                                  the same repository as an OCI image layout
 *   oci-layout
 *   index.json                                        one manifest a tag; see image-index.ts
 *   blobs/sha256/<hex>                                the file that blobs/ has as <hex>/data
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

/** What an image layout consists of. */
const LAYOUT_PARTS: readonly string[] = ['blobs', 'index.json', 'oci-layout']

/**
 * The folder of a repository's image layout. A component of its name that is called like a part of a layout gets
 * a `_` at its end, which no component can have: `a/blobs` isn't the blobs of `a`.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
 */
export function imageLayoutPath(name: string): TreePath {
  return ['oci', ...name.split('/').map((part) => (LAYOUT_PARTS.includes(part) ? `${part}_` : part))]
}

/** The parts of an image layout. */
export function imageLayoutParts(name: string): TreePath[] {
  return LAYOUT_PARTS.map((part) => [...imageLayoutPath(name), part])
}

export function imageIndexPath(name: string): TreePath {
  return [...imageLayoutPath(name), 'index.json']
}

export function imageBlobPath(name: string, digest: Digest): TreePath {
  return [...imageLayoutPath(name), 'blobs', ...digestParts(digest)]
}

/** The file that says that a folder is an image layout, and where it stands. */
export function imageLayoutFile(name: string): { block: Block; link: Link; path: TreePath } {
  return { ...LAYOUT_FILE, path: [...imageLayoutPath(name), 'oci-layout'] }
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

/** Link files that were made lately: a push needs several of each. */
const linkFiles = new LRUCache<Digest, { block: Block; link: Link }>({ max: 500 })

/** A link file for `digest`: its block, and the link to it. */
export function linkFile(digest: Digest): { block: Block; link: Link } {
  return linkFiles.get(digest) ?? remembered(digest)
}

function remembered(digest: Digest): { block: Block; link: Link } {
  const file = smallFile(digest)
  linkFiles.set(digest, file)
  return file
}

/** A file of a few bytes: its block, and the link to it. */
export function smallFile(text: string): { block: Block; link: Link } {
  const bytes = Buffer.from(text)
  const cid = rawCid(createHash('sha256').update(bytes).digest())
  return { block: { cid, bytes }, link: { cid, size: bytes.length } }
}

const LAYOUT_FILE = smallFile('{"imageLayoutVersion":"1.0.0"}')

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
