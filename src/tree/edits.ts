import type { Digest } from '../oci/digest.ts'
import type { Block, IndexWrite } from '../store/index.ts'
import type { Edit } from './edit.ts'
import type { Listed } from './image-index.ts'
import type { Touch } from './image-layout.ts'
import {
  blobFolder,
  blobPath,
  layerFolder,
  layerLink,
  linkFile,
  privateFolders,
  referrerFolder,
  revisionFolder,
  revisionLink,
  revisionType,
  smallFile,
  tagFolder,
  tagIndexFolder,
  tagLink
} from './layout.ts'
import type { Link } from './node.ts'

/** Content with its place in IPFS: its digest, and the link to its UnixFS file. */
export interface Content {
  readonly digest: Digest
  readonly link: Link
}

/** A change of a tree in its own words, and the small blocks that it brings along. */
export interface Change {
  readonly edits: Edit[]
  readonly blocks: Block[]
  /** Rows of the store that become durable in one step with the change. */
  readonly rows?: readonly IndexWrite[]
  /** What image layouts follow; see `image-layout.ts`. */
  readonly touches?: readonly Touch[]
}

/** What a pushed manifest changes. */
export interface ManifestChange {
  readonly name: string
  readonly manifest: Content
  readonly tags: readonly string[]
  /** The config and layers, which become part of the repository. */
  readonly blobs: readonly Content[]
  /** Blobs that the repository has, but whose content isn't here yet. */
  readonly named?: readonly Digest[]
  readonly subject: Digest | undefined
  /** The media type, only if the manifest doesn't tell it. */
  readonly mediaType: string | undefined
  /** What the image layout lists under the tags; looked up in the tree where it isn't given. */
  readonly listed?: Listed
}

/** A manifest, its tags and all that it links enter the tree in one step. */
export function putManifest(what: ManifestChange): Change {
  const { name, manifest, tags, blobs, subject, mediaType, listed } = what
  const touch: Touch = {
    repository: name,
    tags: tags.map((tag) => [tag, listed] as const),
    contents: [manifest, ...blobs].map(({ digest, link }) => [digest, link] as const)
  }
  const change: Change = { edits: [], blocks: [], touches: [touch] }
  const { digest } = manifest
  putContent(change, manifest)
  putLink(change, revisionLink(name, digest), digest)
  for (const tag of tags) {
    putLink(change, tagLink(name, tag), digest)
    putLink(change, [...tagIndexFolder(name, tag, digest), 'link'], digest)
  }
  for (const blob of blobs) {
    putContent(change, blob)
    putLink(change, layerLink(name, blob.digest), blob.digest)
  }
  for (const named of what.named ?? []) putLink(change, layerLink(name, named), named)
  if (subject !== undefined) putLink(change, [...referrerFolder(name, subject, digest), 'link'], digest)
  if (mediaType !== undefined) {
    const { block, link } = smallFile(mediaType)
    change.blocks.push(block)
    change.edits.push({ path: revisionType(name, digest), link })
  }
  return change
}

/** A blob becomes part of a repository by itself: one whose manifest came before it. */
export function putBlob(name: string, blob: Content): Change {
  const change: Change = {
    edits: [],
    blocks: [],
    touches: [{ repository: name, contents: [[blob.digest, blob.link]] }]
  }
  putContent(change, blob)
  putLink(change, layerLink(name, blob.digest), blob.digest)
  return change
}

/** A tag goes; the manifest stays. */
export function removeTag(name: string, tag: string): Change {
  const edits = [{ path: tagFolder(name, tag), link: undefined }]
  return { edits, blocks: [], touches: [{ repository: name, tags: [[tag, undefined]] }] }
}

/** A manifest goes from a repository, with the tags that point at it and its place among the referrers. */
export function removeManifest(
  name: string,
  digest: Digest,
  tags: readonly string[],
  subject: Digest | undefined
): Change {
  const edits: Edit[] = [{ path: revisionFolder(name, digest), link: undefined }]
  for (const tag of tags) edits.push({ path: tagFolder(name, tag), link: undefined })
  if (subject !== undefined) edits.push({ path: referrerFolder(name, subject, digest), link: undefined })
  const gone = tags.map((tag) => [tag, undefined] as const)
  return { edits, blocks: [], touches: [{ repository: name, tags: gone, contents: [[digest, undefined]] }] }
}

/** A blob goes from a repository; its bytes stay until they are collected. */
export function removeBlob(name: string, digest: Digest): Change {
  const edits = [{ path: layerFolder(name, digest), link: undefined }]
  return { edits, blocks: [], touches: [{ repository: name, contents: [[digest, undefined]] }] }
}

/** A tag no longer says that it once pointed at a manifest. */
export function removeTagHistory(name: string, tag: string, digest: Digest): Change {
  return { edits: [{ path: tagIndexFolder(name, tag, digest), link: undefined }], blocks: [] }
}

/** Content goes from the tree: no repository may have it any more. */
export function removeContent(digest: Digest): Change {
  return { edits: [{ path: blobFolder(digest), link: undefined }], blocks: [] }
}

/** A repository goes; those whose names begin with its own stay. */
export function removeRepository(name: string): Change {
  const edits = privateFolders(name).map((path) => ({ path, link: undefined }))
  return { edits, blocks: [], touches: [{ repository: name, removed: true }] }
}

/** Several changes as one. */
export function joinChanges(changes: readonly Change[]): Change {
  return {
    edits: changes.flatMap(({ edits }) => edits),
    blocks: changes.flatMap(({ blocks }) => blocks),
    rows: changes.flatMap(({ rows = [] }) => rows),
    touches: changes.flatMap(({ touches = [] }) => touches)
  }
}

function putContent(change: Change, content: Content): void {
  change.edits.push({ path: blobPath(content.digest), link: content.link })
}

function putLink(change: Change, path: readonly string[], digest: Digest): void {
  const { block, link } = linkFile(digest)
  change.blocks.push(block)
  change.edits.push({ path, link })
}
