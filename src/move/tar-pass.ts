import { createHash } from 'node:crypto'
import { PassThrough, type Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { type Digest, digestOf, isDigest } from '../oci/digest.ts'
import { type Compression, compress, compressionKey, compressionOf, layerType } from './compress.ts'
import { HEAD, type KnownLayer, type LayerMemory } from './memory.ts'
import { asPassed, type Passed, type PassedLayer } from './passed.ts'
import { gather, type TarEntry, tarEntries } from './tar-entries.ts'
import { type ImageTarget, MoveError, type Reporter } from './types.ts'

/** How a tar is read. */
export interface PassOptions {
  readonly tar: AsyncIterable<Uint8Array>
  /** How messages call it. */
  readonly name: string
  readonly target: ImageTarget
  /** `undefined` leaves layers as they are. */
  readonly compression: Compression | undefined
  readonly memory: LayerMemory
  /** Layers that the target has: what begins like one of them and is as long is only compared with it. */
  readonly there: readonly KnownLayer[]
  /** Asked after each file, with the diff ids of the layers that have left the tar, whether the rest is needed. */
  readonly enough?: (documents: ReadonlyMap<string, Buffer>, arrived: ReadonlySet<Digest>) => boolean
  readonly report: Reporter
  readonly signal: AbortSignal
}

/** The largest file that can be a document, and all of them together, in bytes. */
const MAX_DOCUMENT = 4 * 1024 * 1024
const MAX_DOCUMENTS = 128 * 1024 * 1024

/** Uploads whose content has gone out and which only wait for their answer. */
const FINISHING = 8

/** Reads a tar of images once, from beginning to end, and sends its layers on while they arrive. Order doesn't matter. */
export async function passTar(options: PassOptions): Promise<Passed> {
  const { name, target, signal, enough } = options
  const documents = new Map<string, Buffer>()
  const layers = new Map<string, PassedLayer>()
  const links: [string, string][] = []
  const arrived = new Set<Digest>()
  const finishing = new Set<Promise<void>>()
  let documentBytes = 0
  let mistaken = false
  let failed: { error: unknown } | undefined

  for await (const entry of tarEntries(options.tar, name)) {
    signal.throwIfAborted()
    if (failed !== undefined) break
    if (entry.target !== undefined) {
      links.push([entry.path, entry.target])
      continue
    }
    const { head, rest } = await peek(entry, HEAD)
    if (isDocument(entry, head)) {
      documentBytes += entry.size
      if (documentBytes > MAX_DOCUMENTS)
        throw new MoveError(`${name} has more than ${MAX_DOCUMENTS} bytes of manifests`)
      const bytes = await gather(rest)
      checkName(entry.path, digestOf(bytes), name)
      documents.set(entry.path, bytes)
    } else if (isLayer(entry, head)) {
      const known = await likely(options.there, head, entry.size)
      if (await isThere(entry, head)) {
        const digest = await hashOf(rest)
        checkName(entry.path, digest, name)
        const mediaType = layerType(compressionOf(head))
        layers.set(entry.path, {
          diffId: digest,
          blob: { digest, size: entry.size },
          mediaType,
          unchanged: true,
          there: true
        })
        options.report.blob(shortName(entry.path), entry.size).done(true)
      } else if (known !== undefined) {
        const diffId = await hashOf(rest)
        if (diffId === known.diffId) {
          layers.set(entry.path, asPassed(known, options.compression))
          arrived.add(diffId)
        } else mistaken = true
      } else {
        const { drained, layer } = pass(entry, head, rest, options)
        const finished = layer
          .then((passed) => void layers.set(entry.path, passed))
          .catch((error: unknown) => {
            failed ??= { error }
          })
          .finally(() => finishing.delete(finished))
        finishing.add(finished)
        await Promise.race([drained, finished])
        while (finishing.size >= FINISHING) await Promise.race(finishing)
      }
    }
    if (enough?.(documents, arrived) === true) break
  }
  await Promise.all(finishing)
  if (failed !== undefined) throw failed.error
  signal.throwIfAborted()
  for (const [path, to] of links) {
    const layer = layers.get(to)
    if (layer !== undefined) layers.set(path, layer)
    const document = documents.get(to)
    if (document !== undefined) documents.set(path, document)
  }
  return { documents, layers, mistaken }

  /** Whether the target has the very blob that the path names; then it is only read and checked. */
  async function isThere({ path, size }: TarEntry, head: Buffer): Promise<boolean> {
    const digest = path.startsWith('blobs/') ? digestOfPath(path) : undefined
    const goesAsIs = compressionOf(head) !== 'none' || options.compression === undefined
    return digest !== undefined && goesAsIs && (await target.hasBlob({ digest, size }, signal))
  }

  /** Sends a layer on. `drained` when all of it has left the tar. */
  function pass(entry: TarEntry, head: Buffer, rest: AsyncIterable<Uint8Array>, given: PassOptions) {
    let done = () => {}
    const drained = new Promise<void>((resolve) => {
      done = resolve
    })
    const { compression } = given
    const packed = compressionOf(head)
    const shown = given.report.blob(shortName(entry.path), entry.size)
    const raw = createHash('sha256')
    async function* watched() {
      for await (const chunk of rest) {
        raw.update(chunk)
        shown.add(chunk.length)
        yield chunk
      }
      if (packed === 'none') arrived.add(`sha256:${raw.copy().digest('hex')}`)
      done()
    }
    const layer = (async (): Promise<PassedLayer> => {
      const inside = packed === 'none' ? undefined : unpackedHash(packed)
      const source = inside === undefined ? watched() : inside.through(watched())
      const change = packed === 'none' && compression !== undefined
      const blob = await target.writeStream(change ? compress(source, compression) : source, signal)
      const rawDigest = `sha256:${raw.digest('hex')}` as Digest
      checkName(entry.path, rawDigest, name)
      const diffId = inside === undefined ? rawDigest : await inside.digest(name, entry.path)
      if (change) {
        const known = { diffId, plain: entry.size, head: headHash(head), ...blob }
        await given.memory.note(known, compressionKey(compression))
      }
      shown.done(false)
      return {
        diffId,
        blob,
        mediaType: layerType(change ? compression.kind : packed),
        unchanged: !change,
        there: false
      }
    })()
    return { drained, layer }
  }
}

/** What is small, and begins like JSON. */
function isDocument({ size, path }: TarEntry, head: Buffer): boolean {
  return (
    size <= MAX_DOCUMENT && (head[0] === 0x7b || head[0] === 0x5b) && !isTar(head) && !path.endsWith('.tar')
  )
}

function isLayer({ path, size }: TarEntry, head: Buffer): boolean {
  if (size === 0) return false
  return path.endsWith('.tar') || path.startsWith('blobs/') || isTar(head) || compressionOf(head) !== 'none'
}

function isTar(head: Buffer): boolean {
  return head.length >= 512 && head.toString('latin1', 257, 262) === 'ustar'
}

/** A blob of a layout says what it holds by its name. */
function checkName(path: string, digest: Digest, name: string): void {
  const match = /^blobs\/(sha256)\/([0-9a-f]{64})$/.exec(path)
  if (match !== null && digest !== `${match[1]}:${match[2]}`)
    throw new MoveError(`${name} is damaged: what it calls ${match[1]}:${match[2]} is ${digest}`)
}

async function peek(
  entry: TarEntry,
  size: number
): Promise<{ head: Buffer; rest: AsyncIterable<Uint8Array> }> {
  const chunks = entry.content[Symbol.asyncIterator]()
  const first: Uint8Array[] = []
  let length = 0
  while (length < size) {
    const { done, value } = await chunks.next()
    if (done === true) break
    first.push(value)
    length += value.length
  }
  async function* rest() {
    yield* first
    first.length = 0
    for (;;) {
      const { done, value } = await chunks.next()
      if (done === true) return
      yield value
    }
  }
  return { head: Buffer.concat(first).subarray(0, size), rest: rest() }
}

const headHash = (head: Buffer): string => createHash('sha256').update(head).digest('hex')

async function likely(
  there: readonly KnownLayer[],
  head: Buffer,
  size: number
): Promise<KnownLayer | undefined> {
  const same = there.filter(({ plain }) => plain === size)
  if (same.length === 0) return undefined
  const hash = headHash(head)
  return same.find((known) => known.head === hash)
}

async function hashOf(source: AsyncIterable<Uint8Array>): Promise<Digest> {
  const hash = createHash('sha256')
  for await (const chunk of source) hash.update(chunk)
  return `sha256:${hash.digest('hex')}`
}

/** The sha256 of what is inside of compressed content, while that passes by. */
function unpackedHash(packed: 'gzip' | 'zstd') {
  const input = new PassThrough({ highWaterMark: 1 << 20 })
  const unpack: Readable = input.pipe(packed === 'gzip' ? createGunzip() : createZstdDecompress())
  const hash = createHash('sha256')
  const result = new Promise<Digest>((resolve, reject) => {
    unpack.on('data', (chunk: Buffer) => hash.update(chunk))
    unpack.once('end', () => resolve(`sha256:${hash.digest('hex')}`))
    unpack.once('error', reject)
  })
  result.catch(() => input.resume())
  return {
    async *through(source: AsyncIterable<Uint8Array>) {
      for await (const chunk of source) {
        if (!input.write(chunk) && !unpack.destroyed)
          await new Promise<void>((resolve) => {
            input.once('drain', resolve)
            unpack.once('close', resolve)
          })
        yield chunk
      }
      input.end()
    },
    digest: (name: string, path: string) =>
      result.catch((cause: unknown) => {
        throw new MoveError(`${name} is damaged: ${path} is no sound ${packed}`, { cause })
      })
  }
}

/** What people are shown of a layer in a tar. */
function shortName(path: string): string {
  const hex = /[0-9a-f]{64}/.exec(path)?.[0]
  return hex === undefined ? path.slice(-20) : hex.slice(0, 12)
}

/** The digest that a path of an OCI layout stands for. */
export function digestOfPath(path: string): Digest | undefined {
  const digest = path.replace(/^blobs\//, '').replace('/', ':')
  return isDigest(digest) ? digest : undefined
}
