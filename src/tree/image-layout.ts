import type { CID } from 'multiformats/cid'
import { type Digest, isDigest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { isTag } from '../oci/reference.ts'
import type { Block } from '../store/dag.ts'
import { createDirectories, type Directories, type LoadBlock } from './directory.ts'
import type { Edit } from './edit.ts'
import { changeIndex, type IndexCache, type Listed } from './image-index.ts'
import {
  imageBlobPath,
  imageIndexPath,
  imageLayoutFile,
  imageLayoutParts,
  imageLayoutPath,
  type TreePath
} from './layout.ts'
import { describeManifest } from './manifest-file.ts'
import { changeFlat, EMPTY_FLAT, type Link, UnsoundTree } from './node.ts'
import { openTree, type TreeView } from './view.ts'

/**
 * What a change touches of a repository, for its image layout. What isn't told is looked up in the tree as it is
 * after the change.
 */
export interface Touch {
  /** The tree's name for it. */
  readonly repository: string
  /** Tags, and the manifests that they point at now. */
  readonly tags?: Iterable<readonly [tag: string, listed: Listed | undefined]>
  /** Manifests and blobs, and their files where it is known that the repository has them. */
  readonly contents?: Iterable<readonly [digest: Digest, link: Link | undefined]>
  /** Whether all of it went. */
  readonly removed?: boolean
}

/** The touches of several changes, those of a repository as one. */
export interface Touches {
  add(touches: readonly Touch[]): void
  /** Whether something must be looked up in the tree as it is after the changes. */
  lookUp(): boolean
  all(): Iterable<Touched>
}

/** All that was touched of a repository; by its shape a {@link Touch}. */
interface Touched {
  readonly repository: string
  removed: boolean
  readonly tags: Map<string, Listed | undefined>
  readonly contents: Map<Digest, Link | undefined>
}

export function createTouches(): Touches {
  const all = new Map<string, Touched>()
  const isOpen = ({ removed, tags, contents }: Touched): boolean =>
    removed || [...tags.values(), ...contents.values()].includes(undefined)
  return {
    all: () => all.values(),
    lookUp: () => [...all.values()].some(isOpen),
    add(touches) {
      for (const { repository, tags = [], contents = [], removed = false } of touches) {
        let at = all.get(repository)
        if (at === undefined || removed) {
          at = { repository, removed, tags: new Map(), contents: new Map() }
          all.set(repository, at)
        }
        // A name that no client could push is another program's.
        for (const [tag, listed] of tags) if (isTag(tag)) at.tags.set(tag, listed)
        for (const [digest, link] of contents) at.contents.set(digest, link)
      }
    }
  }
}

/** What {@link layoutEdits} works with. */
export interface LayoutContext {
  readonly directories: Directories
  readonly load: LoadBlock
  /** A block that is here; nothing is fetched for what a layout begins with. */
  readonly here: (cid: CID) => Promise<Uint8Array | undefined>
  readonly cache: IndexCache
  /** Blocks of indexes land here. */
  readonly blocks: Map<string, Block>
  /** Small files land here that the edits link. */
  readonly offered: (block: Block) => void
  readonly signal: AbortSignal
}

/**
 * The edits that bring the image layouts of `root` in step with its repositories, where those were touched. A
 * layout holds what its repository has: all its manifests and blobs as files, and its tags in `index.json`.
 *
 * Where a repository has no layout yet (a tree that another program wrote, or an earlier Seaway), it begins with
 * all of the repository that is here.
 *
 * @param root the tree after the changes; or before, if nothing of `touches` must be looked up
 */
export async function layoutEdits(
  root: Link | undefined,
  touches: Touches,
  context: LayoutContext
): Promise<Edit[]> {
  const edits: Edit[] = []
  const isAfter = touches.lookUp()
  for (const touched of touches.all()) edits.push(...(await editsOf(root, touched, isAfter, context)))
  // An edit of one kind after the other: each change of kind makes the directories above anew.
  return [
    ...edits.filter(({ link }) => link === undefined),
    ...edits.filter(({ link }) => link !== undefined)
  ]
}

async function editsOf(
  root: Link | undefined,
  touched: Touched,
  isAfter: boolean,
  context: LayoutContext
): Promise<Edit[]> {
  const { repository: name } = touched
  const edits: Edit[] = []
  const put = (digest: Digest, link: Link | undefined): void =>
    void edits.push({ path: imageBlobPath(name, digest), link })
  const drop = imageLayoutParts(name).map((path): Edit => ({ path, link: undefined }))
  const view = root && openTree(root, context.directories, context.load)
  const exists = async () => (await view?.hasRepository(name, context.signal)) === true
  if (isAfter && !(await exists())) return drop
  const { tags, contents } = view === undefined || !isAfter ? touched : await lookedUp(touched, view, context)
  const found = await layoutAt(root, name, context)
  const goesOn = !touched.removed && found.index !== undefined
  let index: Link
  try {
    index = goesOn ? await changeIndex(found.index, tags, context) : await begin()
  } catch (error) {
    context.signal.throwIfAborted()
    if (!(error instanceof RegistryError)) throw error
    index = await begin()
  }
  for (const [digest, link] of contents) put(digest, link)
  edits.push({ path: imageIndexPath(name), link: index })
  return edits

  /** A layout of all that is here of the repository, in the place of what there may be. */
  async function begin(): Promise<Link> {
    if (found.inTheWay !== undefined) edits.push({ path: found.inTheWay, link: undefined })
    else if (found.exists) edits.push(...drop)
    const whole = (await exists()) ? await wholeOf(root, name, context) : nothing()
    for (const [tag, listed] of tags) whole.tags.set(tag, listed)
    for (const [digest, link] of whole.contents) if (!contents.has(digest)) put(digest, link)
    const { block, link, path } = imageLayoutFile(name)
    context.offered(block)
    edits.push({ path, link })
    return changeIndex(undefined, whole.tags, context)
  }
}

const nothing = (): Pick<Touched, 'tags' | 'contents'> => ({ tags: new Map(), contents: new Map() })

/** The layout that a repository has, or what another program put where it would be. */
async function layoutAt(
  root: Link | undefined,
  name: string,
  { directories, load, signal }: LayoutContext
): Promise<{ exists: boolean; index?: Link | undefined; inTheWay?: TreePath }> {
  const path = imageLayoutPath(name)
  let at = root
  for (const [depth, part] of path.entries()) {
    if (at === undefined) return { exists: false }
    try {
      at = await directories.entry(at.cid, part, load, signal)
    } catch (error) {
      if (!(error instanceof UnsoundTree) || depth === 0) throw error
      return { exists: false, inTheWay: path.slice(0, depth) }
    }
  }
  if (at === undefined) return { exists: false }
  try {
    return { exists: true, index: await directories.entry(at.cid, 'index.json', load, signal) }
  } catch (error) {
    if (!(error instanceof UnsoundTree)) throw error
    return { exists: false, inTheWay: path }
  }
}

/** What wasn't told about what was touched. */
async function lookedUp(
  { repository, tags, contents }: Touched,
  view: TreeView,
  { here, signal }: LayoutContext
): Promise<Pick<Touched, 'tags' | 'contents'>> {
  const found: Pick<Touched, 'tags' | 'contents'> = { tags: new Map(tags), contents: new Map(contents) }
  for (const [tag, listed] of tags) {
    if (listed !== undefined) continue
    const digest = await view.tag(repository, tag, signal)
    found.tags.set(tag, digest && (await describeManifest(view, repository, digest, localOnly(here), signal)))
  }
  for (const [digest, link] of contents) {
    if (link !== undefined) continue
    const has =
      (await view.hasManifest(repository, digest, signal)) || (await view.hasBlob(repository, digest, signal))
    found.contents.set(digest, has ? await view.blob(digest, signal) : undefined)
  }
  return found
}

/** How many tags, manifests and blobs a layout begins with at most: more would hold up a push for too long. */
const MAX_BEGIN = 20_000

/** All of a repository that is here. */
async function wholeOf(
  root: Link | undefined,
  name: string,
  { here, signal }: LayoutContext
): Promise<Pick<Touched, 'tags' | 'contents'>> {
  const whole = nothing()
  if (root === undefined) return whole
  const local = localOnly(here)
  const lenient: LoadBlock = (cid, until) =>
    local(cid, until).catch((error: unknown) => {
      if (error instanceof Elsewhere) return EMPTY_DIRECTORY
      throw error
    })
  // Directories of its own: what isn't here is read as empty.
  const view = openTree(root, createDirectories(), lenient)
  let room = MAX_BEGIN
  for (const tag of await view.tags(name, signal)) {
    signal.throwIfAborted()
    if (!isTag(tag)) continue
    if (room-- === 0) return nothing()
    const digest = await view.tag(name, tag, signal)
    const listed = digest && (await describeManifest(view, name, digest, local, signal))
    if (listed !== undefined) whole.tags.set(tag, listed)
  }
  for (const digests of [view.manifests(name, signal), view.layers(name, signal)]) {
    for await (const digest of digests) {
      signal.throwIfAborted()
      if (room-- === 0) return nothing()
      const link = await view.blob(digest, signal)
      if (link !== undefined && isDigest(digest)) whole.contents.set(digest, link)
    }
  }
  return whole
}

/** What is read in place of a directory that isn't here. */
const EMPTY_DIRECTORY = changeFlat(EMPTY_FLAT, []).block.bytes

/** Thrown for a block that isn't here. */
class Elsewhere extends Error {}

/** Loads what is here. @throws {Elsewhere} */
function localOnly(here: LayoutContext['here']): LoadBlock {
  return async (cid) => {
    const bytes = await here(cid)
    if (bytes === undefined) throw new Elsewhere(`${cid} is not here`)
    return bytes
  }
}
