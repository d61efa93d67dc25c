import { type Digest, hasher } from '../oci/digest.ts'
import { BodyFile } from './body-file.ts'
import { LEAF_SIZE } from './dag.ts'
import { storageError } from './files.ts'
import { createBodyHash } from './hash-thread.ts'
import { borrowLeaf, returnLeaf } from './leaf-pool.ts'
import { checkDigest, type ForeignLeaf, type Written } from './written.ts'

export type { ForeignLeaf, Written } from './written.ts'

const NOTHING = new Uint8Array()

/**
 * One body on its way into the store: the bytes pass once through sha256, their leaf's sha256, and into
 * one flat file. Memory is one leaf while bytes arrive, nothing between requests.
 *
 * Not for concurrent use: one `append` at a time, then `finish` or `abort`.
 */
export class BlobWriter {
  readonly #file: BodyFile
  readonly #guard: (bytes: number) => Promise<void>
  readonly #hash = createBodyHash()
  #size = 0
  /** The leaf that is being filled; not there after {@link suspend}, when its bytes are in the file. */
  #leaf: Buffer | undefined
  #fill = 0
  readonly #leaves: Promise<Uint8Array>[] = []
  readonly #foreign: ForeignLeaf[] = []

  private constructor(file: BodyFile, guard: (bytes: number) => Promise<void>) {
    this.#file = file
    this.#guard = guard
  }

  /** A writer of a new body; its file is made when the first leaf is full or on {@link suspend}. */
  static create(path: string, guard: (bytes: number) => Promise<void>): BlobWriter {
    return new BlobWriter(new BodyFile(path), guard)
  }

  /** Goes on with the first `length` bytes of a body of which a file is left (all of it if not given); they are read once, to be hashed. */
  static async resume(
    path: string,
    guard: (bytes: number) => Promise<void>,
    length?: number
  ): Promise<BlobWriter> {
    const { file, size } = await BodyFile.existing(path, length)
    const writer = new BlobWriter(file, guard)
    try {
      await writer.#readBack(size)
      return writer
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** Where the body's file is, or will be. */
  get path(): string {
    return this.#file.path
  }

  /** Bytes taken so far. */
  get size(): number {
    return this.#size
  }

  /** How many bytes from the beginning are in the file, whole leaves only: what others may read already. */
  get written(): number {
    return this.#file.written
  }

  /** Has `listener` called whenever {@link written} grows. */
  onProgress(listener: () => void): void {
    this.#file.onProgress(listener)
  }

  /** The foreign leaves noted so far lie in the blob; they are kept with it if it is committed. */
  addForeignLeaf(leaf: ForeignLeaf): void {
    this.#foreign.push(leaf)
  }

  get hasForeignLeaves(): boolean {
    return this.#foreign.length > 0
  }

  /**
   * Takes the next bytes; they may be reused when this returns.
   *
   * @throws {RegistryError} STORAGE_FULL
   */
  async append(chunk: Uint8Array): Promise<void> {
    let at = 0
    while (at < chunk.length) {
      this.#file.throwIfFailed()
      const leaf = (this.#leaf ??= await this.#openLeaf())
      const part = chunk.subarray(at, at + LEAF_SIZE - this.#fill)
      leaf.set(part, this.#fill)
      this.#fill += part.length
      this.#size += part.length
      at += part.length
      if (this.#fill === LEAF_SIZE) await this.#send(leaf, undefined, () => returnLeaf(leaf))
    }
  }

  /**
   * Takes the next bytes out of a block that was checked against its CID already: where they are one leaf of
   * this file they are neither copied nor hashed for themselves again. They must stay as they are until
   * `release` is called.
   *
   * @param sha256 of `data`
   * @throws {RegistryError} STORAGE_FULL
   */
  async appendLeaf(data: Uint8Array, sha256: Uint8Array, release: () => void): Promise<void> {
    this.#file.throwIfFailed()
    if (this.#fill > 0 || data.length !== LEAF_SIZE) {
      await this.append(data)
      release()
      return
    }
    await this.#guard(LEAF_SIZE)
    this.#size += LEAF_SIZE
    await this.#send(data, sha256, release)
  }

  /** Makes the (empty) file, so that the body is found again after a restart. */
  async touch(): Promise<void> {
    await this.#file.open()
    await this.close()
  }

  /** Puts all bytes taken so far into the file and lets go of memory and of the file; {@link append} goes on from there. */
  async suspend(): Promise<void> {
    await this.#file.settle()
    if (this.#leaf !== undefined)
      await this.#file.write(this.#leaf.subarray(0, this.#fill), this.#size - this.#fill)
    await this.close()
  }

  /**
   * Ends the body and checks it. A body that does not fit leaves nothing behind; one that does is kept by
   * {@link moveTo}, or by what {@link small} gives.
   *
   * @throws {RegistryError} DIGEST_INVALID, STORAGE_FULL
   */
  async finish(expected: Digest | undefined): Promise<Written> {
    try {
      await this.#file.settle()
      const { whole: sha256, rest } = await this.#hash.end(await this.#tail())
      if (expected?.startsWith('sha512:')) checkDigest(expected, await this.#sha512())
      else if (expected !== undefined) checkDigest(expected, Buffer.from(sha256).toString('hex'))
      const leaves = await Promise.all(this.#leaves)
      if (this.#fill > 0 || leaves.length === 0) leaves.push(rest)
      return { size: this.#size, sha256, leaves, foreign: this.#foreign }
    } catch (error) {
      await this.abort()
      throw error
    }
  }

  /** The whole body, which must be at most `limit` bytes; `undefined` when it is longer. */
  async small(limit: number): Promise<Uint8Array | undefined> {
    if (this.#size > limit) return undefined
    // a copy, for the leaf's memory will be another one's
    if (this.#leaf !== undefined) return Buffer.from(this.#leaf.subarray(0, this.#fill))
    const bytes = Buffer.allocUnsafe(this.#size)
    if (this.#size > 0) await this.#file.read(bytes, 0)
    return bytes
  }

  /** Makes the bytes durable, then gives the file its final name. */
  async moveTo(path: string): Promise<void> {
    try {
      await this.suspend()
      await this.#file.moveTo(path)
    } catch (error) {
      await this.abort()
      throw storageError(error)
    }
    await this.close()
  }

  /** Lets go of the file, which stays. */
  async close(): Promise<void> {
    this.#forgetLeaf()
    await this.#file.close()
  }

  /** Gives up: nothing stays behind. */
  async abort(): Promise<void> {
    this.#hash.drop()
    this.#forgetLeaf()
    await this.#file.remove()
  }

  #forgetLeaf(): void {
    if (this.#leaf !== undefined) returnLeaf(this.#leaf)
    this.#leaf = undefined
  }

  /** That this is wanted is known only at the end, so the file is read once more for it. In hex. */
  async #sha512(): Promise<string> {
    const hash = hasher('sha512')
    await this.suspend()
    const buffer = Buffer.allocUnsafe(LEAF_SIZE)
    for (let at = 0; at < this.#size; ) {
      const n = await this.#file.read(buffer, at)
      if (n === 0) throw new Error(`${this.path} is shorter than what was written to it`)
      hash.update(buffer.subarray(0, n))
      at += n
    }
    return hash.digest('hex')
  }

  /** The bytes after the last whole leaf. */
  async #tail(): Promise<Uint8Array> {
    if (this.#leaf !== undefined || this.#fill === 0) return this.#leaf?.subarray(0, this.#fill) ?? NOTHING
    const tail = Buffer.allocUnsafe(this.#fill)
    await this.#file.read(tail, this.#size - this.#fill)
    return tail
  }

  /** Takes the first `end` bytes of the file as if they came now. What is less than a leaf is read again when more comes or the body ends. */
  async #readBack(end: number): Promise<void> {
    while (this.#size < end) {
      const length = Math.min(LEAF_SIZE, end - this.#size)
      if (length < LEAF_SIZE) this.#fill = length
      else {
        const leaf = borrowLeaf()
        try {
          if ((await this.#file.read(leaf, this.#size)) < length) throw new Error(`${this.path} shrank`)
          const hashed = this.#hash.leaf(leaf)
          this.#leaves.push(hashed)
          await hashed
        } finally {
          returnLeaf(leaf)
        }
      }
      this.#size += length
    }
  }

  /** A buffer for the leaf being filled; after {@link suspend} its first bytes are read back. */
  async #openLeaf(): Promise<Buffer> {
    await this.#guard(LEAF_SIZE)
    const leaf = borrowLeaf()
    if (this.#fill > 0) await this.#file.read(leaf.subarray(0, this.#fill), this.#size - this.#fill)
    return leaf
  }

  /** Sends a full leaf to the disk and to be hashed. */
  async #send(leaf: Uint8Array, sha256: Uint8Array | undefined, release: () => void): Promise<void> {
    this.#leaf = undefined
    this.#fill = 0
    const hash = () => {
      const hashed = sha256 === undefined ? this.#hash.leaf(leaf) : this.#hash.known(leaf).then(() => sha256)
      this.#leaves.push(hashed)
      return hashed
    }
    await this.#file.send(leaf, this.#size - LEAF_SIZE, hash, release)
  }
}
