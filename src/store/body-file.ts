import { constants, type FileHandle, open, rename, rm } from 'node:fs/promises'
import { LEAF_SIZE } from './dag.ts'
import { readFully, storageError, writeFully } from './files.ts'

/** How many full leaves may be on their way to the disk at once, over all files. */
const MAX_IN_FLIGHT = 16
let inFlight = 0
const waiting: (() => void)[] = []

/** How much is written before the disk is asked to begin, so that the last sync finds little left to do. */
const SYNC_EVERY = 32 * LEAF_SIZE

/**
 * The file of a body that is arriving: made when it is first needed, written a leaf at a time while the next
 * ones arrive, and named at the end. It knows nothing of what the bytes are.
 */
export class BodyFile {
  readonly path: string
  #file: FileHandle | undefined
  readonly #pending = new Set<Promise<void>>()
  #failure: unknown
  /** Where leaves begin that were written before one that precedes them. */
  readonly #ahead = new Set<number>()
  #written = 0
  #progress: (() => void) | undefined
  #sent = 0
  #syncedAt = 0
  #syncing: Promise<void> | undefined

  constructor(path: string) {
    this.path = path
  }

  /** The file that is there already, cut off after `length` bytes if it is longer; with its size then. */
  static async existing(path: string, length?: number): Promise<{ file: BodyFile; size: number }> {
    const body = new BodyFile(path)
    const file = await open(path, 'r+')
    body.#file = file
    try {
      const size = Math.min(length ?? Number.POSITIVE_INFINITY, (await file.stat()).size)
      await file.truncate(size)
      return { file: body, size }
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** How many bytes from the beginning were written by {@link send} since this was made. */
  get written(): number {
    return this.#written
  }

  /** Has `listener` called whenever {@link written} grows. */
  onProgress(listener: () => void): void {
    this.#progress = listener
  }

  /** Opens the file, making it if need be. */
  async open(): Promise<FileHandle> {
    try {
      return (this.#file ??= await open(this.path, constants.O_RDWR | constants.O_CREAT, 0o600))
    } catch (error) {
      throw storageError(error)
    }
  }

  /** Fills `buffer` from `position`; the number of bytes is less only at the file's end. */
  async read(buffer: Uint8Array, position: number): Promise<number> {
    return readFully(await this.open(), buffer, position)
  }

  /** @throws {RegistryError} STORAGE_FULL */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    const file = await this.open()
    try {
      await writeFully(file, bytes, position)
    } catch (error) {
      throw storageError(error)
    }
  }

  /**
   * Sends a leaf to the disk, and waits only while too many are under way. A failure is thrown by the next
   * {@link throwIfFailed} or {@link settle}.
   *
   * @param also what else is done with the leaf, begun when its turn has come; {@link written} waits for it
   * @param release called when nothing needs the leaf's bytes any more
   */
  async send(
    leaf: Uint8Array,
    position: number,
    also: () => Promise<unknown>,
    release: () => void
  ): Promise<void> {
    const file = await this.open()
    while (inFlight >= MAX_IN_FLIGHT) await new Promise<void>((resolve) => waiting.push(resolve))
    inFlight++
    const work: Promise<void> = Promise.all([also(), writeFully(file, leaf, position)])
      .then(
        () => this.#advance(position),
        (error: unknown) => {
          this.#failure ??= error
        }
      )
      .finally(() => {
        inFlight--
        waiting.shift()?.()
        release()
        this.#pending.delete(work)
      })
    this.#pending.add(work)
    this.#sent += leaf.length
    this.#syncNowAndThen(file)
  }

  /** @throws {RegistryError} STORAGE_FULL, or whatever a leaf that was sent failed with */
  throwIfFailed(): void {
    if (this.#failure !== undefined) throw storageError(this.#failure)
  }

  /** Waits until all that was sent is in the file; throws as {@link throwIfFailed}. */
  async settle(): Promise<void> {
    await Promise.all(this.#pending)
    this.throwIfFailed()
  }

  /** Makes the bytes durable, then gives the file its final name. Its folder is the caller's to sync. */
  async moveTo(path: string): Promise<void> {
    const file = await this.open()
    await this.#syncing
    await file.sync()
    this.throwIfFailed()
    await rename(this.path, path)
  }

  /** Lets go of the file, which stays. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#pending, this.#syncing])
    const file = this.#file
    this.#file = undefined
    await file?.close()
  }

  /** Lets go of the file and removes it. */
  async remove(): Promise<void> {
    await this.close()
    await rm(this.path, { force: true })
  }

  #syncNowAndThen(file: FileHandle): void {
    if (this.#sent - this.#syncedAt < SYNC_EVERY || this.#syncing !== undefined) return
    this.#syncedAt = this.#sent
    this.#syncing = file
      .datasync()
      .catch((error: unknown) => {
        this.#failure ??= error
      })
      .finally(() => {
        this.#syncing = undefined
      })
  }

  #advance(position: number): void {
    this.#ahead.add(position)
    while (this.#ahead.delete(this.#written)) this.#written += LEAF_SIZE
    this.#progress?.()
  }
}
