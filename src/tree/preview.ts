import type { CID } from 'multiformats/cid'
import type { Block } from '../store/index.ts'
import { createDirectories, type LoadBlock } from './directory.ts'
import { applyEdits, type Edit } from './edit.ts'

/** What a tree would become, without changing it: its root, and the blocks that are new in it. */
export async function previewEdits(
  root: CID,
  edits: readonly Edit[],
  load: LoadBlock,
  signal: AbortSignal
): Promise<{ root: CID; blocks: Iterable<Block> }> {
  const blocks = new Map<string, Block>()
  const directories = createDirectories()
  const after = await applyEdits({ cid: root, size: 0 }, edits, {
    directories,
    load,
    signal,
    offered: new Map(),
    blocks,
    replaced: []
  })
  return { root: after.cid, blocks: blocks.values() }
}
