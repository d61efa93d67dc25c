/**
 * A published root in the hands of those who have no Seaway: Kubo writes a repository out as a folder, and the
 * common tools read that as an OCI image layout. (A stock docker-registry over the `docker/` part of the same root
 * is in foreign-trees.spec.ts.)
 */
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { useBed } from './support/bed.ts'
import { type Client, crane, oras, podman, regctl, skopeo } from './support/clients.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { busyboxLayer, type Descriptor, type Image, makeImage } from './support/images.ts'
import { type Kubo, startKubo } from './support/kubo.ts'
import { available } from './support/process.ts'
import { digestOf, MANIFEST_TYPES } from './support/wire.ts'

const DOMAIN = 'docks.example'

/** More tags than the lines of one leaf of `index.json`. */
const RELEASES = Array.from({ length: 60 }, (_, i) => `release-${i}`)

describe('a published root without Seaway', function () {
  this.timeout(180_000)
  const { folder, keep, gateway } = useBed('layout')
  let seaway: SeawayGateway
  let kubo: Kubo
  let client: Client
  let single: Image
  let multi: Image
  let other: Image
  /** The folder that Kubo wrote of `docks.example/app`. */
  let written: string
  /** And of `docks.example/deep/er`. */
  let deep: string

  /** What the gateway itself says of a tag. */
  async function manifestOf(tag: string): Promise<{ digest: string; type: string; bytes: Buffer }> {
    const answer = await fetch(`${seaway.url}/v2/${DOMAIN}/app/manifests/${tag}`, {
      headers: { accept: MANIFEST_TYPES }
    })
    assert.equal(answer.status, 200, tag)
    const bytes = Buffer.from(await answer.arrayBuffer())
    return { bytes, digest: await digestOf(bytes), type: answer.headers.get('content-type') ?? '' }
  }

  /** Has Kubo fetch a repository of the root as it is now. */
  async function get(name: string, to: string): Promise<string> {
    const root = await seaway.root(DOMAIN)
    await kubo.ipfs(['get', '--progress=false', '--output', folder(to), `${root}/oci/${DOMAIN}/${name}`])
    return folder(to)
  }

  const indexIn = async (dir: string): Promise<Map<string, Descriptor>> => {
    const text = await readFile(join(dir, 'index.json'), 'utf8')
    const { manifests } = JSON.parse(text) as { manifests: Descriptor[] }
    return new Map(
      manifests.map((one) => [one.annotations?.['org.opencontainers.image.ref.name'] ?? '', one])
    )
  }

  before(async function () {
    if (!available('ipfs', 'skopeo')) this.skip()
    seaway = await gateway('seaway')
    kubo = keep(await startKubo({ dir: folder('kubo') }))
    client = await skopeo({ dir: folder('skopeo') })
    const shared = { size: 3_000_000, seed: 'shared' }
    const image = (seed: string, platforms?: string[]): Promise<Image> =>
      makeImage({
        dir: folder(seed),
        name: `${seed}:1`,
        layers: [busyboxLayer(), shared, { size: 200_000, seed }],
        ...(platforms && { platforms })
      })
    single = await image('single')
    other = await image('other')
    multi = await image('multi', ['linux/amd64', 'linux/arm64'])
    const push = (one: Image, tag: string, name = 'app'): Promise<void> =>
      client.push(one, `${seaway.host}/${DOMAIN}/${name}:${tag}`)
    await push(single, '1')
    await push(single, 'stable')
    await push(single, 'moved')
    await push(other, 'moved')
    await push(multi, 'multi')
    await push(other, 'gone')
    await push(single, '1', 'deep/er')
    const gone = await fetch(`${seaway.url}/v2/${DOMAIN}/app/manifests/gone`, { method: 'DELETE' })
    assert.equal(gone.status, 202)
    const { bytes, type } = await manifestOf('1')
    for (const tag of RELEASES) {
      const answer = await fetch(`${seaway.url}/v2/${DOMAIN}/app/manifests/${tag}`, {
        method: 'PUT',
        headers: { 'content-type': type },
        body: new Uint8Array(bytes)
      })
      assert.equal(answer.status, 201)
    }
    await kubo.ipfs(['swarm', 'connect', seaway.peers[0] ?? ''])
    written = await get('app', 'written')
    deep = await get('deep/er', 'deep')
  })

  it('has each repository as an image layout, with the tags that the registry has and what they name', async () => {
    assert.deepEqual(JSON.parse(await readFile(join(written, 'oci-layout'), 'utf8')), {
      imageLayoutVersion: '1.0.0'
    })
    const index = await indexIn(written)
    const answer = await fetch(`${seaway.url}/v2/${DOMAIN}/app/tags/list?n=1000`)
    const { tags } = (await answer.json()) as { tags: string[] }
    assert.deepEqual([...index.keys()].sort(), tags.toSorted())
    assert.deepEqual(tags.toSorted(), ['1', 'moved', 'multi', 'stable', ...RELEASES].sort())
    for (const tag of ['1', 'moved', 'multi', 'stable', 'release-7']) {
      const { digest, type, bytes } = await manifestOf(tag)
      const { annotations: _, ...descriptor } = index.get(tag) ?? assert.fail(tag)
      assert.deepEqual(descriptor, { mediaType: type, digest, size: bytes.length })
    }
    assert.deepEqual([...(await indexIn(deep)).keys()], ['1'])
  })

  it('has every blob under its digest, and of both platforms', async () => {
    const names = await readdir(join(written, 'blobs/sha256'))
    for (const name of names)
      assert.equal(await digestOf(await readFile(join(written, 'blobs/sha256', name))), `sha256:${name}`)
    const all = [single, other, multi].flatMap(({ top, manifests, configs, layers }) => [
      top,
      ...manifests,
      ...configs,
      ...layers
    ])
    assert.deepEqual(
      names.sort(),
      [...new Set(all.map(({ digest }) => digest.slice('sha256:'.length)))].sort()
    )
  })

  for (const [tag, image] of [
    ['1', () => single],
    ['stable', () => single],
    ['moved', () => other],
    ['multi', () => multi],
    ['release-59', () => single]
  ] as const) {
    it(`skopeo copies ${tag} out of it with its digest`, async () => {
      const to = folder(`copied-${tag}`)
      await client.run(['copy', '--all', '--preserve-digests', `oci:${written}:${tag}`, `dir:${to}`])
      const manifest = await readFile(join(to, 'manifest.json'))
      assert.equal(await digestOf(manifest), image().top.digest)
      assert.equal(await digestOf(manifest), (await manifestOf(tag)).digest)
      const files = await readdir(to)
      for (const { digest } of image().layers) assert.ok(files.includes(digest.slice('sha256:'.length)))
    })
  }

  it('podman loads an image out of it', async function () {
    if (!available('podman', 'runc')) this.skip()
    const engine = await podman({ dir: folder('podman') })
    const id = (await engine.run(['pull', '--quiet', `oci:${written}:moved`])).stdout.trim()
    const { stdout } = await engine.run(['image', 'inspect', '--format', '{{json .RootFS.Layers}}', id])
    assert.deepEqual(JSON.parse(stdout), other.diffIds)
  })

  it('oras and regctl find its tags, and their digests', async function () {
    if (!available('oras', 'regctl')) this.skip()
    const tags = ['1', 'moved', 'multi', 'stable', ...RELEASES].sort()
    const byOras = await oras({ dir: folder('oras') })
    const listed = await byOras.run(['repo', 'tags', '--oci-layout', written])
    assert.deepEqual(listed.stdout.trim().split('\n').sort(), tags)
    const described = await byOras.run([
      'manifest',
      'fetch',
      '--descriptor',
      '--oci-layout',
      `${written}:multi`
    ])
    assert.equal((JSON.parse(described.stdout) as Descriptor).digest, multi.top.digest)
    const byRegctl = await regctl({ dir: folder('regctl') })
    assert.deepEqual(
      (await byRegctl.run(['tag', 'ls', `ocidir://${written}`])).stdout.trim().split('\n').sort(),
      tags
    )
    const digest = await byRegctl.run(['image', 'digest', `ocidir://${written}:moved`])
    assert.equal(digest.stdout.trim(), other.top.digest)
  })

  it('crane pushes out of it what it finds valid', async function () {
    if (!available('crane')) this.skip()
    const tool = await crane({ dir: folder('crane') })
    const name = `${seaway.host}/back.example/app`
    // crane pushes a layout's only image; the deep one has one.
    await tool.run(['push', deep, `${name}:1`])
    assert.equal((await tool.run(['digest', `${name}:1`])).stdout.trim(), single.top.digest)
    await tool.run(['validate', '--fast', '--remote', `${name}:1`])
  })

  it('has nothing twice: the layouts add but their directories and indexes', async () => {
    const root = await seaway.root(DOMAIN)
    const sizeOf = async (path: string): Promise<number> => {
      const { stdout } = await kubo.ipfs(['dag', 'stat', '--progress=false', '--enc=json', path])
      const { UniqueBlocks, DagStats } = JSON.parse(stdout) as {
        UniqueBlocks: number
        DagStats: { Size: number }[]
      }
      assert.ok(UniqueBlocks > 0)
      return DagStats[0]?.Size ?? 0
    }
    const [whole, docker] = [await sizeOf(`/ipfs/${root}`), await sizeOf(`/ipfs/${root}/docker`)]
    assert.ok(docker > 3_000_000)
    assert.ok(whole - docker < 60_000, `${whole - docker} bytes`)
    const files = await readdir(join(seaway.data, 'blobs'), { recursive: true, withFileTypes: true })
    const large = [
      ...new Map([...single.layers, ...other.layers, ...multi.layers].map((one) => [one.digest, one]))
    ]
    assert.equal(
      files.filter((file) => file.isFile()).length,
      large.filter(([, { size }]) => size > 128 * 1024).length
    )
  })

  it('drops what a collection takes out of the registry', async () => {
    const { digest } = await manifestOf('moved')
    await fetch(`${seaway.url}/v2/${DOMAIN}/app/manifests/${digest}`, { method: 'DELETE' })
    await seaway.seaway(['gc', '--grace', '0s'])
    const dir = await get('app', 'after')
    assert.deepEqual((await indexIn(dir)).get('moved'), undefined)
    const names = await readdir(join(dir, 'blobs/sha256'))
    const [own, shared] = [other.layers[2], other.layers[1]].map((layer) =>
      layer?.digest.slice('sha256:'.length)
    )
    assert.ok(own !== undefined && !names.includes(own))
    assert.ok(shared !== undefined && names.includes(shared))
    const to = folder('copied-after')
    await client.run(['copy', '--all', '--preserve-digests', `oci:${dir}:multi`, `dir:${to}`])
    assert.equal(await digestOf(await readFile(join(to, 'manifest.json'))), multi.top.digest)
  })
})
