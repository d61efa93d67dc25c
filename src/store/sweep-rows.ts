import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { decode } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import { digestOfSha256, peekBlob } from './blob-rows.ts'
import { LEAF_SIZE } from './dag.ts'
import { blockName, createHashSet, type HashSet } from './hash-set.ts'
import { type IndexDb, prefixEnd, type RowKind, rowKey } from './index-db.ts'
import { pagesOf } from './row-watch.ts'
import { removeBlobs, type SweepParts } from './sweep-blobs.ts'

/** What is to be done with rows. */
export interface RowPlan {
  /**
   * Blocks in use, as {@link blockName} names them: those of trees of our own, to which what the blobs need is
   * added, and then what `more` adds.
   */
  readonly live: HashSet
  /** Adds to `live` what else is to stay, when it is known which blobs do (by sha256). */
  readonly more: (blobs: HashSet) => Promise<void>
  /** The blobs that a dry run would have removed. */
  readonly gone: HashSet
  readonly dryRun: boolean
  readonly signal: AbortSignal
}

/** Rows and files that went, or would. */
export interface RowOutcome {
  /** Small blocks: directories, link files, nodes above leaves. */
  blocks: { rows: number; bytes: number }
  /** Other rows that belonged to blobs that are gone. */
  others: { rows: number; bytes: number }
  /** Files of blobs without a row, left by a crash. */
  files: { count: number; bytes: number }
}

const DAG_PB = 0x70

/** How many rows go in one step, for which the disk is waited for once. */
const BATCH = 2048

/** Rows are compacted away at once where more than this would stay on the disk, or the database is small anyway. */
const COMPACT_ABOVE = 1024 * 1024
const SMALL_DATABASE = 64 * 1024 * 1024

/** The rows of all blobs that stay: their sha256; and adds to `live` the blocks that they consist of in the index. */
async function blobsThatStay(db: IndexDb, { live, gone, signal }: RowPlan): Promise<HashSet> {
  const alive = createHashSet()
  const from = rowKey('b')
  for await (const page of pagesOf(db, { gte: from, lt: prefixEnd(from) }, signal)) {
    const roots: CID[] = []
    for (const [key, value] of page) {
      const sha256 = key.subarray(1)
      if (gone.has(sha256)) continue
      alive.add(sha256)
      const { inline, size, cid } = peekBlob(value)
      if (inline) live.add(sha256)
      else if (size > LEAF_SIZE) {
        const root = cid()
        if (live.add(blockName(root.multihash.bytes))) roots.push(root)
      }
    }
    await markNodes(db, roots, live)
  }
  return alive
}

/** Marks the nodes below `nodes` of files, not their leaves. */
async function markNodes(db: IndexDb, nodes: readonly CID[], live: HashSet): Promise<void> {
  let level = nodes
  while (level.length > 0) {
    const bytes = await db.getMany(level.map(({ multihash }) => rowKey('k', multihash.bytes)))
    level = bytes.flatMap((block) => {
      if (block === undefined) return []
      const { Data, Links } = decode(block)
      if (Data !== undefined && UnixFS.unmarshal(Data).isDirectory()) return []
      return Links.map(({ Hash }) => Hash).filter(
        ({ code, multihash }) => code === DAG_PB && live.add(blockName(multihash.bytes))
      )
    })
  }
}

/** Removes the rows that nothing needs any more, and files without a row. */
export async function sweepRows(parts: SweepParts, startedAt: number, plan: RowPlan): Promise<RowOutcome> {
  const { db, watch } = parts
  const outcome: RowOutcome = {
    blocks: { rows: 0, bytes: 0 },
    others: { rows: 0, bytes: 0 },
    files: { count: 0, bytes: 0 }
  }
  let batch: { key: Uint8Array; bytes: number }[] = []
  async function remove(count: { rows: number; bytes: number }): Promise<void> {
    const keys = batch.map(({ key }) => key)
    // What is written from here on isn't taken: it is noted as fresh, or queued behind the removal.
    const going = plan.dryRun
      ? { removed: keys.filter((key) => !watch.fresh(key)), done: undefined }
      : watch.remove(keys)
    const taken = new Set(going.removed)
    for (const { key, bytes } of batch) {
      if (!taken.has(key)) continue
      count.rows++
      count.bytes += bytes
    }
    batch = []
    await going.done
  }

  /** The rows of a kind that nothing needs, by their key or value. */
  async function sweep(
    kind: RowKind,
    needed: (key: Uint8Array, value: Uint8Array) => boolean,
    count = outcome.others
  ): Promise<void> {
    const from = rowKey(kind)
    for await (const page of pagesOf(db, { gte: from, lt: prefixEnd(from) }, plan.signal)) {
      for (const [key, value] of page)
        if (!needed(key, value)) batch.push({ key, bytes: key.length + value.length })
      if (batch.length >= BATCH) await remove(count)
    }
    if (batch.length > 0) await remove(count)
  }

  // So far only what is our own is marked.
  await sweep('o', (key) => plan.live.has(blockName(key.subarray(1))))
  const alive = await blobsThatStay(db, plan)
  await plan.more(alive)
  await sweep('l', (key) => alive.has(key.subarray(key.length - 32)))
  // What goes together with a blob's own row was counted with it.
  await sweep('c', (key) => alive.has(key.subarray(1)) || plan.gone.has(key.subarray(1)))
  await sweep('d', (_, sha256) => alive.has(sha256))
  await sweep('p', (_, sha256) => alive.has(sha256))
  await sweep(
    'k',
    (key) => {
      const name = blockName(key.subarray(1))
      return plan.live.has(name) || plan.gone.has(name)
    },
    outcome.blocks
  )
  await sweepFiles(parts, startedAt, alive, plan, outcome)
  const bytes = outcome.blocks.bytes + outcome.others.bytes
  if (!plan.dryRun) await compact(db, bytes)
  return outcome
}

/** Removes files that no row belongs to: a crash after the row went, or before it came. */
async function sweepFiles(
  parts: SweepParts,
  startedAt: number,
  alive: HashSet,
  { dryRun, signal }: RowPlan,
  { files }: RowOutcome
): Promise<void> {
  const { db, folder } = parts
  for (const part of await readdir(folder)) {
    signal.throwIfAborted()
    const names = await readdir(join(folder, part)).catch(() => []) // something else that lies there
    const candidates = names
      .filter((name) => /^[0-9a-f]{64}$/.test(name) && name.startsWith(part))
      .map((name) => Buffer.from(name, 'hex'))
      .filter((sha256) => !alive.has(sha256))
    if (candidates.length === 0) continue
    const rows = await db.getMany(candidates.map((sha256) => rowKey('b', sha256)))
    const orphans = []
    for (const [i, sha256] of candidates.entries()) {
      if (rows[i] !== undefined) continue
      const file = await stat(join(folder, part, sha256.toString('hex'))).catch(() => undefined) // gone since
      if (file !== undefined) orphans.push({ digest: digestOfSha256(sha256), size: file.size, inline: false })
    }
    const went = dryRun ? orphans : await removeBlobs(parts, orphans, startedAt)
    files.count += went.length
    for (const { size } of went) files.bytes += size
  }
}

/** Has the index give the space of removed rows back to the disk. */
export async function compact(db: IndexDb, removedBytes: number): Promise<void> {
  if (removedBytes === 0) return
  const [from, to] = [rowKey('b'), rowKey('r')]
  if (removedBytes < COMPACT_ABOVE && (await db.approximateSize(from, to)) > SMALL_DATABASE) return
  await db.compactRange(from, to)
}
