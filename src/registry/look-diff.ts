import { createDirectories, diffTags, type LoadBlock, type TreeView } from '../tree/index.ts'
import type { ImageChange, SourceChanges } from './look-compare.ts'

/** The tags that differ between two trees. Only what differs is read. */
export async function diffTrees(
  before: TreeView,
  after: TreeView,
  load: LoadBlock,
  limit: number,
  signal: AbortSignal
): Promise<SourceChanges> {
  const changes: ImageChange[] = []
  let more = 0
  for await (const change of diffTags(before.root, after.root, createDirectories(), load, signal)) {
    if (changes.length === limit) {
      more++
      continue
    }
    const { repository, tag } = change
    const [was, is] = await Promise.all([
      change.change === 'added' ? undefined : before.tag(repository, tag, signal),
      change.change === 'removed' ? undefined : after.tag(repository, tag, signal)
    ])
    changes.push({ ...change, ...(was && { before: was }), ...(is && { after: is }) })
  }
  return { changes, more }
}
