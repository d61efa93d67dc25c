import { readdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { RegistryError } from '../oci/errors.ts'
import { type IndexGuard, storageError, syncFolder } from './files.ts'

/** The index: one ordered key-value database of bytes, and the lock on the data folder. */
export type IndexDb = ClassicLevel<Uint8Array, Uint8Array>

/** One change of a batch. */
export type IndexWrite =
  | { type: 'put'; key: Uint8Array; value: Uint8Array }
  | { type: 'del'; key: Uint8Array }

/**
 * The kinds of rows, by the first byte of their key.
 *
 * ```
 * b <sha256>              a blob: JSON {size, cid, dagSize, inline, at}
 * c <sha256>              the blob is cached, not pushed: its size, and when it was used last
 * d <sha512>              the sha256 of the blob that has this sha512
 * k <multihash>           a small block's bytes (directories, link files, nodes above leaves, small blobs)
 * l <multihash> <sha256>  a leaf: where in that blob's file its bytes are
 * r <utf-8 key>           a record
 * o <multihash>           a mark: the block belongs to a tree of our own (see marks.ts)
 * p <multihash>           the sha256 of the private blob that the block is, or leads to (see privates.ts)
 * ```
 */
export type RowKind = 'b' | 'c' | 'd' | 'k' | 'l' | 'o' | 'p' | 'r'

/** A row's key. */
export function rowKey(kind: RowKind, ...parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat([Buffer.from(kind), ...parts])
}

/** How much LevelDB gathers in memory, and in one log, before it begins the next, in bytes. */
const WRITE_BUFFER = 16 * 1024 * 1024

/** From how much on it is looked whether there is a next log: one block of margin below. */
const LOOK_FROM = WRITE_BUFFER - 4 * 1024 * 1024

/**
 * Opens the index in `path`. The operating system holds its lock for as long as this process lives, so
 * it also stands for owning the whole data folder, and `kill -9` leaves no stale lock behind.
 *
 * @throws {RegistryError} UNAVAILABLE when another process has the data folder
 */
export async function openIndexDb(path: string): Promise<IndexDb> {
  const db: IndexDb = new ClassicLevel(path, {
    keyEncoding: 'view',
    valueEncoding: 'view',
    cacheSize: 16 * 1024 * 1024,
    writeBufferSize: WRITE_BUFFER
  })
  try {
    await db.open()
    return db
  } catch (error) {
    const cause = (error as { cause?: { code?: string } }).cause
    if (cause?.code === 'LEVEL_LOCKED') {
      throw new RegistryError(
        'UNAVAILABLE',
        `another seaway process is using this data folder, ${dirname(path)}: use that one, or give this one a folder of its own`,
        { cause: error }
      )
    }
    throw error
  }
}

/** The end of the range of keys that begin with `prefix`. */
export function prefixEnd(prefix: Uint8Array): Uint8Array {
  return Buffer.concat([prefix, Buffer.alloc(80, 0xff)])
}

const bytesOf = (row: IndexWrite): number => row.key.length + (row.type === 'put' ? row.value.length : 0)

const sizeOf = (rows: readonly IndexWrite[]): number => rows.reduce((sum, row) => sum + bytesOf(row), 0)

/**
 * Writes rows durably; all of one call become visible together.
 *
 * @param frees whether it is a step of giving space back, which goes on when little is left; so is what only deletes
 */
export type WriteRows = (rows: readonly IndexWrite[], frees?: boolean) => Promise<void>

const isDeletion = ({ type }: IndexWrite): boolean => type === 'del'

/**
 * Group commit: while one sync is under way, what else is to be written waits and then goes as one
 * batch with one sync. Order is kept. A failed batch fails all its callers.
 *
 * @param room asked before each batch with its bytes; what it throws is the batch's failure. Where there is room
 *   only for what frees space, that goes alone
 */
export function createGroupCommit(db: IndexDb, room: IndexGuard): WriteRows {
  interface Group {
    readonly rows: IndexWrite[]
    /** Those of them that free space; `undefined` when nobody asked for that. */
    freeing: IndexWrite[] | undefined
    /** Why the others were not written. */
    refusal?: unknown
    readonly done: Promise<void>
  }
  let next: Group | undefined
  let last: Promise<void> = Promise.resolve()
  const syncNames = createNameSync(db)
  return (rows, frees = rows.every(isDeletion)) => {
    if (next === undefined) {
      const group: Group = { rows: [], freeing: undefined, done: last.then(() => write(group)) }
      next = group
      // The next group waits for this one's end, however it ends; its callers hear of a failure.
      last = group.done.catch(() => undefined)
    }
    const group = next
    group.rows.push(...rows)
    if (frees) {
      group.freeing ??= []
      group.freeing.push(...rows)
      return group.done
    }
    return group.done.then(() => {
      if (group.refusal !== undefined) throw group.refusal
    })
  }

  /** Which rows of a group there is room for. */
  async function admitted(group: Group): Promise<IndexWrite[]> {
    const { rows, freeing } = group
    const allFree = freeing?.length === rows.length
    try {
      await room(sizeOf(rows), allFree)
      return rows
    } catch (error) {
      if (freeing === undefined || allFree) throw error
      group.refusal = error
      await room(sizeOf(freeing), true)
      return freeing
    }
  }

  async function write(group: Group): Promise<void> {
    next = undefined
    const rows = await admitted(group)
    try {
      await db.batch(rows, { sync: true })
      await syncNames()
    } catch (error) {
      throw storageError(error)
    }
  }
}

/**
 * LevelDB begins a new log when its buffer is full, and syncs what it writes there, but the log's name only when the
 * buffer has become a table, later: until then a loss of power could take all of the log along. (Common file systems
 * keep the name with the file; POSIX doesn't promise it.) The returned function makes the name durable after a
 * write that was the first into a log. It looks into the folder only where the buffer may be nearly full, whoever
 * filled it, since looking takes a fifth of the time of a write.
 */
function createNameSync(db: IndexDb): () => Promise<void> {
  let synced = 0
  let buffered = LOOK_FROM
  let unlooked = 0
  db.on('write', (writes: readonly IndexWrite[]) => {
    for (const write of writes) {
      buffered += mostMemory(write)
      unlooked += mostMemory(write)
    }
  })
  return async () => {
    if (buffered < LOOK_FROM) return
    const since = unlooked
    unlooked = 0
    const numbers = (await readdir(db.location)).map((name) =>
      name.endsWith('.log') ? Number.parseInt(name, 10) : 0
    )
    const newest = Math.max(...numbers)
    if (newest === synced) return
    await syncFolder(db.location)
    synced = newest
    buffered = since + unlooked
  }
}

/**
 * How much of LevelDB's buffer a row takes at most, in bytes: itself, its place in a skip list of up to twelve
 * levels, and, for one that shares a block of memory with others, what is left over at the block's end.
 */
function mostMemory(row: IndexWrite): number {
  const bytes = bytesOf(row) + 160
  return bytes > 1024 ? bytes : bytes * (4 / 3)
}
