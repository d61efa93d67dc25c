import type { CID } from 'multiformats/cid'
import type { Block } from '../store/index.ts'
import { applyChanges } from './apply.ts'
import { createDirectories, type LoadBlock } from './directory.ts'
import type { Change } from './edits.ts'
import { createIndexCache } from './image-index.ts'
import { createTouches } from './image-layout.ts'

/**
 * What a tree would become, without changing it: its root, and the blocks that are new in it.
 *
 * @param load blocks that are here; it throws for others
 */
export async function previewChange(
  root: CID,
  { edits, touches = [] }: Change,
  load: LoadBlock,
  signal: AbortSignal
): Promise<{ root: CID; blocks: Iterable<Block> }> {
  const blocks = new Map<string, Block>()
  const files = new Map<string, Block>()
  const touched = createTouches()
  touched.add(touches)
  const after = await applyChanges({ cid: root, size: 0 }, edits, touched, false, {
    directories: createDirectories(),
    load,
    here: (cid) => load(cid, signal).catch(() => undefined),
    signal,
    offered: new Map(),
    blocks,
    files,
    indexes: createIndexCache(),
    replaced: []
  })
  return { root: after?.cid ?? root, blocks: [...blocks.values(), ...files.values()] }
}
