/** Real images without a network: OCI layouts written layer by layer, that every client can read. */
import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { link, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'
import { run } from './process.ts'
import { type LayerSpec, layerTar } from './tar.ts'

export { busyboxLayer, type LayerFile, type LayerSpec } from './tar.ts'

/** An OCI descriptor. */
export interface Descriptor {
  mediaType: string
  digest: string
  size: number
  platform?: { architecture: string; os: string }
  annotations?: Record<string, string>
}

/** A layer's descriptor, and the digest of its tar without compression. */
export interface Layer extends Descriptor {
  diffId: string
}

/** What {@link makeImage} makes. */
export interface ImageSpec {
  /** The folder of the layout; made where it does not exist. */
  dir: string
  /** Name and tag, as `docker load` will know the image: `example/app:1`. */
  name: string
  /** Bottom first. */
  layers: LayerSpec[]
  /** An image whose layers go below, as the same blobs. Its layout must be on the same file system. */
  base?: Image
  /** Several make an OCI index over manifests that differ in their config only. `linux/amd64` unless told. */
  platforms?: string[]
  /** Compress the layers; true unless told. Random layers are stored as they are either way. */
  gzip?: boolean
  /** What `docker run` runs. */
  command?: string[]
  labels?: Record<string, string>
}

/** An image on disk. */
export interface Image {
  /** The OCI layout; one image a layout. */
  readonly dir: string
  readonly name: string
  /** The part of `name` after the colon, the image's reference in its layout. */
  readonly tag: string
  /** `<dir>:<tag>`, as `oci:` and `ocidir:` names of the clients go on. */
  readonly layout: string
  /** The descriptor of the manifest, or of the index where there are several platforms. */
  readonly top: Descriptor
  /** One for each platform. */
  readonly manifests: Descriptor[]
  readonly configs: Descriptor[]
  readonly layers: Layer[]
  /** The layers' `diffId`s: what a client that pulled the image must find. */
  readonly diffIds: string[]
  /** The bytes of all its blobs. */
  readonly size: number
  /** Writes it as one file for `docker load`, `ctr images import` and `crane push` and gives the path. */
  archive(): Promise<string>
}

const OCI = 'application/vnd.oci.image'
const sha256 = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
const blobPath = (dir: string, digest: string): string => join(dir, 'blobs', digest.replace(':', '/'))

/** A stream that changes nothing and, at its end, knows the digest and the size of what went through. */
function meter(): { stream: Transform; digest: () => string; size: () => number } {
  const hash = createHash('sha256')
  let digest: string | undefined
  let size = 0
  const stream = new Transform({
    highWaterMark: 1 << 20,
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk)
      size += chunk.length
      done(undefined, chunk)
    }
  })
  return { stream, digest: () => (digest ??= `sha256:${hash.digest('hex')}`), size: () => size }
}

async function writeLayer(dir: string, spec: LayerSpec, gzip: boolean): Promise<Layer> {
  const compressed = gzip && !('seed' in spec)
  const plain = meter()
  const stored = compressed ? meter() : plain
  const file = join(dir, 'blobs/sha256/layer')
  const source = Readable.from(layerTar(spec), { objectMode: false, highWaterMark: 1 << 20 })
  const squeeze = compressed ? [createGzip(), stored.stream] : []
  await pipeline([source, plain.stream, ...squeeze, createWriteStream(file)])
  const mediaType = `${OCI}.layer.v1.tar${compressed ? '+gzip' : ''}`
  const layer = { mediaType, digest: stored.digest(), size: stored.size(), diffId: plain.digest() }
  await rename(file, blobPath(dir, layer.digest))
  return layer
}

async function writeJson(dir: string, mediaType: string, value: unknown): Promise<Descriptor> {
  const bytes = Buffer.from(JSON.stringify(value))
  const digest = sha256(bytes)
  await writeFile(blobPath(dir, digest), bytes)
  return { mediaType, digest, size: bytes.length }
}

const bare = ({ mediaType, digest, size }: Descriptor): Descriptor => ({ mediaType, digest, size })

/** Makes an image as an OCI layout. The same spec gives the same digests, whenever and wherever it is made. */
export async function makeImage(spec: ImageSpec): Promise<Image> {
  const { dir, name, base, platforms = ['linux/amd64'], gzip = true } = spec
  const tag = name.slice(name.lastIndexOf(':') + 1)
  await mkdir(join(dir, 'blobs/sha256'), { recursive: true })
  const layers: Layer[] = []
  for (const layer of base?.layers ?? []) {
    const there = await stat(blobPath(dir, layer.digest)).catch(() => undefined)
    if (!there && base) await link(blobPath(base.dir, layer.digest), blobPath(dir, layer.digest))
    layers.push(layer)
  }
  for (const layer of spec.layers) layers.push(await writeLayer(dir, layer, gzip))
  const diffIds = layers.map((layer) => layer.diffId)

  const configs: Descriptor[] = []
  const manifests: Descriptor[] = []
  for (const platform of platforms) {
    const [os = 'linux', architecture = 'amd64'] = platform.split('/')
    const config = await writeJson(dir, `${OCI}.config.v1+json`, {
      created: '1970-01-01T00:00:00Z',
      architecture,
      os,
      config: { Cmd: spec.command ?? ['/bin/sh'], Env: ['PATH=/bin'], Labels: spec.labels ?? {} },
      rootfs: { type: 'layers', diff_ids: diffIds },
      history: layers.map(() => ({ created: '1970-01-01T00:00:00Z', created_by: 'seaway test bed' }))
    })
    const mediaType = `${OCI}.manifest.v1+json`
    const manifest = { schemaVersion: 2, mediaType, config, layers: layers.map(bare) }
    configs.push(config)
    manifests.push({ ...(await writeJson(dir, mediaType, manifest)), platform: { architecture, os } })
  }
  const index = { schemaVersion: 2, mediaType: `${OCI}.index.v1+json`, manifests }
  const [first] = manifests
  if (!first) throw new Error('an image needs a platform')
  const top = manifests.length > 1 ? await writeJson(dir, index.mediaType, index) : bare(first)

  const annotations = { 'org.opencontainers.image.ref.name': tag }
  await writeFile(join(dir, 'index.json'), JSON.stringify({ ...index, manifests: [{ ...top, annotations }] }))
  await writeFile(join(dir, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
  // What `docker load` reads. It takes any path below the archive, so the layout's own blobs do.
  const inArchive = ({ digest }: Descriptor): string => `blobs/${digest.replace(':', '/')}`
  const docker = [{ Config: inArchive(configs[0] ?? top), RepoTags: [name], Layers: layers.map(inArchive) }]
  await writeFile(join(dir, 'manifest.json'), JSON.stringify(docker))

  const blobs = [...layers, ...configs, ...manifests, ...(manifests.length > 1 ? [top] : [])]
  const size = [...new Map(blobs.map((blob) => [blob.digest, blob.size])).values()].reduce((a, b) => a + b, 0)
  return {
    dir,
    name,
    tag,
    layout: `${dir}:${tag}`,
    top,
    manifests,
    configs,
    layers,
    diffIds,
    size,
    async archive() {
      const file = `${dir}.tar`
      await run('tar', ['-C', dir, '-cf', file, 'oci-layout', 'index.json', 'manifest.json', 'blobs'])
      return file
    }
  }
}

/** The `diffId`s of the image in an OCI layout: of the one for linux/amd64 where there are several. */
export async function layoutDiffIds(dir: string): Promise<string[]> {
  const json = async (path: string): Promise<Record<string, unknown>> =>
    JSON.parse(await readFile(path, 'utf8'))
  let node = await json(join(dir, 'index.json'))
  while (Array.isArray(node.manifests)) {
    const children = node.manifests as Descriptor[]
    const child = children.find(({ platform }) => platform?.architecture === 'amd64') ?? children[0]
    if (!child) throw new Error(`${dir} holds an empty index`)
    node = await json(blobPath(dir, child.digest))
  }
  const config = await json(blobPath(dir, (node.config as Descriptor).digest))
  return (config.rootfs as { diff_ids: string[] }).diff_ids
}
