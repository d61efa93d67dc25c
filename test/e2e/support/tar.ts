/** Layers as tar streams, made on the fly: nothing of a layer is held in memory but one chunk. */
import { createCipheriv, createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'

/** One entry of a layer: a text, bytes, a link to another path, or a copy of a file of this machine. */
export type LayerFile =
  | string
  | Uint8Array
  | { link: string }
  | { from: string; mode?: number }
  | { text: string; mode?: number }

/** What a layer holds: files by path, or `size` random bytes that follow from `seed` alone. */
export type LayerSpec = { files: Record<string, LayerFile> } | { size: number; seed: string | number }

const BLOCK = 512
const CHUNK = 1 << 20

function header(path: string, size: number, type: '0' | '2' | '5', mode: number, link = ''): Buffer {
  if (Buffer.byteLength(path) > 100 || Buffer.byteLength(link) > 100) throw new Error(`${path} is too long`)
  const block = Buffer.alloc(BLOCK)
  const octal = (value: number, at: number, width: number): void => {
    block.write(`${value.toString(8).padStart(width - 1, '0')}\0`, at, 'latin1')
  }
  block.write(path, 0)
  octal(mode, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  octal(size, 124, 12)
  // All times are the epoch, so that the same contents have the same digest.
  octal(0, 136, 12)
  block.write('        ', 148, 'latin1')
  block.write(type, 156, 'latin1')
  block.write(link, 157)
  block.write('ustar\x0000', 257, 'latin1')
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

const padding = (size: number): Buffer => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK)

/** `size` bytes that no compressor shrinks, the same for the same seed: an AES key stream. */
export function* randomBytes(size: number, seed: string | number): Generator<Buffer> {
  const key = createHash('sha256').update(`seaway:${seed}`).digest()
  const stream = createCipheriv('aes-128-ctr', key.subarray(0, 16), key.subarray(16))
  const zeros = Buffer.alloc(Math.min(size, CHUNK))
  for (let left = size; left > 0; left -= CHUNK) yield stream.update(zeros.subarray(0, Math.min(left, CHUNK)))
}

/** The folders above a path, outermost first. */
function parents(path: string): string[] {
  const parts = path.split('/').slice(0, -1)
  return parts.map((_, index) => `${parts.slice(0, index + 1).join('/')}/`)
}

async function* fileEntry(path: string, file: LayerFile): AsyncGenerator<Buffer> {
  if (typeof file === 'object' && 'link' in file) {
    yield header(path, 0, '2', 0o777, file.link)
    return
  }
  if (typeof file === 'object' && 'from' in file) {
    const { size } = await stat(file.from)
    yield header(path, size, '0', file.mode ?? 0o755)
    yield* createReadStream(file.from, { highWaterMark: CHUNK }) as AsyncIterable<Buffer>
    yield padding(size)
    return
  }
  const bytes = Buffer.from(typeof file === 'object' && 'text' in file ? file.text : (file as string))
  const mode = typeof file === 'object' && 'text' in file ? file.mode : undefined
  yield header(path, bytes.length, '0', mode ?? 0o644)
  yield bytes
  yield padding(bytes.length)
}

/** The layer's tar archive. Random layers hold one file, `data/<seed>`. */
export async function* layerTar(spec: LayerSpec): AsyncGenerator<Buffer> {
  if ('seed' in spec) {
    yield header('data/', 0, '5', 0o755)
    yield header(`data/${spec.seed}`, spec.size, '0', 0o644)
    yield* randomBytes(spec.size, spec.seed)
    yield padding(spec.size)
  } else {
    const made = new Set<string>()
    for (const [name, file] of Object.entries(spec.files).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
      const path = name.replace(/^\/+/, '')
      for (const folder of parents(path)) {
        if (!made.has(folder)) yield header(folder, 0, '5', 0o755)
        made.add(folder)
      }
      yield* fileEntry(path, file)
    }
  }
  yield Buffer.alloc(2 * BLOCK)
}

/** A layer in which `sh`, `echo`, `cat`, `ls`, `sha256sum` and `sleep` run: Debian's static busybox. */
export function busyboxLayer(): LayerSpec {
  const applets = ['sh', 'echo', 'cat', 'ls', 'sha256sum', 'sleep', 'true']
  const links = applets.map((name): [string, LayerFile] => [`bin/${name}`, { link: 'busybox' }])
  return {
    files: {
      'bin/busybox': { from: '/bin/busybox' },
      'etc/passwd': 'root:x:0:0:root:/:/bin/sh\n',
      ...Object.fromEntries(links)
    }
  }
}
