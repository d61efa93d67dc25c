/** Every kind of place that an image can be copied from and to, each with the same image, and a way to look into it. */
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { oneRepository, writeCarFile } from '../../src/move/car-export.ts'
import { openServer } from '../../src/upstream/server.ts'
import { type Image, makeImage } from '../e2e/support/images.ts'
import { type Descriptor, digestOf, OCI_MANIFEST, ociClient } from './oci-client.ts'
import { type RegistryServer, startRegistryServer } from './registry-server.ts'
import { type Outcome, runCommandHere } from './seaway-command.ts'
import { tempFolder } from './temp.ts'

const MAIN = join(import.meta.dirname, '../../src/main.js')

/** What is found at a place, read without Seaway, and all of it held against its digests. */
export interface Found {
  /** The digest of its manifest, where it has one. */
  readonly digest: string | undefined
  /** The digest of its config: an engine's name for it. */
  readonly id: string
  /** Its layers, unpacked. */
  readonly diffIds: readonly string[]
}

/** Kinds of places to copy from. */
export const SOURCE_KINDS = [
  "the gateway's domain",
  "the gateway's own names",
  'a digest',
  'a root CID',
  'a registry',
  'an OCI layout',
  'an OCI archive',
  'an archive of copy',
  'an archive of both kinds',
  'an archive of docker save',
  'a CAR'
] as const

/** Kinds of places to copy to. */
export const TARGET_KINDS = [
  "the gateway's domain",
  "the gateway's own names",
  'a registry',
  'an OCI layout',
  'an archive'
] as const

/** Where an image is copied from. */
export interface CopySource {
  /** As it is written on the command line. */
  readonly place: string
  /** Whether it has a manifest whose digest can be kept. */
  readonly manifest: boolean
}

/** Where an image is copied to. */
export interface CopyTarget {
  /** A new one, as it is written on the command line. */
  readonly place: (name: string) => string
  readonly look: (name: string) => Promise<Found>
  /** Whether it keeps manifests as they are. */
  readonly manifest: boolean
  /** Whether it is written as a whole each time, as files are. */
  readonly whole?: boolean
}

/** The report of a command, `--json`. */
export interface CopyReport {
  readonly images: readonly { readonly image: string; readonly to: string; readonly digest: string }[]
  readonly moved: { readonly blobs: number; readonly skipped: number; readonly bytes: number }
}

/** What {@link makeCopyPlaces} makes. */
export interface CopyPlaces {
  readonly image: Image
  readonly sources: Readonly<Record<(typeof SOURCE_KINDS)[number], CopySource>>
  readonly targets: Readonly<Record<(typeof TARGET_KINDS)[number], CopyTarget>>
  readonly gateway: RegistryServer
  /** Runs a command that moves images by way of the gateway. */
  run(args: readonly string[], more?: Readonly<Record<string, string>>): Promise<Outcome>
  /** Runs two of them in processes of their own, stdout of the first as stdin of the second, which must succeed. */
  piped(first: readonly string[], second: readonly string[]): Promise<CopyReport>
  /** Runs a command, which must succeed. */
  report(args: readonly string[], more?: Readonly<Record<string, string>>): Promise<CopyReport>
  file(name: string): string
  stop(): Promise<void>
}

/** Starts a gateway and a second one as the registry, and puts the image everywhere. */
export async function makeCopyPlaces(): Promise<CopyPlaces> {
  const temp = tempFolder()
  const file = (name: string) => join(temp.path, name)
  const gateway = await startRegistryServer()
  const registry = await startRegistryServer()
  const settings = { SEAWAY_DATA: file('data'), DOCKER_CONFIG: file('docker') }

  const run: CopyPlaces['run'] = (args, more = {}) =>
    runCommandHere([...args, '--gateway', `http://${gateway.host}`, '--json'], { ...settings, ...more })
  const report: CopyPlaces['report'] = async (args, more) => {
    const { status, stdout, stderr } = await run(args, more)
    assert.equal(status, 0, `${args.join(' ')}: ${stderr}`)
    return JSON.parse(stdout) as CopyReport
  }

  const piped: CopyPlaces['piped'] = async (first, second) => {
    const command = (args: readonly string[]) =>
      [process.execPath, MAIN, ...args, '--gateway', `http://${gateway.host}`]
        .map((word) => `'${word}'`)
        .join(' ')
    const { stdout } = await promisify(execFile)(
      'sh',
      ['-c', `${command(first)} | ${command([...second, '--json'])}`],
      { env: { PATH: process.env['PATH'], ...settings }, timeout: 50_000 }
    )
    return JSON.parse(stdout) as CopyReport
  }

  const layers = ['one', 'two'].map((text) => ({ files: { [text]: text.repeat(30_000) } }))
  const image = await makeImage({ dir: file('made'), name: 'example.com/app:1', layers })
  const plain = await makeImage({ dir: file('plain'), name: 'example.com/app:1', layers, gzip: false })
  const archive = await plain.archive()
  execFileSync('tar', ['-C', image.dir, '-cf', file('oci.tar'), 'oci-layout', 'index.json', 'blobs'])
  await asDockerSaves(plain, file('save'), file('save.tar'))

  for (const to of ['example.com/app:1', 'app:1', `http://${registry.host}/team/app:1`])
    await report(['copy', `oci:${image.layout}`, to])
  await report(['copy', 'example.com/app:1', `archive:${file('copy.tar')}`])
  const { root } = await gateway.registry.history.resolve('example.com')
  const signal = AbortSignal.timeout(10_000)
  const server = openServer({
    url: `http://${gateway.host}`,
    timeoutMs: 5000,
    proxies: { http: '', https: '', none: '' }
  })
  const car = await oneRepository(server, root, 'example.com/app', signal)
  await writeCarFile(file('app.car'), car, () => undefined, signal)
  server.wire.close()

  const sources: CopyPlaces['sources'] = {
    "the gateway's domain": { place: 'example.com/app:1', manifest: true },
    "the gateway's own names": { place: 'app:1', manifest: true },
    'a digest': { place: `example.com/app@${image.top.digest}`, manifest: true },
    'a root CID': { place: `ipfs/${root.toString()}/app:1`, manifest: true },
    'a registry': { place: `${registry.host}/team/app:1`, manifest: true },
    'an OCI layout': { place: `oci:${image.layout}`, manifest: true },
    'an OCI archive': { place: `archive:${file('oci.tar')}`, manifest: true },
    'an archive of copy': { place: `archive:${file('copy.tar')}`, manifest: true },
    'an archive of both kinds': { place: `archive:${archive}`, manifest: false },
    'an archive of docker save': { place: `archive:${file('save.tar')}`, manifest: false },
    'a CAR': { place: `car:${file('app.car')}:example.com/app:1`, manifest: true }
  }
  const targets = makeTargets(gateway, registry, file)
  return {
    image,
    sources,
    targets,
    gateway,
    run,
    report,
    piped,
    file,
    async stop() {
      await registry.stop()
      await gateway.stop()
      await temp.remove()
    }
  }
}

/** Places to copy to: below names of a gateway, in a registry, and in files. */
export function makeTargets(
  gateway: RegistryServer,
  registry: RegistryServer,
  file: (name: string) => string
): CopyPlaces['targets'] {
  return {
    "the gateway's domain": {
      place: (name) => `other.example/${name}:2`,
      look: (name) => atRegistry(gateway, `other.example/${name}`),
      manifest: true
    },
    "the gateway's own names": {
      place: (name) => `own/${name}:2`,
      look: (name) => atRegistry(gateway, `own/${name}`),
      manifest: true
    },
    'a registry': {
      place: (name) => `docker://${registry.host}/other/${name}:2`,
      look: (name) => atRegistry(registry, `other/${name}`),
      manifest: true
    },
    'an OCI layout': {
      place: (name) => `oci:${file(`layout-${name}`)}:2`,
      look: (name) => inLayout(file(`layout-${name}`)),
      manifest: true
    },
    'an archive': {
      place: (name) => `archive:${file(`${name}.tar`)}:other/${name}:2`,
      look: (name) => inArchive(file(`${name}.tar`), file(`untar-${name}`), `other/${name}:2`),
      manifest: false,
      whole: true
    }
  }
}

/** An image's parts, each held against its digest; layers by what is in them. */
async function readImage(
  manifest: Buffer,
  digest: string,
  blob: (digest: string) => Promise<Buffer>
): Promise<Found> {
  assert.equal(digestOf(manifest), digest)
  const { config, layers } = JSON.parse(manifest.toString()) as { config: Descriptor; layers: Descriptor[] }
  const checked = async (one: Descriptor) => {
    const bytes = await blob(one.digest)
    assert.equal(digestOf(bytes), one.digest)
    assert.equal(bytes.length, one.size)
    return bytes
  }
  await checked(config)
  const diffIds = []
  for (const layer of layers) diffIds.push(digestOf(unpacked(await checked(layer))))
  return { digest, id: config.digest, diffIds }
}

const unpacked = (bytes: Buffer): Buffer => (bytes[0] === 0x1f ? gunzipSync(bytes) : bytes)

async function atRegistry(server: RegistryServer, repository: string): Promise<Found> {
  const client = ociClient(server)
  const { body, headers } = await client.expect(200, 'GET', `/v2/${repository}/manifests/2`, {
    headers: { accept: OCI_MANIFEST }
  })
  return readImage(
    body,
    String(headers['docker-content-digest']),
    async (digest) => (await client.expect(200, 'GET', `/v2/${repository}/blobs/${digest}`)).body
  )
}

async function inLayout(folder: string): Promise<Found> {
  const blob = (digest: string) => readFile(join(folder, 'blobs', digest.replace(':', '/')))
  const { manifests } = JSON.parse(await readFile(join(folder, 'index.json'), 'utf8')) as {
    manifests: Descriptor[]
  }
  assert.deepEqual(
    manifests.map(({ annotations }) => annotations),
    [{ 'org.opencontainers.image.ref.name': '2' }]
  )
  const digest = manifests[0]?.digest ?? ''
  return readImage(await blob(digest), digest, blob)
}

/** What `docker load` would find in an archive. */
async function inArchive(archive: string, folder: string, name: string): Promise<Found> {
  mkdirSync(folder, { recursive: true })
  execFileSync('tar', ['-xf', archive, '-C', folder])
  const read = (path: string) => readFile(join(folder, path))
  const [entry, ...others] = JSON.parse((await read('manifest.json')).toString()) as {
    Config: string
    RepoTags: string[]
    Layers: string[]
  }[]
  assert.ok(entry !== undefined && others.length === 0)
  assert.deepEqual(entry.RepoTags, [name])
  const config = await read(entry.Config)
  const diffIds = []
  for (const layer of entry.Layers) diffIds.push(digestOf(unpacked(await read(layer))))
  await rm(folder, { recursive: true })
  return { digest: undefined, id: digestOf(config), diffIds }
}

/** Writes an archive as `docker save` wrote it before it knew layouts. */
async function asDockerSaves(image: Image, folder: string, archive: string): Promise<void> {
  mkdirSync(folder)
  const blob = ({ digest }: { digest: string }) => join(image.dir, 'blobs', digest.replace(':', '/'))
  const config = image.configs[0] as Descriptor
  const Config = `${config.digest.slice(7)}.json`
  await cp(blob(config), join(folder, Config))
  const Layers: string[] = []
  for (const [i, layer] of image.layers.entries()) {
    mkdirSync(join(folder, `${i}`))
    Layers.push(`${i}/layer.tar`)
    await cp(blob(layer), join(folder, `${i}/layer.tar`))
  }
  await writeFile(join(folder, 'manifest.json'), JSON.stringify([{ Config, RepoTags: [image.name], Layers }]))
  execFileSync('tar', ['-C', folder, '-cf', archive, ...(await readdir(folder))])
}
