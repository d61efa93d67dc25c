/** The image that `bench-transfer.ts` moves: one layer, how it is published, and how it is downloaded and checked. */
import { createHash, randomBytes } from 'node:crypto'
import http from 'node:http'
import type { Digest } from '../src/oci/digest.ts'
import { openStore } from '../src/store/index.ts'
import type { SeawayProcess } from '../test/support/seaway-process.ts'

const MiB = 1024 * 1024
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'

/** How long a download may say nothing before it counts as hung: then the bench fails, for whoever serves may be why. */
const SILENCE_MS = 15_000

/** The repository in the domain's tree. */
export const REPOSITORY = 'bench.example/app'

/** A layer of pieces of 1 MiB, each the same random bytes with its number in front. */
export interface Layer {
  readonly size: number
  readonly digest: Digest
  pieces(): Generator<Buffer>
  /** Takes the content in order; throws at the first byte that is wrong. */
  checker(): (data: Buffer) => void
}

/** Makes a layer of `size` bytes, whole MiB. */
export function makeLayer(size: number): Layer {
  const random = randomBytes(MiB)
  function numbered(i: number, piece: Buffer): Buffer {
    piece.writeUInt32LE(i, 0)
    return piece
  }
  function* pieces(): Generator<Buffer> {
    for (let i = 0; i < size / MiB; i++) yield numbered(i, Buffer.from(random))
  }
  const hash = createHash('sha256')
  for (const piece of pieces()) hash.update(piece)
  return {
    size,
    digest: `sha256:${hash.digest('hex')}`,
    pieces,
    checker() {
      const expected = Buffer.from(random)
      let at = 0
      return (data) => {
        for (let done = 0; done < data.length; ) {
          const from = at % MiB
          const length = Math.min(MiB - from, data.length - done)
          numbered(Math.floor(at / MiB), expected)
          if (data.compare(expected, from, from + length, done, done + length) !== 0)
            throw new Error(`wrong bytes between ${at} and ${at + length}`)
          done += length
          at += length
        }
      }
    }
  }
}

/** Where a layer's flat file is in a data folder, as the names of folders and file. */
export function pathOf({ digest }: Layer): [string, string, string] {
  const hex = digest.slice('sha256:'.length)
  return ['blobs', hex.slice(0, 2), hex]
}

/** Reads a body to its end, comparing every byte: its rate in MB/s, and when its first byte came, in ms. */
export function download(url: string, layer: Layer): Promise<{ rate: number; first: number }> {
  return new Promise((resolve, reject) => {
    const begun = performance.now()
    const check = layer.checker()
    let first = 0
    let size = 0
    let said = ''
    const request = http.get(url, { highWaterMark: MiB } as object, (answer) => {
      answer.on('data', (data: Buffer) => {
        first ||= performance.now() - begun
        size += data.length
        try {
          if (answer.statusCode === 200) check(data)
          else said += data.toString()
        } catch (error) {
          request.destroy(error as Error)
        }
      })
      answer.on('error', reject)
      answer.on('end', () => {
        if (size !== layer.size) return reject(new Error(`${answer.statusCode}, ${size} bytes ${said}`))
        return resolve({ rate: size / 1e3 / (performance.now() - begun), first })
      })
    })
    request.on('error', reject)
    request.setTimeout(SILENCE_MS, () => request.destroy(new Error(`nothing came for ${SILENCE_MS} ms`)))
  })
}

async function upload(
  at: SeawayProcess,
  digest: string,
  pieces: Iterable<Buffer>,
  length: number
): Promise<void> {
  const session = await fetch(`${at.url}/v2/${REPOSITORY}/blobs/uploads/`, { method: 'POST' })
  const url = new URL(`${session.headers.get('location')}?digest=${digest}`, at.url)
  const stream = ReadableStream.from(pieces) as ReadableStream<Uint8Array>
  const headers = { 'content-length': String(length) }
  const put = await fetch(url, { method: 'PUT', headers, body: stream, duplex: 'half' })
  if (put.status !== 201) throw new Error(`upload: ${put.status} ${await put.text()}`)
}

/** Publishes an image of those layers at `at`; its root. */
export async function publish(at: SeawayProcess, layers: readonly Layer[]): Promise<string> {
  for (const layer of layers) await upload(at, layer.digest, layer.pieces(), layer.size)
  const config = Buffer.from('{}')
  const configDigest = `sha256:${createHash('sha256').update(config).digest('hex')}`
  await upload(at, configDigest, [config], config.length)
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      digest: configDigest,
      size: config.length
    },
    layers: layers.map(({ digest, size }) => ({
      mediaType: 'application/vnd.oci.image.layer.v1.tar',
      digest,
      size
    }))
  })
  const url = `${at.url}/v2/${REPOSITORY}/manifests/1`
  const put = await fetch(url, { method: 'PUT', headers: { 'content-type': MANIFEST }, body: manifest })
  if (put.status !== 201) throw new Error(`manifest: ${put.status} ${await put.text()}`)
  return at.root('bench.example')
}

/** The layer's CID in a data folder that nobody has open. */
export async function cidOf(folder: string, { digest }: Layer): Promise<string> {
  const store = await openStore({ folder, reserve: 0 })
  try {
    const found = await store.blobs.stat(digest)
    if (found === undefined) throw new Error('the layer is not in the store')
    return found.cid.toString()
  } finally {
    await store.close()
  }
}
