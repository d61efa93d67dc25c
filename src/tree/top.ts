import type { CID } from 'multiformats/cid'
import type { Directories, LoadBlock } from './directory.ts'
import type { Change } from './edits.ts'
import type { Link } from './node.ts'

/** The entries of a tree's root. */
async function topEntries(
  root: CID,
  directories: Directories,
  load: LoadBlock,
  signal: AbortSignal
): Promise<Map<string, Link>> {
  const found = new Map<string, Link>()
  for (const name of await directories.names(root, load, signal)) {
    const link = await directories.entry(root, name, load, signal)
    if (link !== undefined) found.set(name, link)
  }
  return found
}

/**
 * The change that makes one root out of another: since a directory is what its entries are, putting those of
 * `wanted` into `current` gives the very same root.
 */
export async function becomeRoot(
  current: CID | undefined,
  wanted: CID,
  directories: Directories,
  load: LoadBlock,
  signal: AbortSignal
): Promise<Change> {
  const next = await topEntries(wanted, directories, load, signal)
  const old = current === undefined ? new Map() : await topEntries(current, directories, load, signal)
  const gone = [...old.keys()].filter((name) => !next.has(name))
  return {
    edits: [
      ...[...next].map(([name, link]) => ({ path: [name], link })),
      ...gone.map((name) => ({ path: [name], link: undefined }))
    ],
    blocks: []
  }
}
