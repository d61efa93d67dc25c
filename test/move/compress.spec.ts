import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { compress, compressionKey, compressionOf, parseCompression } from '../../src/move/compress.ts'

async function* chunked(bytes: Buffer, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function all(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of source) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Three blocks and a bit: text, noise, text that refers back. */
const text = Buffer.from('some words that come again and again, '.repeat(30_000))
const noise = createHash('shake256', { outputLength: 1_500_000 }).update('noise').digest()
const CONTENT = Buffer.concat([text, noise, text, Buffer.from('the end')])

describe('compression of layers', () => {
  for (const name of ['gzip', 'gzip:9', 'zstd', 'zstd:1']) {
    it(`${name}: the same content gives the same bytes, however it arrives, and comes back whole`, async () => {
      const compression = parseCompression(name)
      const one = await all(compress(chunked(CONTENT, 65_536), compression))
      const other = await all(compress(chunked(CONTENT, 1_000_003), compression))
      assert.ok(one.equals(other))
      const back = compression.kind === 'gzip' ? gunzipSync(one) : zstdDecompressSync(one)
      assert.ok(back.equals(CONTENT))
      assert.equal(compressionOf(one), compression.kind)
      assert.ok(one.length < noise.length + 60_000, `${one.length} bytes`)
    })

    it(`${name}: nothing, and exactly a block`, async () => {
      const compression = parseCompression(name)
      for (const size of [0, 1, 1 << 20, 4 << 20]) {
        const bytes = Buffer.alloc(size, 'a')
        const packed = await all(compress(chunked(bytes, 70_000), compression))
        const back = compression.kind === 'gzip' ? gunzipSync(packed) : zstdDecompressSync(packed)
        assert.equal(back.length, size)
      }
    })
  }

  it('gzip names no file, no time and no system', async () => {
    const packed = await all(compress(chunked(CONTENT, 65_536), parseCompression('gzip')))
    assert.equal(packed.subarray(0, 10).toString('hex'), '1f8b08000000000000ff')
  })

  it('each level is remembered by itself, and what is no compression is refused', () => {
    assert.notEqual(compressionKey(parseCompression('gzip:1')), compressionKey(parseCompression('gzip:2')))
    for (const bad of ['', 'lzma', 'gzip:0', 'gzip:10', 'zstd:20', 'zstd:x'])
      assert.throws(() => parseCompression(bad), /compression|level/, bad)
  })

  it('an end in mid-content is handed on', async () => {
    const broken = async function* () {
      yield randomBytes(3_000_000)
      throw new Error('broke off')
    }
    await assert.rejects(all(compress(broken(), parseCompression('gzip'))), /broke off/)
  })
})
