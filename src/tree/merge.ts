import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import type { Digest } from '../oci/digest.ts'
import { dagPbBlock } from '../store/dag.ts'
import { diffTags } from './diff.ts'
import type { Directories, LoadBlock } from './directory.ts'
import type { Edit } from './edit.ts'
import type { Change } from './edits.ts'
import type { Touch } from './image-layout.ts'
import { blobsPath, layersPath, repositoryPath, revisionsPath, tagFolder } from './layout.ts'
import { describeManifest } from './manifest-file.ts'
import type { Link } from './node.ts'
import { openTree, type TreeView } from './view.ts'

/** A tag that a merge decides about; a digest that isn't there is of a side that doesn't have the tag. */
export interface MergedTag {
  /** The repository below the domain. */
  readonly repository: string
  readonly tag: string
  readonly base?: Digest
  readonly ours?: Digest
  readonly theirs?: Digest
}

/** A tag that is made to point at something else. */
export interface TagMove {
  /** The tree's name for the repository. */
  readonly repository: string
  readonly tag: string
  /** What it points at then; `undefined` when it goes. */
  readonly digest: Digest | undefined
}

/** What merging two trees comes to. */
export interface Merge {
  /** What makes our tree the merged one, if there are no open conflicts. */
  readonly change: Change
  /** The tags that the change moves. */
  readonly moves: readonly TagMove[]
  /** Changed by them alone: they become ours. */
  readonly taken: readonly MergedTag[]
  /** Changed by us alone: they stay. */
  readonly kept: readonly MergedTag[]
  /** Changed by both, to different things. */
  readonly conflicts: readonly MergedTag[]
}

/** How deep below their folder the units of content are: `sha256/<hex>`, `sha256/<2 hex>/<hex>`, subject and referrer. */
const REVISION_DEPTH = 2
const BLOB_DEPTH = 3
const REFERRER_DEPTH = 4

/** An empty directory: what trees that began alone come from. */
const NOTHING = dagPbBlock({ Data: new UnixFS({ type: 'directory' }).marshal(), Links: [] })

/**
 * Merges two trees that come from one, by tag: what one side changed since `base` counts, and what both changed
 * differently is a conflict, for which `prefer` says whose tag counts. Manifests, blobs and referrers of both
 * sides come together: none goes away that either side has, except what we deleted and nobody's tag needs.
 * Only what differs is read.
 *
 * @param options.base the root that both come from; nothing for two that began alone
 * @param options.domain stands before names of repositories in the trees, or doesn't
 */
export async function mergeTrees(options: {
  base: CID | undefined
  ours: CID
  theirs: CID
  domain: string
  prefer?: 'ours' | 'theirs' | undefined
  directories: Directories
  load: LoadBlock
  signal: AbortSignal
}): Promise<Merge> {
  const { ours, theirs, domain, prefer, directories, signal } = options
  const base = options.base ?? NOTHING.cid
  // an empty directory is in no store until somebody has one
  const load: LoadBlock = async (cid, until, way) =>
    cid.equals(NOTHING.cid) ? NOTHING.bytes : options.load(cid, until, way)
  const view = (root: CID): TreeView => openTree({ cid: root, size: 0 }, directories, load)
  const [was, mine, other] = [view(base), view(ours), view(theirs)]

  const below = (name: string): string =>
    name.startsWith(`${domain}/`) ? name.slice(domain.length + 1) : name
  const keyOf = (repository: string, tag: string): string => `${below(repository)}\0${tag}`

  /** The tags that a side changed. */
  async function changesOf(root: CID): Promise<Map<string, { repository: string; tag: string }>> {
    const found = new Map<string, { repository: string; tag: string }>()
    for await (const { repository, tag } of diffTags(base, root, directories, load, signal))
      found.set(keyOf(repository, tag), { repository, tag })
    return found
  }

  /** A tree's own name of a repository: with the domain in front, as Seaway writes it, or without. */
  async function nameIn(tree: TreeView, repository: string): Promise<string | undefined> {
    for (const name of [`${domain}/${repository}`, repository])
      if (await tree.hasRepository(name, signal)) return name
    return undefined
  }

  async function tagIn(tree: TreeView, repository: string, tag: string): Promise<Digest | undefined> {
    const name = await nameIn(tree, repository)
    return name === undefined ? undefined : tree.tag(name, tag, signal)
  }

  const edits: Edit[] = []
  const touches: Touch[] = []
  const lookup = (root: CID, path: readonly string[]): Promise<Link | undefined> =>
    directories.resolve({ cid: root, size: 0 }, path, load, signal)

  /** Brings in what they have below `path` and we don't, in units `depth` levels down. */
  async function unite(
    path: readonly string[],
    links: { b: Link | undefined; o: Link | undefined; t: Link | undefined },
    depth: number,
    honour: boolean
  ): Promise<void> {
    const { b, o, t } = links
    if (t === undefined || o?.cid.equals(t.cid) === true) return
    if (o === undefined) {
      const deletedHere = honour && b?.cid.equals(t.cid) === true
      if (!deletedHere) edits.push({ path, link: t })
      return
    }
    if (depth === 0) return
    const entry = async (dir: Link | undefined, name: string): Promise<Link | undefined> =>
      dir && directories.entry(dir.cid, name, load, signal)
    for (const name of await directories.names(t.cid, load, signal)) {
      const next = { b: await entry(b, name), o: await entry(o, name), t: await entry(t, name) }
      await unite([...path, name], next, depth - 1, honour)
    }
  }

  /** All that a repository has, to be looked up in the merged tree. */
  async function contentsOf(tree: TreeView, name: string): Promise<[Digest, undefined][]> {
    const found: [Digest, undefined][] = []
    for (const digests of [tree.manifests(name, signal), tree.layers(name, signal)])
      for await (const digest of digests) found.push([digest, undefined])
    return found
  }

  const [byUs, byThem] = [await changesOf(ours), await changesOf(theirs)]
  const taken: MergedTag[] = []
  const kept: MergedTag[] = []
  const conflicts: MergedTag[] = []
  const moves: TagMove[] = []
  const needed = new Set<string>()

  for (const [key, { repository: named, tag }] of byThem) {
    const repository = below(named)
    const sides = {
      base: await tagIn(was, repository, tag),
      ours: await tagIn(mine, repository, tag),
      theirs: await tagIn(other, repository, tag)
    }
    if (sides.ours === sides.theirs) continue
    const entry: MergedTag = {
      repository,
      tag,
      ...(sides.base && { base: sides.base }),
      ...(sides.ours && { ours: sides.ours }),
      ...(sides.theirs && { theirs: sides.theirs })
    }
    const both = byUs.has(key) && sides.ours !== sides.base
    if (both) conflicts.push(entry)
    else taken.push(entry)
    if (both && prefer !== 'theirs') continue
    const target = (await nameIn(mine, repository)) ?? named
    const source = await nameIn(other, repository)
    const link = sides.theirs && source && (await lookup(theirs, tagFolder(source, tag)))
    edits.push({ path: tagFolder(target, tag), link: link || undefined })
    moves.push({ repository: target, tag, digest: sides.theirs })
    const listed =
      sides.theirs && source && (await describeManifest(other, source, sides.theirs, load, signal))
    touches.push({ repository: target, tags: [[tag, listed || undefined]] })
    needed.add(repository)
  }
  for (const [key, { repository: named, tag }] of byUs) {
    if (byThem.has(key)) continue
    const repository = below(named)
    const [before, now] = [await tagIn(was, repository, tag), await tagIn(mine, repository, tag)]
    kept.push({ repository, tag, ...(before && { base: before, theirs: before }), ...(now && { ours: now }) })
  }

  for await (const named of other.repositories('', signal)) {
    const repository = below(named)
    const target = (await nameIn(mine, repository)) ?? named
    const former = (await nameIn(was, repository)) ?? named
    const before = edits.length
    for (const [pathOf, depth] of [
      [revisionsPath, REVISION_DEPTH],
      [layersPath, REVISION_DEPTH],
      [(name: string) => [...repositoryPath(name), '_referrers'], REFERRER_DEPTH]
    ] as const) {
      const links = {
        b: await lookup(base, pathOf(former)),
        o: await lookup(ours, pathOf(target)),
        t: await lookup(theirs, pathOf(named))
      }
      // a tag that was taken may need what we deleted
      await unite(pathOf(target), links, depth, !needed.has(repository))
    }
    if (edits.length > before) touches.push({ repository: target, contents: await contentsOf(other, named) })
  }
  const blobs = {
    b: await lookup(base, blobsPath),
    o: await lookup(ours, blobsPath),
    t: await lookup(theirs, blobsPath)
  }
  await unite(blobsPath, blobs, BLOB_DEPTH, needed.size === 0)
  return { change: { edits, blocks: [], touches }, moves, taken, kept, conflicts }
}
