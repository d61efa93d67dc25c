import * as dagCbor from '@ipld/dag-cbor'
import { CID } from 'multiformats/cid'
import { type CarBlocks, type CarRequest, carSize, isInline, writeCar } from '../ipfs/car-writer.ts'
import { type LiveFile, liveBlocks } from '../ipfs/live.ts'
import type { Mapped } from '../ipfs/mappings.ts'
import { malformed } from '../ipfs/unixfs.ts'
import type { Digest } from '../oci/digest.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { type Directories, MAX_SHARD_DEPTH, slotsOf } from '../tree/index.ts'

/**
 * What is offered of the store, by CID: for peers. Nothing is fetched on behalf of whoever asks, unless the
 * operator allows it; then a call that is given a signal fetches what isn't here, until that is aborted.
 */
export interface Content {
  /** @throws {RegistryError} BLOB_UNKNOWN when the block isn't here */
  block(cid: CID, signal?: AbortSignal): Promise<Uint8Array>
  /**
   * The blocks on the way from `root` along `path`, directories and their shards, the last one included.
   *
   * @throws {RegistryError} BLOB_UNKNOWN when one isn't here, or when the path leads nowhere
   */
  path(root: CID, path: readonly string[], signal?: AbortSignal): Promise<CID[]>
  /**
   * A CAR of what {@link Content.path} found; the first block is known to be here. A chunk may be overwritten
   * when the next one is asked for.
   */
  car(request: CarRequest, signal?: AbortSignal): AsyncGenerator<Uint8Array>
  /** How long that CAR will be, in bytes, where it can be told beforehand. */
  carSize(request: CarRequest): Promise<number | undefined>
  /** The file of a blob that is offered, for those who know only its digest. */
  mapped?(digest: Digest): Promise<Mapped | undefined>
  /** The signed record of an IPNS name, where one is known. */
  record?(name: string): Promise<{ bytes: Uint8Array; validUntil: number; ttlMs: number } | undefined>
}

/** How long a file that is still arriving may stand still before those who read it here are cut off, in milliseconds. */
const STALL_MS = 15_000

/**
 * @param live files that are still arriving, which are passed on as they come
 * @param fetch brings a block that isn't here, where that is allowed
 */
export function createContent(
  blocks: CarBlocks,
  directories: Directories,
  live: (file: CID) => LiveFile | undefined = () => undefined,
  fetch?: (cid: CID, signal: AbortSignal) => Promise<Uint8Array>
): Content {
  async function block(cid: CID, signal?: AbortSignal): Promise<Uint8Array> {
    const here = isInline(cid) ? cid.multihash.digest : await blocks.find(cid)
    const bytes = here ?? (signal && (await fetch?.(cid, signal)))
    if (bytes === undefined)
      throw new RegistryError(
        'BLOB_UNKNOWN',
        `${cid} is not in this gateway's store, and it fetches nothing for others`
      )
    return bytes
  }

  /** The link in a document to which the first of the names lead; they are taken away. */
  function within(document: CID, bytes: Uint8Array, names: string[]): CID {
    const path = names.join('/')
    let value = decoded(document, bytes)
    while (CID.asCID(value) === null) {
      const name = names.shift()
      if (name === undefined || typeof value !== 'object' || value === null || !Object.hasOwn(value, name))
        throw new RegistryError('BLOB_UNKNOWN', `there is no link '${path}' in ${document}`)
      value = (value as Record<string, unknown>)[name]
    }
    return CID.asCID(value) as CID
  }

  /** The blocks from a directory to one of its entries: the shards on the way, then the entry. */
  async function step(dir: CID, name: string, given: AbortSignal | undefined): Promise<CID[]> {
    const signal = given ?? new AbortController().signal
    const load = (cid: CID) => block(cid, given)
    const passed: CID[] = []
    let node = await directories.load(dir, load, signal)
    const slots = node.kind === 'flat' ? new Uint8Array() : await slotsOf(name)
    for (let depth = 0; depth <= MAX_SHARD_DEPTH; depth++) {
      if (node.kind === 'flat') {
        const link = node.links.get(name)
        if (link !== undefined) return [...passed, link.cid]
        break
      }
      const slot = node.slots.get(slots[depth] ?? -1)
      if (slot === undefined) break
      passed.push(slot.link.cid)
      if (slot.name === name) return passed
      if (slot.name !== undefined) break
      node = await directories.load(slot.link.cid, load, signal)
    }
    throw new RegistryError('BLOB_UNKNOWN', `there is no '${name}' in ${dir}`)
  }

  return {
    block,
    async path(root, path, signal) {
      await block(root, signal)
      const cids: CID[] = [root]
      const names = [...path]
      while (names.length > 0) {
        const from = cids.at(-1) as CID
        if (from.code === dagCbor.code) cids.push(within(from, await block(from, signal), names))
        else cids.push(...(await step(from, names.shift() as string, signal)))
      }
      return cids
    },
    carSize: (request) => carSize(blocks, request),
    car(request, signal) {
      const target = request.path.at(-1)
      const arriving = target && live(target)
      if (arriving !== undefined)
        return writeCar(liveBlocks(blocks, arriving, { stallMs: STALL_MS }), request)
      if (signal === undefined || fetch === undefined) return writeCar(blocks, request)
      const find: CarBlocks['find'] = async (cid) => (await blocks.find(cid)) ?? fetch(cid, signal)
      return writeCar({ find, openFile: (root, leaf) => blocks.openFile(root, leaf) }, request)
    }
  }
}

/** A DAG-CBOR document. @see https://ipld.io/specs/codecs/dag-cbor/spec/ */
function decoded(cid: CID, bytes: Uint8Array): unknown {
  try {
    return dagCbor.decode(bytes)
  } catch (error) {
    throw malformed(cid, `is no DAG-CBOR: ${reason(error)}`)
  }
}
