import { promisify } from 'node:util'
import { constants, crc32, deflateRaw, zstdCompress } from 'node:zlib'
import { MoveError } from './types.ts'

/** How layers are compressed. */
export interface Compression {
  readonly kind: 'gzip' | 'zstd'
  readonly level: number
}

/** What is taken unless told; the levels are where a lower one saves hardly any time. */
const LEVELS = {
  gzip: { standard: 4, least: 1, most: 9 },
  zstd: { standard: 3, least: 1, most: 19 }
} as const

/** Bytes that are compressed as one; a change of this gives every layer another digest. */
const BLOCK = { gzip: 1 << 20, zstd: 4 << 20 } as const

/** How far back a gzip block can refer, in bytes. */
const DICTIONARY = 32 * 1024

/** Counts changes of what is made of the same content. */
const FORM = 2

/** Blocks that are compressed at a time. */
const PARALLEL = 4

/** How much of a block shows whether compressing it is of use, in how many places, and the least that it must save. */
const SAMPLE = 8 * 1024
const SAMPLES = 4
const LEAST_SAVING = 0.97

/** What a block can grow by where nothing can be saved, in bytes. */
const SLACK = 64 * 1024

/** A gzip member's header without name, time or system, so that it is the same anywhere. @see https://www.rfc-editor.org/rfc/rfc1952 */
const GZIP_HEADER = Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff])

const deflate = promisify<Uint8Array, object, Buffer>(deflateRaw)
const zstd = promisify<Uint8Array, object, Buffer>(zstdCompress)

/**
 * Reads `gzip`, `zstd`, or one with a level: `gzip:9`.
 *
 * @throws {MoveError}
 */
export function parseCompression(text: string): Compression {
  const [kind = '', given] = text.split(':')
  if (kind !== 'gzip' && kind !== 'zstd')
    throw new MoveError(`'${text}' is no compression: gzip and zstd are, perhaps with a level, as in zstd:9`)
  const { standard, least, most } = LEVELS[kind]
  const level = given === undefined ? standard : Number(given)
  if (!Number.isInteger(level) || level < least || level > most)
    throw new MoveError(`'${given}' is no level of ${kind}: ${least} to ${most} are`)
  return { kind, level }
}

/** The name under which what was compressed so is remembered; another one for each way that gives other bytes. */
export function compressionKey({ kind, level }: Compression): string {
  return `${kind}-${level}-${BLOCK[kind]}-${FORM}-${process.versions[kind === 'gzip' ? 'zlib' : 'zstd'] ?? ''}`
}

/** The media type of a layer. */
export function layerType(kind: 'gzip' | 'zstd' | 'none'): string {
  return `application/vnd.oci.image.layer.v1.tar${kind === 'none' ? '' : `+${kind}`}`
}

/** How bytes are compressed, by how they begin; at least four are needed. */
export function compressionOf(head: Uint8Array): 'gzip' | 'zstd' | 'none' {
  if (head[0] === 0x1f && head[1] === 0x8b) return 'gzip'
  const isZstd = head[0] === 0x28 && head[1] === 0xb5 && head[2] === 0x2f && head[3] === 0xfd
  return isZstd ? 'zstd' : 'none'
}

/**
 * Compresses on all cores: fixed blocks, each by itself but for gzip's look back, put together in order. The same
 * content gives the same bytes, however it arrives. Memory is some ten blocks.
 *
 * gzip: one member of blocks that end at a byte, as pigz writes it. zstd: a frame a block.
 */
export async function* compress(
  source: AsyncIterable<Uint8Array>,
  compression: Compression
): AsyncGenerator<Uint8Array> {
  if (compression.kind === 'gzip') yield* gzip(source, compression.level)
  else
    yield* inOrder(blocksOf(source, BLOCK.zstd), ({ block }) =>
      zstd(block, {
        chunkSize: block.length + SLACK,
        params: { [constants.ZSTD_c_compressionLevel]: compression.level }
      })
    )
}

async function* gzip(source: AsyncIterable<Uint8Array>, level: number): AsyncGenerator<Uint8Array> {
  let crc = 0
  let size = 0
  yield GZIP_HEADER
  yield* inOrder(blocksOf(source, BLOCK.gzip), async ({ block, before, last }) => {
    crc = crc32(block, crc)
    size += block.length
    const end = last ? constants.Z_FINISH : constants.Z_SYNC_FLUSH
    const dictionary = before.length > 0 ? { dictionary: before } : {}
    const useful = await shrinks(block)
    return deflate(block, {
      level: useful ? level : 0,
      finishFlush: end,
      memLevel: 9,
      chunkSize: block.length + SLACK, // all that comes out at once: each piece is a turn of this thread
      ...dictionary
    })
  })
  const trailer = Buffer.alloc(8)
  trailer.writeUInt32LE(crc >>> 0)
  trailer.writeUInt32LE(size % 2 ** 32, 4)
  yield trailer
}

/** Whether compressing a block saves something: what is compressed already would take as long as all else. */
async function shrinks(block: Uint8Array): Promise<boolean> {
  if (block.length < SAMPLE * SAMPLES * 2) return true
  for (let i = 0; i < SAMPLES; i++) {
    const start = Math.floor(((block.length - SAMPLE) * i) / (SAMPLES - 1))
    const sample = await deflate(block.subarray(start, start + SAMPLE), { level: 1 })
    if (sample.length < SAMPLE * LEAST_SAVING) return true
  }
  return false
}

/** A piece of the content, and what comes before it as far as gzip looks back. */
interface Block {
  readonly block: Uint8Array
  readonly before: Uint8Array
  readonly last: boolean
}

/** The content in blocks of `size` bytes; the last one may be shorter, or empty if there is nothing. */
async function* blocksOf(source: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Block> {
  let before: Uint8Array = new Uint8Array()
  let full: Buffer | undefined
  let next = Buffer.allocUnsafe(size)
  let used = 0
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length; ) {
      if (used === size) {
        if (full !== undefined) {
          yield { block: full, before, last: false }
          before = full.subarray(-DICTIONARY)
        }
        full = next
        next = Buffer.allocUnsafe(size)
        used = 0
      }
      const part = chunk.subarray(at, at + size - used)
      next.set(part, used)
      used += part.length
      at += part.length
    }
  }
  if (full !== undefined) {
    yield { block: full, before, last: false }
    before = full.subarray(-DICTIONARY)
  }
  yield { block: next.subarray(0, used), before, last: true }
}

/** Works on a few blocks at once and yields what comes of them in their order. */
async function* inOrder(
  blocks: AsyncIterable<Block>,
  work: (block: Block) => Promise<Uint8Array>
): AsyncGenerator<Uint8Array> {
  const going: Promise<Uint8Array>[] = []
  try {
    for await (const block of blocks) {
      going.push(work(block))
      if (going.length >= PARALLEL) yield (await going.shift()) as Uint8Array
    }
    while (going.length > 0) yield (await going.shift()) as Uint8Array
  } finally {
    await Promise.allSettled(going)
  }
}
