import { createHash } from 'node:crypto'
import { type FileHandle, open, stat } from 'node:fs/promises'
import * as dagCbor from '@ipld/dag-cbor'
import { CID } from 'multiformats/cid'
import { encode as encodeVarint, encodingLength } from 'uint8-varint'
import { type CarPiece, MAX_HEADER, readCar } from '../ipfs/car.ts'
import { isInline } from '../ipfs/car-writer.ts'
import { reason } from '../oci/errors.ts'
import type { LoadBlock } from '../tree/index.ts'
import { MoveError, WrongContent } from './types.ts'

/** Blocks that are looked up; more than a root of ten thousand images has. */
const MAX_BLOCKS = 5_000_000

/** A CAR of version 1 on disk whose blocks were all checked. */
export interface CarFile {
  readonly root: CID
  readonly blocks: number
  /** A block, checked once more. @throws {WrongContent} where it isn't in the file */
  readonly load: LoadBlock
  close(): Promise<void>
}

/** The header of a CAR with one root. @see https://ipld.io/specs/transport/car/carv1/ */
export function carHeader(root: CID): Buffer {
  const header = dagCbor.encode({ version: 1, roots: [root] })
  return Buffer.concat([encodeVarint(header.length), header])
}

/** What stands before a block's bytes. */
export function frameHead(cid: CID, size: number): Buffer {
  return Buffer.concat([encodeVarint(cid.bytes.length + size), cid.bytes])
}

/** How long a block's frame is in all, in bytes. */
export function frameLength(cid: CID, size: number): number {
  const length = cid.bytes.length + size
  return encodingLength(length) + length
}

/** The root that a CAR names, and how long its header is. @throws {MoveError} for what is no CAR of version 1 */
export async function readCarHeader(file: FileHandle, name: string): Promise<{ root: CID; length: number }> {
  const head = Buffer.alloc(MAX_HEADER + 8)
  const { bytesRead } = await file.read(head, 0, head.length, 0)
  try {
    const prefix = encodingLength(varintIn(head))
    const length = varintIn(head)
    if (length > MAX_HEADER || prefix + length > bytesRead) throw new Error('its header is too long')
    const { version, roots } = dagCbor.decode<{ version?: unknown; roots?: unknown }>(
      head.subarray(prefix, prefix + length)
    )
    const root = Array.isArray(roots) ? CID.asCID(roots[0]) : null
    if (version !== 1 || root === null) throw new Error(`it is of version ${String(version)}`)
    return { root, length: prefix + length }
  } catch (cause) {
    throw new MoveError(`${name} is no CAR of version 1 (${reason(cause)})`, { cause })
  }
}

function varintIn(bytes: Uint8Array): number {
  let value = 0
  for (let i = 0, scale = 1; i < 6; i++, scale *= 128) {
    const byte = bytes[i] ?? 0
    value += (byte & 127) * scale
    if (byte < 128) return value
  }
  throw new Error('it has no header')
}

/**
 * Opens a CAR: reads it once from front to back, checks every block against its CID, and remembers where each is.
 *
 * @param read told of the bytes that were read
 * @throws {MoveError} for a wrong block, a file that is cut short, and what is no CAR
 */
export async function openCar(
  path: string,
  read: (bytes: number) => void,
  signal: AbortSignal
): Promise<CarFile> {
  const name = path
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    throw new MoveError(error.code === 'ENOENT' ? `there is no file ${path}` : `${path}: ${error.message}`)
  })
  try {
    if ((await stat(path)).isDirectory())
      throw new MoveError(`${path} is a folder: if it is an OCI layout, write oci:${path}`)
    const { root, length } = await readCarHeader(file, name)
    const places = new Map<string, { at: number; size: number }>()
    let at = length
    for await (const piece of piecesOf(file, name, signal)) {
      read(piece.data.length)
      if (!piece.last) continue
      const { cid, size } = piece
      const end = at + frameLength(cid, size)
      if (places.size >= MAX_BLOCKS) throw new MoveError(`${name} has more than ${MAX_BLOCKS} blocks`)
      places.set(keyOf(cid), { at: end - size, size })
      at = end
    }
    return {
      root,
      blocks: places.size,
      async load(cid) {
        if (isInline(cid)) return cid.multihash.digest
        const place = places.get(keyOf(cid))
        if (place === undefined)
          throw new WrongContent(
            `${name} is incomplete: it lacks the block ${cid.toString()}; export it again`
          )
        const bytes = Buffer.allocUnsafe(place.size)
        await file.read(bytes, 0, place.size, place.at)
        // the file may have changed since
        if (!createHash('sha256').update(bytes).digest().equals(cid.multihash.digest))
          throw new WrongContent(`${name} is damaged: it has a wrong block for ${cid.toString()}`)
        return bytes
      },
      close: () => file.close()
    }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** The blocks of a CAR file as they are read and checked. */
export async function* piecesOf(
  file: FileHandle,
  name: string,
  signal: AbortSignal
): AsyncGenerator<CarPiece> {
  const stream = file.createReadStream({ start: 0, highWaterMark: 1 << 20, autoClose: false, signal })
  yield* checkedCar(stream as AsyncIterable<Uint8Array>, name, signal)
}

/** Reads a CAR that arrives and checks it, in words for people. */
export async function* checkedCar(
  source: AsyncIterable<Uint8Array>,
  name: string,
  signal: AbortSignal
): AsyncGenerator<CarPiece> {
  try {
    yield* readCar(source)
  } catch (error) {
    signal.throwIfAborted()
    const why = reason(error)
    if (/in the middle|empty CAR/.test(why))
      throw new WrongContent(`${name} is cut short; export it again`, { cause: error })
    if (error instanceof Error && error.name === 'PeerFault')
      throw new WrongContent(`${name} is damaged: it ${why.replace(/^sent/, 'has')}`, { cause: error })
    throw error
  }
}

const keyOf = (cid: CID): string => Buffer.from(cid.multihash.bytes).toString('latin1')
