export { diffTags, type TagChange } from './diff.ts'
export { createDirectories, type Directories, type LoadBlock, type Way } from './directory.ts'
export {
  type Change,
  type Content,
  joinChanges,
  putBlob,
  putManifest,
  removeBlob,
  removeContent,
  removeManifest,
  removeRepository,
  removeTag,
  removeTagHistory
} from './edits.ts'
export { type MarkOptions, markTree } from './mark.ts'
export { type Merge, type MergedTag, mergeTrees, type TagMove } from './merge.ts'
export { MAX_SHARD_DEPTH, slotsOf } from './node.ts'
export { pastKey, pastRoots, pastTime } from './past.ts'
export { previewChange } from './preview.ts'
export { becomeRoot } from './top.ts'
export { type Ahead, openTree, type TreeView } from './view.ts'
export { createTreeWriter, descentRows, type Job, type TreeWriter } from './writer.ts'
