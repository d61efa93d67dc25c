import { type BigIntStats, fstatSync, statSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { LRUCache } from 'lru-cache'
import type { BlobInfo } from './blob-rows.ts'
import { hashPart } from './check-thread.ts'
import { LEAF_SIZE } from './dag.ts'
import { DamagedError, type OnDamage, readFailure } from './damage.ts'
import { readFully } from './files.ts'
import { type LeafHashes, leafCount } from './leaf-hashes.ts'

/**
 * A blob's file, of which nothing is given that wasn't hashed: each leaf is read and hashed by a thread before
 * its first byte is, unless that was done lately and the file hasn't changed since.
 */
export interface CheckedFile {
  /** Resolves when the bytes of [start, end) have been checked. @throws {DamagedError} */
  check(start: number, end: number): Promise<void>
  /**
   * Fills `buffer` from `length` bytes at `position`, which must lie in the blob.
   *
   * @throws {DamagedError}
   */
  read<B extends Uint8Array>(
    buffer: B,
    offset: number,
    length: number,
    position: number
  ): Promise<{ bytesRead: number; buffer: B }>
  close(): Promise<void>
}

/** Opens blobs' files for reading. */
export interface CheckedFiles {
  /**
   * @param end how far it will be read: nothing is checked ahead beyond that
   * @throws {DamagedError} when the file is missing, unreadable, or not as long as it must be
   */
  open(blob: BlobInfo, path: string, end: number): Promise<CheckedFile>
  /** The file was just written, out of memory in which all of it was hashed. */
  written(blob: BlobInfo, path: string): void
}

/** What is known of a file as it was when it was opened. */
interface Known {
  /** Which file it is, and when it changed last. */
  readonly identity: string
  /** Which leaves have been checked. */
  readonly leaves: Uint8Array
  readonly pending: Map<number, Promise<void>>
}

/** How many files are remembered as checked. */
const MAX_KNOWN = 10_000

/** How many leaves are checked ahead of the one that is being read. */
const AHEAD = 2

/** How often a read begins again because the file's metadata changed (a backup that links it, say). */
const MAX_CHANGES = 3

/**
 * @param options.ageMs how long a leaf counts as checked while the file doesn't change, in milliseconds: what was
 *   just read lies in the page cache, so hashing it again at every pull would find nothing and halve the rate.
 *   0 checks at every read
 */
export function createCheckedFiles(options: {
  hashes: LeafHashes
  ageMs: number
  onDamage: OnDamage
}): CheckedFiles {
  const { hashes, ageMs, onDamage } = options
  const files =
    ageMs === 0 ? undefined : new LRUCache<string, Known>({ max: MAX_KNOWN, ttl: ageMs, ttlResolution: 1000 })

  function known(blob: BlobInfo, identity: string): Known {
    const found = files?.get(blob.digest)
    if (found?.identity === identity) return found
    const fresh = { identity, leaves: new Uint8Array(leafCount(blob.size)), pending: new Map() }
    files?.set(blob.digest, fresh)
    return fresh
  }

  return {
    async open(blob, path, end) {
      const fail = (error: unknown): never => {
        const refusal = error instanceof DamagedError ? error : readFailure(blob.digest, error)
        if (refusal instanceof DamagedError) onDamage(refusal.damage)
        throw refusal
      }
      const file = await open(path, 'r').catch(fail)
      const size = fstatSync(file.fd).size
      if (size !== blob.size) {
        await file.close()
        fail(new DamagedError(blob.digest, `its file has ${size} bytes instead of ${blob.size}`))
      }
      return checkedFile({ blob, file, end, knownOf: known, hashes, fail })
    },

    written(blob, path) {
      known(blob, identityOf(statSync(path, { bigint: true }))).leaves.fill(1)
    }
  }
}

function checkedFile(options: {
  blob: BlobInfo
  file: FileHandle
  end: number
  knownOf: (blob: BlobInfo, identity: string) => Known
  hashes: LeafHashes
  fail: (error: unknown) => never
}): CheckedFile {
  const { blob, file, knownOf, hashes, fail } = options
  const lastWanted = Math.ceil(options.end / LEAF_SIZE) - 1
  const inFlight = new Set<Promise<void>>()
  let state = knownOf(blob, identify(file.fd))

  async function hashLeaf(index: number): Promise<void> {
    const at = index * LEAF_SIZE
    const length = Math.min(LEAF_SIZE, blob.size - at)
    const of = state
    const expected = await hashes.of(blob, index)
    if (expected === undefined) throw new DamagedError(blob.digest, 'the hashes of its parts are missing')
    const part = await hashPart(file.fd, at, length)
    if (part.length < length) throw new DamagedError(blob.digest, `its file ends within the part at ${at}`)
    if (Buffer.compare(part.sha256, expected) !== 0)
      throw new DamagedError(blob.digest, `the part at ${at} is not what was kept`)
    of.leaves[index] = 1
  }

  /** Begins to check a leaf, or joins whoever does. */
  function leaf(index: number): Promise<void> | undefined {
    if (state.leaves[index] === 1) return undefined
    const { pending } = state
    const joined = pending.get(index)
    if (joined !== undefined) return joined
    const work = hashLeaf(index).finally(() => {
      pending.delete(index)
      inFlight.delete(work)
    })
    work.catch(() => undefined) // told to whoever waits for this leaf, if anybody does
    pending.set(index, work)
    inFlight.add(work)
    return work
  }

  async function check(start: number, end: number): Promise<void> {
    const first = Math.floor(start / LEAF_SIZE)
    const last = Math.max(first, Math.ceil(end / LEAF_SIZE) - 1)
    for (let index = first; index <= last; index++) {
      const wait = leaf(index)
      for (let next = index + 1; next <= Math.min(index + AHEAD, lastWanted); next++) void leaf(next)
      if (wait !== undefined) await wait
    }
  }

  return {
    check: (start, end) => check(start, end).catch(fail),

    async read(buffer, offset, length, position) {
      const into = buffer.subarray(offset, offset + length)
      try {
        for (let changes = 0; ; changes++) {
          await check(position, position + length)
          const bytesRead = await readFully(file, into, position)
          if (bytesRead < length) throw new DamagedError(blob.digest, 'its file became shorter')
          const now = identify(file.fd)
          if (now === state.identity) return { bytesRead, buffer }
          if (changes === MAX_CHANGES) throw new DamagedError(blob.digest, 'its file keeps changing')
          state = knownOf(blob, now)
        }
      } catch (error) {
        return fail(error)
      }
    },

    async close() {
      // a thread reads by the descriptor
      await Promise.allSettled(inFlight)
      await file.close()
    }
  }
}

/** Which file it is, and when its content or metadata changed last. */
export function identityOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`
}

/** Synchronous: it takes a microsecond. */
function identify(fd: number): string {
  return identityOf(fstatSync(fd, { bigint: true }))
}
