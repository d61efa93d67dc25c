/**
 * One gateway for everything, as its clients see it: what they push, other registries (Debian's docker-registry: plain,
 * with a password, behind TLS with an authority of its own), and a domain in IPFS. Each client uses the file that
 * `seaway setup` writes for it.
 */
import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { useBed } from './support/bed.ts'
import { type Bind, startBind } from './support/bind.ts'
import { buildah, type Client, ctr, docker, podman, skopeo } from './support/clients.ts'
import { type Containerd, startContainerd } from './support/containerd.ts'
import { type DockerEngine, startDocker } from './support/docker.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { busyboxLayer, type Image, makeImage } from './support/images.ts'
import { available } from './support/process.ts'
import { startRegistry } from './support/registry.ts'
import { watchRequests } from './support/requests.ts'
import { startTlsRelay } from './support/tls-relay.ts'
import { repository } from './support/wire.ts'

describe('one gateway for every registry: docker, podman, buildah, containerd', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('upcl')
  /** What stands where: by `domain/repository`. */
  const images = new Map<string, Image>()
  const OTHERS = ['plain.example/team/app', 'locked.example/team/app', 'tls.example/team/app'] as const
  const HUB = 'docker.io/library/base'
  const SHIPS = 'ships.example/app'
  let bind: Bind
  let one: SeawayGateway

  const diffIds = (name: string) => images.get(name)?.diffIds
  /** Has `seaway setup` write the file of a client, and try an image as that asks for it. */
  async function setUp(client: string, file: string, name: string): Promise<string> {
    await mkdir(dirname(file), { recursive: true })
    const where = ['--file', file, '--at', one.host]
    const { stdout } = await one.seaway(['setup', client, '--write', ...where, '--try', `${name}:1`])
    assert.ok(stdout.startsWith(`${file} is written`), stdout)
    assert.ok(stdout.includes(images.get(name)?.top.digest ?? ''), stdout)
    return file
  }

  before(async function () {
    const needs = ['dockerd', 'docker', 'containerd', 'ctr', 'runc', 'podman', 'buildah', 'skopeo']
    if (!available(...needs, 'docker-registry', 'htpasswd', 'openssl', 'named', 'nsupdate')) this.skip()
    bind = keep(await startBind({ dir: folder('named'), zones: { 'ships.example': [], 'tls.example': [] } }))
    const plain = keep(await startRegistry({ dir: folder('plain') }))
    const locked = keep(
      await startRegistry({ dir: folder('locked'), user: { name: 'me', password: 'secret' } })
    )
    const behind = keep(await startRegistry({ dir: folder('behind') }))
    const tls = keep(await startTlsRelay({ dir: folder('tls'), target: behind.url }))
    await writeFile(folder('login'), 'me:secret\n', { mode: 0o600 })
    const ships = await gateway('ships', { dns: bind.server })

    const publisher = await skopeo({ dir: folder('publisher') })
    const base = await makeImage({
      dir: folder('base'),
      name: 'base:1',
      layers: [busyboxLayer(), { size: 1_000_000, seed: 'base' }]
    })
    for (const [name, where, args] of [
      [OTHERS[0], `${plain.host}/team/app`, []],
      [OTHERS[1], `${locked.host}/team/app`, ['--dest-creds', 'me:secret']],
      [OTHERS[2], `${behind.host}/team/app`, []],
      [HUB, `${plain.host}/library/base`, []],
      [SHIPS, `${ships.host}/${SHIPS}`, []]
    ] as const) {
      const layers = [{ files: { 'from.txt': `from ${name}\n` } }, { size: 2_000_000, seed: name }]
      const image = await makeImage({ dir: folder(name.replaceAll('/', '-')), name: 'app:1', base, layers })
      images.set(name, image)
      const to = ['--preserve-digests', '--dest-tls-verify=false', ...args]
      await publisher.run(['copy', ...to, `oci:${image.layout}`, `docker://${where}:1`])
    }
    await bind.setLines('ships.example', await ships.records('ships.example'))

    one = await gateway('one', {
      dns: bind.server,
      env: {
        SEAWAY_UPSTREAMS: [
          `plain.example=${plain.url}`,
          `locked.example=${locked.url} auth=${folder('login')}`,
          `tls.example=https://127.0.0.1:${tls.port} ca=${tls.ca}`,
          `docker.io=${plain.url}`
        ].join(','),
        SEAWAY_DEFAULT_UPSTREAM: 'docker.io',
        SEAWAY_LOG_LEVEL: 'info'
      }
    })
  })

  /** Pushes, and pulls from everywhere, by names that begin with the gateway's. */
  async function everything(client: Client): Promise<void> {
    const own = images.get(SHIPS) as Image
    await client.push(own, `${one.host}/example.com/${client.name}:1`)
    for (const name of [...OTHERS, SHIPS])
      assert.deepEqual((await client.pull(`${one.host}/${name}:1`)).diffIds, diffIds(name), name)
    assert.deepEqual((await client.pull(`${one.host}/example.com/${client.name}:1`)).diffIds, own.diffIds)
  }

  describe('docker', () => {
    let engine: DockerEngine

    before(async () => {
      const file = await setUp('docker', folder('docker/daemon.json'), HUB)
      const config = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>
      engine = keep(await startDocker({ dir: folder('d'), config }))
    })

    it('pushes, and pulls from everywhere', () => everything(docker(engine)))

    it('pulls a tag together with its digest, whatever the tag is', async () => {
      const digest = images.get(OTHERS[2])?.top.digest
      for (const tag of ['1', 'gone'])
        await engine.docker(['pull', '--quiet', `${one.host}/${OTHERS[2]}:${tag}@${digest}`])
    })

    it('pulls by the bare name of Docker Hub, through its mirror', async () => {
      const seen = await watchRequests(one)
      assert.deepEqual((await docker(engine).pull('base:1')).diffIds, diffIds(HUB))
      assert.ok((await seen()).some(({ url }) => url.startsWith('/v2/library/base/blobs/')))
      assert.equal((await engine.runContainer('base:1', ['cat', '/from.txt'])).stdout, `from ${HUB}\n`)
    })

    it("builds with the engine's BuildKit on such an image", async () => {
      await engine.docker(['rmi', '--force', 'base:1'])
      const context = folder('context')
      await mkdir(context)
      await writeFile(join(context, 'Dockerfile'), 'FROM base:1\nCOPY hello.txt /\n')
      await writeFile(join(context, 'hello.txt'), 'hello\n')
      const env = { DOCKER_BUILDKIT: '1' }
      const built = `${one.host}/example.com/built:1`
      await engine.docker(['build', '--tag', built, context], { env })
      await engine.docker(['push', '--quiet', built])
      const ran = await engine.runContainer(built, ['cat', '/from.txt', '/hello.txt'])
      assert.equal(ran.stdout, `from ${HUB}\nhello\n`)
      await repository(one.url, 'example.com/built').readImage('1')
    })
  })

  for (const make of [podman, buildah]) {
    describe(make.name, () => {
      let client: Client

      before(async () => {
        client = await make({ dir: folder(make.name) })
        const conf = `${make.name}/.config/containers/registries.conf.d/50-seaway.conf`
        await setUp('podman', folder(conf), OTHERS[2])
      })

      it('pushes, and pulls from everywhere', () => everything(client))

      it('pulls by the names of the registries, through its mirrors', async () => {
        const seen = await watchRequests(one)
        for (const name of [...OTHERS, HUB])
          assert.deepEqual((await client.pull(`${name}:1`)).diffIds, diffIds(name), name)
        const asked = (await seen()).map(({ url }) => url)
        for (const name of [...OTHERS, HUB])
          assert.ok(
            asked.some((url) => url.startsWith(`/v2/${name}/`)),
            name
          )
      })

      it('builds on an image of another registry, by its name', async () => {
        const file = folder(`${make.name}/Containerfile`)
        await writeFile(file, `FROM ${OTHERS[2]}:1\nLABEL built=yes\n`)
        const built = `${one.host}/example.com/${make.name}-built`
        await client.run(['build', '--file', file, '--tag', `${built}:1`, folder('named')])
        await client.run(['push', '--tls-verify=false', `${built}:1`])
        await repository(one.url, `example.com/${make.name}-built`).readImage('1')
      })
    })
  }

  describe('containerd', () => {
    let containerd: Containerd

    before(async () => {
      containerd = keep(await startContainerd({ dir: folder('c') }))
      await setUp('containerd', join(containerd.hostsDir, '_default/hosts.toml'), OTHERS[1])
    })

    it('pushes, and pulls from everywhere', () => everything(ctr(containerd)))

    it('pulls by the names of the registries, and of the domain in IPFS, with ?ns=', async () => {
      for (const name of [...OTHERS, HUB, SHIPS]) {
        const seen = await watchRequests(one)
        await containerd.ctr(['images', 'pull', '--hosts-dir', containerd.hostsDir, `${name}:1`])
        const ran = await containerd.runContainer(`${name}:1`, ['/bin/cat', '/from.txt'])
        assert.equal(ran.stdout, `from ${name}\n`)
        const asked = await seen()
        const domain = name.slice(0, name.indexOf('/'))
        assert.ok(asked.length > 0, 'the gateway was not asked')
        for (const { url } of asked) assert.match(url, new RegExp(`ns=${domain}(&|$)`))
      }
    })
  })

  // after all clients, which a test of the outer suite would not be
  describe('afterwards', () => {
    it('has all of it in trees of their domains, each as it was pushed', async () => {
      for (const name of [...OTHERS, HUB, SHIPS]) {
        const [top] = await repository(one.url, name).readImage('1')
        assert.equal(top, images.get(name)?.top.digest)
      }
    })
  })
})
