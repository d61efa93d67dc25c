import type { CID } from 'multiformats/cid'
import type { Directories, LoadBlock } from './directory.ts'
import { isPrivate, repositoriesPath } from './layout.ts'
import type { Link } from './node.ts'

/** A tag that two trees don't have alike. */
export interface TagChange {
  /** The trees' name for the repository. */
  readonly repository: string
  readonly tag: string
  readonly change: 'added' | 'removed' | 'changed'
}

/** How deep repository names may nest. */
const MAX_DEPTH = 32

/**
 * The tags that differ from one tree to another. Directories with the same CID are the same below, so only what
 * differs is read, and of a sharded directory only the shards that do.
 */
export async function* diffTags(
  before: CID,
  after: CID,
  directories: Directories,
  load: LoadBlock,
  signal: AbortSignal
): AsyncGenerator<TagChange> {
  const root = (cid: CID) => directories.resolve({ cid, size: 0 }, repositoriesPath, load, signal)
  yield* repositories(await root(before), await root(after), '', 0)

  async function* repositories(
    a: Link | undefined,
    b: Link | undefined,
    name: string,
    depth: number
  ): AsyncGenerator<TagChange> {
    for await (const { name: entry, a: old, b: now } of differences(a, b)) {
      if (isPrivate(entry)) {
        if (entry === '_manifests' && name !== '') yield* tags(old, now, name)
      } else if (depth < MAX_DEPTH)
        yield* repositories(old, now, name === '' ? entry : `${name}/${entry}`, depth + 1)
    }
  }

  async function* tags(
    a: Link | undefined,
    b: Link | undefined,
    repository: string
  ): AsyncGenerator<TagChange> {
    const [old, now] = [await within(a, ['tags']), await within(b, ['tags'])]
    for await (const { name: tag, a: was, b: is } of differences(old, now)) {
      const change = was === undefined ? 'added' : is === undefined ? 'removed' : 'changed'
      // the tag's folder also says what it pointed at before, which is no change of the tag
      if (change === 'changed' && (await sameTag(was, is))) continue
      yield { repository, tag, change }
    }
  }

  async function sameTag(a: Link | undefined, b: Link | undefined): Promise<boolean> {
    const [old, now] = [await within(a, ['current', 'link']), await within(b, ['current', 'link'])]
    return old !== undefined && now !== undefined && old.cid.equals(now.cid)
  }

  async function within(dir: Link | undefined, path: readonly string[]): Promise<Link | undefined> {
    return dir && directories.resolve(dir, path, load, signal)
  }

  /** The entries that differ, by name. */
  async function* differences(
    a: Link | undefined,
    b: Link | undefined
  ): AsyncGenerator<{ name: string; a: Link | undefined; b: Link | undefined }> {
    if (a !== undefined && b !== undefined && a.cid.equals(b.cid)) return
    const [old, now] = [new Map<string, Link>(), new Map<string, Link>()]
    await entriesThatDiffer(a, b, old, now)
    for (const name of [...new Set([...old.keys(), ...now.keys()])].sort()) {
      const [was, is] = [old.get(name), now.get(name)]
      if (was !== undefined && is !== undefined && was.cid.equals(is.cid)) continue
      yield { name, a: was, b: is }
    }
  }

  /** Entries of two directories, without the shards that both have. */
  async function entriesThatDiffer(
    a: Link | undefined,
    b: Link | undefined,
    old: Map<string, Link>,
    now: Map<string, Link>
  ): Promise<void> {
    if (a !== undefined && b !== undefined && a.cid.equals(b.cid)) return
    signal.throwIfAborted()
    const left = a && (await directories.load(a.cid, load, signal))
    const right = b && (await directories.load(b.cid, load, signal))
    const shards = new Map<number, { a?: Link; b?: Link }>()
    for (const [node, into, side] of [
      [left, old, 'a'],
      [right, now, 'b']
    ] as const) {
      if (node?.kind === 'flat') for (const [name, link] of node.links) into.set(name, link)
      if (node?.kind !== 'shard') continue
      for (const [at, slot] of node.slots) {
        if (slot.name !== undefined) into.set(slot.name, slot.link)
        else shards.set(at, { ...shards.get(at), [side]: slot.link })
      }
    }
    for (const { a: x, b: y } of shards.values()) await entriesThatDiffer(x, y, old, now)
  }
}
