import { readdir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { LevelDatastore } from 'datastore-level'
import type { Datastore } from 'interface-datastore'
import type { Log } from '../log.ts'
import { splitDigest } from '../oci/digest.ts'
import { createBlobReader } from './blob-reader.ts'
import { blobPath, createBlobRows, sha256Of } from './blob-rows.ts'
import { BlobWriter } from './blob-writer.ts'
import { type Blobs, createBlobs, prepareBlobFolders } from './blobs.ts'
import { StoreBlocks } from './blocks.ts'
import { createCheckedFiles } from './checked-files.ts'
import type { OnDamage } from './damage.ts'
import { createIndexGuard, createSpaceGuard, type FreeBytes, makeFolder, syncFolder } from './files.ts'
import { createGroupCommit, openIndexDb, rowKey } from './index-db.ts'
import { createIntegrity, type Integrity } from './integrity.ts'
import { createLeafHashes } from './leaf-hashes.ts'
import { createLocks } from './locks.ts'
import { createMarks, type Marks } from './marks.ts'
import { createPeek, type Peek } from './peek.ts'
import { openPrivates, type Privates } from './privates.ts'
import { createQuarantine, type Quarantine } from './quarantine.ts'
import { createRecords, type Records } from './records.ts'
import { createRowWatch } from './row-watch.ts'
import { createSmallBlocks } from './small-blocks.ts'
import { type Space, spaceOf } from './space.ts'
import { createSweeper, type Sweeper } from './sweep.ts'
import { createUses, type Uses } from './uses.ts'

export type { BlobInfo, BlobRow, Staged } from './blob-rows.ts'
export type { BlobWriter, ForeignLeaf } from './blob-writer.ts'
export { type Blobs, type ByteRange, INLINE_LIMIT } from './blobs.ts'
export type { StoreBlocks } from './blocks.ts'
export type { Block } from './dag.ts'
export { rawCid } from './dag.ts'
export { type Damage, DamagedError } from './damage.ts'
export { blockName, createHashSet, type HashSet } from './hash-set.ts'
export type { IndexWrite } from './index-db.ts'
export type { CheckOptions, Integrity, Verdict } from './integrity.ts'
export type { Mark, Marks } from './marks.ts'
export type { Peek } from './peek.ts'
export type { Privates } from './privates.ts'
export type { Quarantine, SetAside } from './quarantine.ts'
export { type Records, recordRow } from './records.ts'
export type { BlobOutcome, BlobPlan, RowOutcome, Sweep, Sweeper, SweptBlob } from './sweep.ts'
export { createUses, type Uses } from './uses.ts'

/** How long what was checked is served without being checked again, in milliseconds. */
const CHECK_AGE_MS = 3_600_000

/** Bodies that are not blobs yet: one file each, by an id of the caller's. */
export interface Incoming {
  /** A writer of a new body. */
  create(id: string): BlobWriter
  /** A writer that goes on where the file of `id` ends, or after its first `length` bytes. Throws ENOENT when there is none. */
  resume(id: string, length?: number): Promise<BlobWriter>
  /** Where the file of `id` is, or would be. */
  path(id: string): string
  /** The files there are, with their size in bytes and the time of their last change (epoch ms). */
  list(): Promise<{ id: string; size: number; changed: number }[]>
}

/**
 * The door of the store: bytes on disk, in one data folder that one process owns.
 *
 * ```
 * <data>/index/                 LevelDB: blobs, leaves, small blocks, records; its lock is the folder's
 * <data>/datastore/             LevelDB of libp2p and Helia
 * <data>/blobs/<2 hex>/<hex>    one file a blob, named by its sha256
 * <data>/incoming/<id>          bodies that are still arriving
 * <data>/quarantine/<name>      what was found damaged, for people to look at
 * ```
 */
export interface Store {
  readonly blobs: Blobs
  readonly blocks: StoreBlocks
  readonly records: Records
  /** What was found damaged. */
  readonly quarantine: Quarantine
  /** Checks everything there is. */
  readonly integrity: Integrity
  /** Has reads tell `listener` of damage that they meet, perhaps more than once. */
  onDamage(listener: OnDamage): void
  readonly marks: Marks
  /** What peers may not have. */
  readonly privates: Privates
  /** Who relies on what right now. */
  readonly uses: Uses
  /** Looks that are no use. */
  readonly peek: Peek
  /** Removes what is not needed any more. */
  readonly sweeper: Sweeper
  readonly datastore: Datastore
  readonly incoming: Incoming
  /** What the data folder takes besides the content itself. */
  space(): Promise<Space>
  close(): Promise<void>
}

/**
 * Opens the data folder, making it if need be.
 *
 * @param options.reserve bytes of the file system that are never used
 * @param options.checkAgeMs how long what was read and checked is served without checking it again, in milliseconds
 * @param options.free for tests: what the file system has left
 * @throws {RegistryError} UNAVAILABLE when another process owns it
 */
export async function openStore(options: {
  folder: string
  reserve: number
  checkAgeMs?: number
  free?: FreeBytes
  log?: Log
}): Promise<Store> {
  const { folder } = options
  const incomingFolder = join(folder, 'incoming')
  const blobFolder = join(folder, 'blobs')
  // LevelDB would let others look in: the index holds this node's key
  for (const path of [incomingFolder, join(folder, 'index'), join(folder, 'datastore')])
    await makeFolder(path)
  const db = await openIndexDb(join(folder, 'index'))
  const datastore = new LevelDatastore(join(folder, 'datastore'))
  try {
    await datastore.open()
    await prepareBlobFolders(blobFolder)
    // LevelDB doesn't sync the name of the list of its files, nor anybody the names of the folders.
    for (const part of ['index', 'datastore', 'blobs', '']) await syncFolder(join(folder, part))
    // Whoever may not read the folder above didn't make this one either.
    await syncFolder(dirname(folder)).catch(() => undefined)
  } catch (error) {
    await db.close()
    throw error
  }
  const guard = createSpaceGuard(folder, options.reserve, options.free)
  const watch = createRowWatch(createGroupCommit(db, createIndexGuard(folder, options.reserve, options.free)))
  const { write } = watch
  const uses = createUses()
  const damaged: OnDamage[] = []
  const onDamage: OnDamage = (damage) => {
    for (const listener of damaged) listener(damage)
  }
  const small = createSmallBlocks(db, async (multihash) => {
    try {
      const verdict = await integrity.block(multihash, {
        signal: new AbortController().signal,
        foundBy: 'read'
      })
      if (verdict.kind === 'aside') onDamage({ kind: 'aside', entry: verdict.entry })
    } catch (error) {
      options.log?.error(
        { err: error },
        'could not set a damaged block aside; the next read of it tries again'
      )
    }
  })
  const hashes = createLeafHashes((cid) => small.get(cid.multihash.bytes))
  const files = createCheckedFiles({ hashes, ageMs: options.checkAgeMs ?? CHECK_AGE_MS, onDamage })
  const reader = createBlobReader({ db, files, folder: blobFolder, onDamage })
  const locks = createLocks()
  const peek = createPeek({ db, folder: blobFolder })
  const privates = await openPrivates(db, peek)
  const blobs = createBlobs({
    rows: createBlobRows(db, uses),
    uses,
    write,
    reader,
    locks,
    privates,
    folder: blobFolder
  })
  const records = createRecords(db, write)
  const quarantine = createQuarantine(join(folder, 'quarantine'), records, write)
  const integrity: Integrity = createIntegrity({
    db,
    write,
    folder: blobFolder,
    hashes,
    quarantine,
    locks,
    forget: (digest) => blobs.forget(digest)
  })
  await quarantine.recover(async (digest) =>
    (await db.has(rowKey('b', sha256Of(digest)))) ? undefined : blobPath(blobFolder, splitDigest(digest).hex)
  )
  const pathOf = (id: string) => join(incomingFolder, id)
  return {
    blobs,
    blocks: new StoreBlocks({ db, watch, folder: blobFolder, small, files }),
    records,
    quarantine,
    integrity,
    onDamage: (listener) => void damaged.push(listener),
    marks: createMarks(db, write),
    uses,
    peek,
    privates,
    sweeper: createSweeper({ db, uses, watch, write, blobs, folder: blobFolder, log: options.log }),
    datastore,
    incoming: {
      create: (id) => BlobWriter.create(pathOf(id), guard),
      resume: (id, length) => BlobWriter.resume(pathOf(id), guard, length),
      path: pathOf,
      async list() {
        const found = []
        for (const id of await readdir(incomingFolder)) {
          const info = await stat(pathOf(id)).catch(() => undefined) // finished since readdir
          if (info !== undefined) found.push({ id, size: info.size, changed: info.mtimeMs })
        }
        return found
      }
    },
    space: () => spaceOf(folder),
    async close() {
      await datastore.close()
      await db.close()
    }
  }
}
