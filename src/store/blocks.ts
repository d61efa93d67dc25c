import { BaseBlockstore } from 'blockstore-core'
import type { Blockstore, InputPair } from 'interface-blockstore'
import { NotFoundError } from 'interface-store'
import { CID } from 'multiformats/cid'
import * as rawCodec from 'multiformats/codecs/raw'
import * as Digest from 'multiformats/hashes/digest'
import { type BlobRow, blobPath, decodeBlob } from './blob-rows.ts'
import type { CheckedFiles } from './checked-files.ts'
import type { Block } from './dag.ts'
import { DamagedError } from './damage.ts'
import type { ReadableFile } from './files.ts'
import { type IndexDb, type IndexWrite, prefixEnd, rowKey } from './index-db.ts'
import { holdersOf, type LeafPlace, placesOf, readLeaf, sha256Multihash } from './leaves.ts'
import { recordKey } from './records.ts'
import type { RowWatch } from './row-watch.ts'
import type { SmallBlocks } from './small-blocks.ts'

/** The largest block kept here: twice what bitswap carries; the leaves of blobs are not kept here at all. */
const MAX_SMALL_BLOCK = 4 * 1024 * 1024

/**
 * All blocks of the store, by multihash: small ones (directories, link files, nodes above leaves) out of
 * the index, leaves of blobs out of the blobs' files. Nothing here is a second copy of a blob's bytes.
 */
export class StoreBlocks extends BaseBlockstore implements Blockstore {
  readonly #db: IndexDb
  readonly #watch: RowWatch
  readonly #folder: string
  readonly #small: SmallBlocks
  readonly #files: CheckedFiles

  constructor(options: {
    db: IndexDb
    watch: RowWatch
    folder: string
    small: SmallBlocks
    files: CheckedFiles
  }) {
    super()
    this.#db = options.db
    this.#watch = options.watch
    this.#folder = options.folder
    this.#small = options.small
    this.#files = options.files
  }

  /** The bytes of a block, checked; `undefined` when it is not here, or isn't what it was. */
  async find(cid: CID): Promise<Uint8Array | undefined> {
    const multihash = cid.multihash.bytes
    const small = await this.#small.get(multihash)
    if (small !== undefined) return small
    for await (const { sha256, place } of placesOf(this.#db, multihash)) {
      const block = await this.#leaf(sha256, place)
      if (block !== undefined) return block
    }
    return undefined
  }

  /** A leaf out of a blob; `undefined` when the blob was removed, or isn't what it was. */
  async #leaf(sha256: Uint8Array, place: Required<LeafPlace>): Promise<Uint8Array | undefined> {
    const blob = await this.#blob(sha256)
    if (blob === undefined) return undefined
    const { offset, length, prefix, suffix } = place
    if (blob.inline) {
      const inline = await this.#small.get(sha256Multihash(sha256))
      return inline && Buffer.concat([prefix, inline.subarray(offset, offset + length), suffix])
    }
    try {
      const file = await this.#files.open(blob, this.#path(sha256), offset + length)
      try {
        return await readLeaf(file, place)
      } finally {
        await file.close()
      }
    } catch (error) {
      if (error instanceof DamagedError) return undefined
      throw error
    }
  }

  /** The blob's row; `undefined` where there is none that can be read. */
  async #blob(sha256: Uint8Array): Promise<BlobRow | undefined> {
    const row = await this.#db.get(rowKey('b', sha256))
    return row && decodeBlob(sha256, row)
  }

  #path(sha256: Uint8Array): string {
    return blobPath(this.#folder, Buffer.from(sha256).toString('hex'))
  }

  /**
   * The file of the blob whose DAG has `root`, one of whose leaves is `leaf`: what reads it in order needs no
   * look for each leaf. `undefined` when there is none; the caller closes it.
   */
  async openFile(root: CID, leaf: CID): Promise<{ file: ReadableFile; size: number } | undefined> {
    for await (const sha256 of holdersOf(this.#db, leaf.multihash.bytes)) {
      const blob = await this.#blob(sha256)
      if (blob === undefined || !blob.cid.equals(root)) continue
      if (blob.inline) return undefined
      try {
        return { file: await this.#files.open(blob, this.#path(sha256), blob.size), size: blob.size }
      } catch (error) {
        if (error instanceof DamagedError) return undefined
        throw error
      }
    }
    return undefined
  }

  override async put(cid: CID, value: InputPair['bytes']): Promise<CID> {
    const bytes = value instanceof Uint8Array ? value : await collect(value)
    if (bytes.length > MAX_SMALL_BLOCK)
      throw new RangeError(`block ${cid} has ${bytes.length} bytes; at most ${MAX_SMALL_BLOCK} are kept`)
    const key = rowKey('k', cid.multihash.bytes)
    await this.#watch.writing(key)
    await this.#db.put(key, bytes)
    return cid
  }

  override async *get(cid: CID): AsyncGenerator<Uint8Array> {
    const bytes = await this.find(cid)
    if (bytes === undefined) throw new NotFoundError(`no block ${cid} here`)
    yield bytes
  }

  override async has(cid: CID): Promise<boolean> {
    const multihash = cid.multihash.bytes
    if (await this.#small.has(multihash)) return true
    for await (const sha256 of holdersOf(this.#db, multihash))
      if (await this.#db.has(rowKey('b', sha256))) return true
    return false
  }

  override async delete(cid: CID): Promise<void> {
    await this.#db.del(rowKey('k', cid.multihash.bytes))
  }

  override async *getAll(): AsyncGenerator<{ cid: CID; bytes: AsyncGenerator<Uint8Array> }> {
    const from = rowKey('k')
    for await (const key of this.#db.keys({ gte: from, lt: prefixEnd(from) })) {
      const cid = CID.createV1(rawCodec.code, Digest.decode(key.subarray(1)))
      yield { cid, bytes: this.get(cid) }
    }
  }

  /**
   * Keeps blocks in one durable step with records and other rows: how a tree's new root replaces the old one.
   *
   * @param frees whether it is a step of giving space back, which goes on when little is left
   */
  async commit(
    blocks: Iterable<Block>,
    records: Iterable<[key: string, value: Uint8Array]>,
    others: readonly IndexWrite[] = [],
    frees?: boolean
  ): Promise<void> {
    const rows = [...others]
    for (const block of blocks)
      rows.push({ type: 'put', key: rowKey('k', block.cid.multihash.bytes), value: block.bytes })
    for (const [key, value] of records) rows.push({ type: 'put', key: recordKey(key), value })
    await this.#watch.write(rows, frees)
  }
}

async function collect(pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  for await (const piece of pieces) chunks.push(piece)
  return Buffer.concat(chunks)
}
