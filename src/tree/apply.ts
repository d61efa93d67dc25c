import type { CID } from 'multiformats/cid'
import type { Block } from '../store/dag.ts'
import { applyEdits, type Edit, type EditContext } from './edit.ts'
import type { IndexCache } from './image-index.ts'
import { layoutEdits, type Touches } from './image-layout.ts'
import { keyOf, type Link } from './node.ts'

/** What {@link applyChanges} works with. */
export interface ApplyContext extends Omit<EditContext, 'offered'> {
  readonly offered: Map<string, Block>
  /** A block that is in the store, or is made by these changes. */
  readonly here: (cid: CID) => Promise<Uint8Array | undefined>
  readonly indexes: IndexCache
  /** Blocks of new `index.json` land here, by {@link keyOf}: files, not directories. */
  readonly files: Map<string, Block>
}

/**
 * Makes the root that `root` becomes through `edits`, with the image layouts of what they touch; `undefined` if
 * there was none and nothing makes one.
 *
 * @param alone whether `edits` are all that was changed in what is touched: then layouts that need no look at the
 *   tree are changed along with the rest
 */
export async function applyChanges(
  root: Link | undefined,
  edits: readonly Edit[],
  touches: Touches,
  alone: boolean,
  context: ApplyContext
): Promise<Link | undefined> {
  const layout = {
    directories: context.directories,
    load: context.load,
    here: context.here,
    cache: context.indexes,
    blocks: context.files,
    offered: (block: Block) => void context.offered.set(keyOf(block.cid), block),
    signal: context.signal
  }
  if (alone && !touches.lookUp()) {
    const all = [...edits, ...(await layoutEdits(root, touches, layout))]
    return all.length === 0 ? root : applyEdits(root, all, context)
  }
  const after = edits.length === 0 ? root : await applyEdits(root, edits, context)
  const more = await layoutEdits(after, touches, layout)
  return more.length === 0 ? after : applyEdits(after, more, context)
}
