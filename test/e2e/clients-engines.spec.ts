/** The engines: docker, podman, buildah and containerd, and what happens to them when a connection is cut. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { buildah, ctr, docker, podman } from './support/clients.ts'
import { type Containerd, startContainerd } from './support/containerd.ts'
import { startCuttingProxy } from './support/cutting-proxy.ts'
import { type DockerEngine, startDocker } from './support/docker.ts'
import { type SeawayGateway, startGateway } from './support/gateway.ts'
import { makeImage } from './support/images.ts'
import { type MatrixImages, matrixImages, roundTrips } from './support/matrix.ts'
import { available, tempDir } from './support/process.ts'
import { watchRequests } from './support/requests.ts'
import { repository } from './support/wire.ts'

describe('clients: docker, podman, buildah, ctr', function () {
  this.timeout(180_000)
  const temp = tempDir('engines')
  const running: { stop(): Promise<void> }[] = []
  const folder = (name: string) => join(temp.path, name)
  const keep = <T extends { stop(): Promise<void> }>(handle: T): T => {
    running.push(handle)
    return handle
  }
  let gateway: SeawayGateway
  let images: MatrixImages

  before(async () => {
    gateway = keep(await startGateway({ dir: folder('g'), env: { SEAWAY_LOG_LEVEL: 'info' } }))
    images = await matrixImages(temp.path)
  })
  after(async () => {
    for (const handle of running.toReversed()) await handle.stop()
    await temp.remove()
  })

  for (const make of [podman, buildah]) {
    it(`${make.name} pushes, pulls and pushes again`, async function () {
      const client = await make({ dir: folder(make.name) })
      if (!available(...client.needs)) this.skip()
      await roundTrips(gateway, client, images)
    })
  }

  it('podman pushes a list of images for several platforms, and pulls each', async function () {
    const client = await podman({ dir: folder('podman-list') })
    if (!available(...client.needs)) this.skip()
    const reference = `${gateway.host}/example.com/lists/podman:1`
    await client.run(['manifest', 'create', 'list'])
    for (const architecture of ['amd64', 'arm64']) {
      const id = (
        await client.run(['pull', '--quiet', `--arch=${architecture}`, `oci:${images.multi.layout}`])
      ).stdout
      const local = `containers-storage:${id.trim()}`
      await client.run(['manifest', 'add', `--arch=${architecture}`, 'list', local])
    }
    await client.run(['manifest', 'push', '--all', '--tls-verify=false', 'list', `docker://${reference}`])
    await repository(gateway.url, 'example.com/lists/podman').readImage('1')
    for (const architecture of ['amd64', 'arm64']) {
      await client.run(['rmi', '--all', '--force'], { allowFailure: true })
      await client.run(['pull', '--tls-verify=false', `--arch=${architecture}`, reference])
    }
  })

  describe('docker', () => {
    let engine: DockerEngine

    before(async function () {
      if (!available('docker', 'dockerd', 'containerd', 'runc')) this.skip()
      engine = keep(await startDocker({ dir: folder('d') }))
    })

    it('pushes, pulls and pushes again', () => roundTrips(gateway, docker(engine), images))

    it('pulls its platform out of an index, by tag and by digest', async function () {
      const containerd = keep(await startContainerd({ dir: folder('c0') }))
      await ctr(containerd).push(images.multi, `${gateway.host}/example.com/index/app:1`)
      const reference = `${gateway.host}/example.com/index/app`
      for (const each of [`${reference}:1`, `${reference}@${images.multi.top.digest}`]) {
        assert.deepEqual((await docker(engine).pull(each)).diffIds, images.multi.diffIds)
      }
    })

    it('mounts from another repository what it has pushed there', async () => {
      const client = docker(engine)
      await client.push(images.base, `${gateway.host}/example.com/mount/one:1`)
      const seen = await watchRequests(gateway)
      await client.push(images.base, `${gateway.host}/example.com/mount/two:1`)
      const mounts = (await seen()).filter(({ url, status }) => url.includes('mount=') && status === 201)
      assert.equal(mounts.length, images.base.layers.length)
    })

    it('builds from an image of the gateway and pushes the result, base layers sent once', async () => {
      const client = docker(engine)
      const base = `${gateway.host}/example.com/build/base:1`
      await client.push(images.base, base)
      await engine.docker(['rmi', '--force', base, images.base.name])
      await engine.docker(['build', '--quiet', '--tag', `${gateway.host}/example.com/build/app:1`, '-'], {
        input: `FROM ${base}\nLABEL built=yes\nENV MODE=test\n`
      })
      await engine.docker(['push', '--quiet', `${gateway.host}/example.com/build/app:1`])
      await repository(gateway.url, 'example.com/build/app').readImage('1')
    })

    it('goes on with a Range after its connection was cut in the middle of a layer', async () => {
      const image = await makeImage({
        dir: folder('big'),
        name: 'big:1',
        layers: [{ size: 8_000_000, seed: 'cut' }]
      })
      const client = docker(engine)
      await client.push(image, `${gateway.host}/example.com/cut/app:1`)
      const proxy = keep(await startCuttingProxy({ target: gateway.host, after: 3_000_000, times: 1 }))
      const seen = await watchRequests(gateway)
      const { diffIds } = await client.pull(`${proxy.host}/example.com/cut/app:1`)
      assert.deepEqual(diffIds, image.diffIds)
      assert.equal(proxy.cuts, 1)
      const blobs = (await seen()).filter(({ method, url }) => method === 'GET' && url.includes('/blobs/'))
      const broken = blobs.find(({ complete }) => !complete)
      assert.equal(broken?.status, 200)
      const resumed = blobs.find(({ status }) => status === 206)
      assert.equal(resumed?.url, broken.url)
      assert.equal(resumed.complete, true)
    })
  })

  describe('ctr', () => {
    let containerd: Containerd

    before(async function () {
      if (!available('ctr', 'containerd', 'runc')) this.skip()
      containerd = keep(await startContainerd({ dir: folder('c') }))
    })

    it('pushes, pulls and pushes again, all platforms', () => roundTrips(gateway, ctr(containerd), images))

    it('pulls through the gateway as a mirror, with ?ns=', async () => {
      await ctr(containerd).push(images.base, `${gateway.host}/mirrored.test/team/app:1`)
      const hosts = `server = "http://127.0.0.1:1"\n[host."${gateway.url}"]\n  capabilities = ["pull", "resolve"]\n`
      await containerd.setHosts('mirrored.test', hosts)
      const seen = await watchRequests(gateway)
      await containerd.ctr(['images', 'rm', '--sync', `${gateway.host}/mirrored.test/team/app:1`])
      await containerd.ctr(['images', 'pull', '--hosts-dir', containerd.hostsDir, 'mirrored.test/team/app:1'])
      const asked = await seen()
      assert.ok(asked.length > 0 && asked.every(({ url }) => url.includes('ns=mirrored.test')))
      assert.ok(asked.every(({ url }) => url.startsWith('/v2/team/app/')))
      const ran = await containerd.runContainer('mirrored.test/team/app:1', ['/bin/echo', 'ran'])
      assert.equal(ran.stdout, 'ran\n')
    })

    it('resumes at once when its connection is cut', async () => {
      const proxy = keep(
        await startCuttingProxy({ target: gateway.host, after: 1_000_000, times: 1, how: 'close' })
      )
      await ctr(containerd).push(images.base, `${gateway.host}/example.com/ctr/cut:1`)
      const { diffIds } = await ctr(containerd).pull(`${proxy.host}/example.com/ctr/cut:1`)
      assert.deepEqual(diffIds, images.base.diffIds)
      assert.equal(proxy.cuts, 1)
    })
  })
})
