/** `seaway push`, `pull`, `copy`, `export` and `import` between real engines, gateways and files. */
import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { JSON_SHAPES } from '../../src/cli/json-fields.ts'
import { useBed } from './support/bed.ts'
import { type DockerEngine, startDocker } from './support/docker.ts'
import { forgetImages } from './support/engine-clients.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available, run } from './support/process.ts'
import { servePodman } from './support/storage-clients.ts'
import { mayMount, mountTmpfs } from './support/tmpfs.ts'

interface Report {
  images: { image: string; to: string; digest: string }[]
  moved: { blobs: number; skipped: number; bytes: number; skippedBytes: number }
  roots: Record<string, string>
}

/** How many images are in the list, and how many layers are below them all. */
const IMAGES = 10
const SHARED = 3

describe('moving images', function () {
  this.timeout(120_000)
  const bed = useBed('move')
  const images: Image[] = []
  let engine: DockerEngine
  let gateway: SeawayGateway
  const ids = new Map<string, string>()

  const idOf = async (name: string, of = engine) =>
    (await of.docker(['image', 'inspect', '--format', '{{.Id}}', name])).stdout.trim()
  const seaway = async (args: string[], on = gateway, of = engine): Promise<Report> => {
    const { stdout } = await on.seaway([...args, '--json', '--docker-host', of.host])
    assert.deepEqual(
      Object.keys(JSON.parse(stdout) as object),
      documented('push, pull, copy, import, export (oci:)')
    )
    return JSON.parse(stdout) as Report
  }

  const documented = (shape: string) => JSON_SHAPES[shape]?.fields.map(([name]) => name)

  before(async function () {
    if (!available('dockerd', 'docker', 'podman')) this.skip()
    engine = bed.keep(await startDocker({ dir: bed.folder('e') }))
    gateway = await bed.gateway('a')
    const base = await makeImage({
      dir: bed.folder('base'),
      name: 'base:1',
      layers: Array.from({ length: SHARED }, (_, i) => ({ files: { [`base${i}`]: `${i}`.repeat(300_000) } }))
    })
    for (let i = 0; i < IMAGES; i++) {
      const name = `example.com/app${i}:1`
      const image = await makeImage({
        dir: bed.folder(`image${i}`),
        name,
        base,
        layers: [{ files: { own: `image ${i}` } }]
      })
      images.push(image)
      await engine.docker(['load', '--input', await image.archive()])
      ids.set(name, await idOf(name))
    }
  })

  it('pushes a list of images out of the engine, each layer once, and again without moving anything', async () => {
    const names = images.map(({ name }) => name)
    const first = await seaway(['push', ...names])
    assert.equal(first.images.length, IMAGES)
    assert.equal(first.moved.blobs, SHARED + IMAGES)
    assert.equal(first.roots['example.com'], await gateway.root('example.com'))
    const again = await seaway(['push', ...names])
    assert.equal(again.moved.blobs, 0)
    assert.deepEqual(again.images, first.images)
    assert.deepEqual(again.roots, first.roots)
  })

  it('pulls it into another engine on another gateway: image ids are equal, layers come once', async () => {
    const names = images.map(({ name }) => name)
    const there = bed.keep(await startDocker({ dir: bed.folder('f') }))
    const other = await bed.gateway('b', {
      env: { SEAWAY_PEERS: gateway.peers.join(','), SEAWAY_LOG_LEVEL: 'info' }
    })
    const root = await gateway.root('example.com')
    const theirs = (name: string) => name.replace('example.com', `ipfs/${root}`)
    const report = await seaway(['pull', ...names.map(theirs)], other, there)
    assert.equal(report.moved.blobs, SHARED + IMAGES)
    for (const name of names) assert.equal(await idOf(theirs(name), there), ids.get(name))
    // it pulled them by itself, and keeps no name that only it knows
    const { stdout } = await there.docker(['images', '--digests', '--format', '{{.Repository}}'])
    assert.doesNotMatch(stdout, /127\.0\.0\.1/)
    const requests = (await other.logged()).filter(({ url }) => /\/blobs\/sha256:/.test(String(url)))
    assert.ok(requests.some(({ client }) => /127\.0\.0\.1/.test(String(client))))
    const again = await seaway(['pull', names[0] as string], gateway, there)
    assert.equal(again.moved.blobs, 0)
    assert.equal(await idOf(names[0] as string, there), ids.get(names[0] as string))
    await there.stop()
  })

  it('of an image with one layer more, that layer alone is moved, in and out', async () => {
    const more = await makeImage({
      dir: bed.folder('more'),
      name: 'example.com/more:1',
      base: images[0],
      layers: [{ files: { more: 'one more' } }]
    })
    await run('skopeo', [
      'copy',
      '--dest-tls-verify=false',
      `oci:${more.layout}`,
      `docker://${gateway.host}/example.com/more:1`
    ])
    const report = await seaway(['pull', 'example.com/more:1'])
    assert.equal(report.moved.blobs, 1)
    assert.equal(await idOf('example.com/more:1'), more.configs[0]?.digest)

    // back again, what was compressed before is neither compressed nor sent
    const pushed = await seaway(['push', 'example.com/more:1', '--to', 'example.info'])
    assert.equal(pushed.moved.blobs, 1)
    assert.equal(pushed.moved.skipped, SHARED + 1)
  })

  it('what is remembered of layers, but not where they go to, is read after all, together with what is new', async () => {
    const fresh = await makeImage({
      dir: bed.folder('fresh'),
      name: 'example.edu/fresh:1',
      base: images[0],
      layers: [{ files: { fresh: 'nobody has seen it' } }]
    })
    await engine.docker(['load', '--input', await fresh.archive()])
    const old = images[2]?.name as string
    const other = await bed.gateway('d')
    const report = await seaway(['push', fresh.name, old, '--gateway', other.url])
    // what all share, what two of the list have on top, and what is new
    assert.equal(report.moved.blobs, SHARED + 3)
    assert.equal(report.moved.skipped, 0)
    const here = await seaway(['push', fresh.name, old])
    assert.equal(here.moved.blobs, 1)
    assert.deepEqual(
      here.images.map(({ digest }) => digest),
      report.images.map(({ digest }) => digest)
    )
  })

  it('moves between podman, layouts and archives with every digest kept', async () => {
    const name = images[1]?.name as string
    const layout = join(bed.folder('layout'), 'app')
    await mkdir(bed.folder('layout'), { recursive: true })
    const pulled = await seaway(['pull', name, '--into', `oci:${layout}`])
    const { stdout } = await run('skopeo', ['inspect', '--raw', `oci:${layout}:1`])
    assert.equal(JSON.parse(stdout).config.digest, ids.get(name))
    const back = await seaway(['push', `oci:${layout}`, '--name', 'example.org/back:1'])
    assert.equal(back.images[0]?.digest, pulled.images[0]?.digest)
    assert.deepEqual((await readdir(layout)).sort(), ['blobs', 'index.json', 'oci-layout'])

    const archive = join(bed.folder('layout'), 'app.tar')
    await seaway(['pull', name, '--into', `archive:${archive}`])
    await forgetImages(engine)
    await engine.docker(['load', '--input', archive])
    assert.equal(await idOf(name), ids.get(name))
    const again = await seaway(['push', `archive:${archive}`, '--to', 'example.net'])
    assert.equal(again.images[0]?.digest, pulled.images[0]?.digest)
    assert.equal(again.images[0]?.to, 'example.net/app1:1')
  })
  it('carries an image by CAR to a gateway that no route leads to, and a wrong block is refused', async () => {
    const [name = ''] = ids.keys()
    const file = join(bed.folder('layout'), 'app0.car')
    const exported = JSON.parse(
      (await gateway.seaway(['export', 'example.com/app0', file, '--json'])).stdout
    ) as {
      root: string
      blocks: number
    }
    assert.deepEqual(Object.keys(exported), documented('export (CAR)'))
    const other = await bed.gateway('c')
    const bytes = await readFile(file)
    const bad = Buffer.from(bytes)
    const at = bad.length - 100
    bad[at] = (bad[at] as number) ^ 1
    await writeFile(`${file}.bad`, bad)
    await writeFile(`${file}.short`, bytes.subarray(0, bytes.length - 50))
    for (const [ending, says] of [
      ['bad', /is damaged: it has a wrong block/],
      ['short', /is cut short/]
    ] as const) {
      const refused = await other.seaway(['import', `${file}.${ending}`], { allowFailure: true })
      assert.equal(refused.status, 1)
      assert.match(refused.stderr, says)
      assert.equal(refused.stderr.trim().split('\n').length, 1)
    }
    const report = await seaway(['import', file], other)
    assert.equal(report.images[0]?.to, name)
    assert.equal(await other.root('example.com'), exported.root)
    await forgetImages(engine)
    await seaway(['pull', name], other)
    assert.equal(await idOf(name), ids.get(name))
    assert.equal((await seaway(['import', file], other)).moved.blobs, 0)

    const whole = join(bed.folder('layout'), 'all.car')
    const all = JSON.parse(
      (await gateway.seaway(['export', 'example.com', whole, '--json'])).stdout
    ) as typeof exported
    assert.equal(all.root, await gateway.root('example.com'))
    const third = await seaway(['import', whole, '--to', 'example.net'], other)
    assert.equal(third.images.length, IMAGES + 1)
  })
  it('moves to podman and from there, and between two engines', async () => {
    const name = images[2]?.name as string
    await mkdir(bed.folder('p'), { recursive: true })
    const podman = bed.keep(await servePodman({ dir: bed.folder('p') }))
    const at = ['--podman-host', podman.host]
    const idIn = async (image: string) =>
      `sha256:${(await podman.client.run(['image', 'inspect', '--format', '{{.Id}}', image])).stdout.trim()}`
    const pulled = await seaway(['pull', name, '--into', 'podman', ...at])
    assert.equal(pulled.moved.blobs, SHARED + 1)
    assert.equal(await idIn(name), ids.get(name))
    assert.equal((await seaway(['pull', name, '--into', 'podman', ...at])).moved.blobs, 0)

    const pushed = await seaway(['push', `podman:${name}`, '--to', 'example.org', ...at])
    assert.equal(pushed.images[0]?.to, 'example.org/app2:1')
    const config = async (image: string) => {
      const { stdout } = await run('skopeo', [
        'inspect',
        '--raw',
        '--tls-verify=false',
        `docker://${gateway.host}/${image}`
      ])
      return (JSON.parse(stdout) as { config: { digest: string } }).config.digest
    }
    assert.equal(await config('example.org/app2:1'), ids.get(name))

    await forgetImages(engine)
    await seaway(['copy', `podman:${name}`, 'docker:', ...at])
    assert.equal(await idOf(name), ids.get(name))
    // under another name, by way of an archive
    const file = `archive:${join(bed.folder('p'), 'app.tar')}`
    await seaway(['copy', `docker:${name}`, `${file}:renamed:2`])
    await forgetImages(engine)
    const renamed = await seaway(['copy', file, 'docker:'])
    assert.deepEqual(renamed.images, [{ image: 'renamed:2', to: 'docker:renamed:2', digest: ids.get(name) }])
    assert.equal(await idOf('renamed:2'), ids.get(name))
    await engine.docker(['tag', 'renamed:2', name])
    const list = await seaway([
      'push',
      `docker:${name}`,
      '--name',
      'example.org/zstd:1',
      '--compression',
      'zstd'
    ])
    assert.match(list.images[0]?.digest ?? '', /^sha256:/)
    await forgetImages(engine)
    await podman.client.run(['rmi', '--all', '--force'])
    const { stdout: api } = await engine.docker(['version', '--format', '{{.Server.APIVersion}}'])
    const into = ['pull', 'example.org/zstd:1', '--docker-host', engine.host]
    const docker = await gateway.seaway(into, { allowFailure: true })
    // Docker unpacks it from version 23 on
    if (Number(api.trim().split('.')[1]) >= 42) assert.equal(docker.status, 0)
    else assert.match(docker.stderr, /^seaway: [^\n]*older than Docker 23[^\n]*push the image with gzip\n$/)
    await seaway(['pull', 'example.org/zstd:1', '--into', 'podman', ...at])
    assert.equal(await idIn('example.org/zstd:1'), ids.get(name))
  })

  it('says in one line what is wrong and what to do, and leaves nothing half-written', async () => {
    const layout = bed.folder('bad')
    await mkdir(layout, { recursive: true })
    const archive = join(bed.folder('layout'), 'app.tar')
    const bytes = await readFile(archive)
    const short = join(layout, 'short.tar')
    await writeFile(short, bytes.subarray(0, bytes.length >>> 1))
    const target = join(layout, 'out.tar')
    const cases: [string[], number, RegExp][] = [
      [['push', 'nothing:1'], 1, /has no image 'nothing:1'; docker images lists what it has/],
      [['push', 'app:1', '--docker-host', 'unix:///nowhere.sock'], 1, /nowhere\.sock .*no such socket/],
      [['push', `archive:${short}`], 1, /short\.tar (is cut short|lacks|is incomplete|holds no image)/],
      [['push', `archive:${layout}/none.tar`], 1, /there is no file/],
      [['pull', 'nothing:1'], 1, /nothing/],
      [
        ['pull', images[0]?.name as string, '--platform', 'linux/arm64'],
        1,
        /is for linux\/amd64, not linux\/arm64/
      ],
      [['pull', 'nothing:1', '--into', `archive:${target}`], 1, /nothing/],
      [
        ['pull', images[0]?.name as string, '--into', `archive:${layout}/no/such.tar`],
        1,
        /cannot be written/
      ],
      [
        ['pull', images[0]?.name as string, '--into', `oci:${bed.folder('e')}`],
        1,
        /something else than an OCI layout/
      ],
      [['import', archive], 1, /is no CAR of version 1/],
      [['push', 'App:1'], 2, /lower case/],
      [['push', 'app:1', '--compression', 'lzma'], 2, /gzip and zstd/],
      [['pull', 'app:1', '--platform', 'arm'], 2, /linux\/arm64/],
      [['pull', 'docker:app:1'], 2, /seaway copy/],
      [['export', 'example.com', 'x.car', 'y'], 2, /too many arguments/]
    ]
    for (const [args, status, says] of cases) {
      const host = args.includes('--docker-host') ? [] : ['--docker-host', engine.host]
      const ended = await gateway.seaway([...args, ...host], { allowFailure: true })
      assert.match(ended.stderr, says, `${args.join(' ')}: ${ended.stderr}`)
      assert.equal(ended.status, status, args.join(' '))
      if (status === 1) assert.equal(ended.stderr.trim().split('\n').length, 1, ended.stderr)
    }
    assert.deepEqual(await readdir(layout), ['short.tar'])
  })

  it('finds no room: one line says so, and no image is left half-written', async function () {
    if (!mayMount()) this.skip()
    const name = images[0]?.name as string
    const small = bed.keep(await mountTmpfs(bed.folder('small'), '12k'))
    for (const into of ['oci:layout', 'archive:app.tar']) {
      const [kind = '', file = ''] = into.split(':')
      const args = ['pull', name, '--into', `${kind}:${join(small.path, file)}`]
      const { status, stderr } = await gateway.seaway(args, { allowFailure: true })
      assert.equal(status, 1)
      assert.match(stderr, /^seaway: [^\n]*(no space|ENOSPC|full)[^\n]*\n$/i)
    }
    const car = join(small.path, 'app.car')
    const { status, stderr } = await gateway.seaway(['export', 'example.com', car], { allowFailure: true })
    assert.equal(status, 1)
    assert.match(stderr, /^seaway: [^\n]*(no space|ENOSPC|full)[^\n]*\n$/i)
    const left = await readdir(small.path, { recursive: true })
    assert.deepEqual(
      left.filter((path) => /index\.json$|\.tar$|\.car$/.test(path)),
      []
    )
  })
})
