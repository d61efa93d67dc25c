/** `seaway copy` between engines and every other kind of place; those without an engine are in `test/cli/copy.spec.ts`. */
import assert from 'node:assert/strict'
import { mkdir } from 'node:fs/promises'
import { type CopyPlaces, makeCopyPlaces, SOURCE_KINDS, TARGET_KINDS } from '../support/copy-places.ts'
import { useBed } from './support/bed.ts'
import { type DockerEngine, startDocker } from './support/docker.ts'
import { forgetImages } from './support/engine-clients.ts'
import { available } from './support/process.ts'
import { servePodman } from './support/storage-clients.ts'

const ENGINES = ['docker', 'podman'] as const
type Engine = (typeof ENGINES)[number]

describe('copying into and out of engines', function () {
  this.timeout(60_000)
  const bed = useBed('copy')
  let places: CopyPlaces
  let docker: DockerEngine
  let podman: Awaited<ReturnType<typeof servePodman>>

  before(async function () {
    if (!available('dockerd', 'docker', 'podman')) this.skip()
    await mkdir(bed.folder('p'), { recursive: true })
    docker = bed.keep(await startDocker({ dir: bed.folder('e') }))
    podman = bed.keep(await servePodman({ dir: bed.folder('p') }))
    places = bed.keep(await makeCopyPlaces())
  })

  const copy = (from: string, to: string) => places.report(['copy', from, to], hosts())
  const hosts = () => ({ SEAWAY_DOCKER_HOST: docker.host, SEAWAY_PODMAN_HOST: podman.host })
  const client = (engine: Engine, ...args: string[]) =>
    engine === 'docker' ? docker.docker(args) : podman.client.run(args)

  /** What an engine has under a name. */
  async function look(engine: Engine, name: string) {
    const { stdout } = await client(engine, 'image', 'inspect', name)
    const [{ Id, RootFS }] = JSON.parse(stdout) as [{ Id: string; RootFS: { Layers: string[] } }]
    return { id: Id.replace(/^(?!sha256:)/, 'sha256:'), diffIds: RootFS.Layers }
  }
  async function forget(engine: Engine) {
    if (engine === 'docker') await forgetImages(docker)
    else await podman.client.run(['rmi', '--all', '--force'])
  }
  const expected = () => ({ id: places.image.configs[0]?.digest, diffIds: places.image.diffIds })

  for (const engine of ENGINES) {
    describe(`into ${engine}, and again without moving anything`, () => {
      for (const from of SOURCE_KINDS)
        it(`from ${from}`, async () => {
          const source = places.sources[from]
          await forget(engine)
          const to = `${engine}:copied/${from.toLowerCase().replace(/\W/g, '')}:2`
          const first = await copy(source.place, to)
          const passes = source.place.startsWith('archive:') && from !== 'an OCI archive'
          assert.deepEqual(
            first.images.map((each) => [each.to, each.digest]),
            [[to, passes ? expected().id : places.image.top.digest]]
          )
          assert.equal(first.moved.blobs, passes ? first.moved.blobs : places.image.layers.length)
          assert.deepEqual(await look(engine, to.slice(engine.length + 1)), expected())
          const again = await copy(source.place, to)
          assert.deepEqual(again.images, first.images)
          // an archive is passed on as it comes
          if (!passes) assert.equal(again.moved.blobs, 0)
        })
    })

    describe(`from ${engine}, and again without moving anything`, () => {
      before(async () => {
        await forget(engine)
        await copy('example.com/app:1', `${engine}:example.com/app:1`)
      })
      for (const into of TARGET_KINDS)
        it(`into ${into}`, async () => {
          const target = places.targets[into]
          const name = `${engine}${into.toLowerCase().replace(/\W/g, '')}`
          const first = await copy(`${engine}:example.com/app:1`, target.place(name))
          const { digest, ...found } = await target.look(name)
          assert.deepEqual(found, expected())
          assert.deepEqual(
            first.images.map((each) => each.digest),
            [digest ?? found.id]
          )
          const again = await copy(`${engine}:example.com/app:1`, target.place(name))
          assert.deepEqual(again.images, first.images)
          if (target.whole !== true) assert.equal(again.moved.blobs, 0)
        })
      for (const into of ENGINES)
        it(`into ${into}`, async () => {
          if (into !== engine) await forget(into)
          const first = await copy(`${engine}:example.com/app:1`, `${into}:other/name:3`)
          assert.equal(first.images[0]?.digest, expected().id)
          assert.deepEqual(await look(into, 'other/name:3'), expected())
          assert.equal((await copy(`${engine}:example.com/app:1`, `${into}:other/name:3`)).moved.blobs, 0)
        })
      for (const format of engine === 'docker' ? ['docker save'] : ['docker-archive', 'oci-archive'])
        it(`from what it saves (${format})`, async () => {
          const file = places.file(`${format.replace(' ', '-')}-${engine}.tar`)
          const how = engine === 'docker' ? [] : ['--format', format]
          await client(engine, 'save', ...how, '--output', file, 'example.com/app:1')
          const target = places.targets["the gateway's domain"]
          const name = `${engine}${format.replace(/\W/g, '')}`
          for (const blobs of [undefined, 0]) {
            const { images, moved } = await copy(`archive:${file}`, target.place(name))
            const { digest, id, diffIds } = await target.look(name)
            assert.deepEqual(diffIds, expected().diffIds)
            // podman writes another config into a layout
            if (format !== 'oci-archive') assert.equal(id, expected().id)
            assert.equal(images[0]?.digest, digest)
            assert.equal(moved.blobs, blobs ?? moved.blobs)
          }
          if (format === 'oci-archive') return
          await forget(engine)
          const loaded = await copy(`archive:${file}`, `${engine}:`)
          assert.deepEqual(
            loaded.images.map(({ to }) => to),
            [`${engine}:example.com/app:1`]
          )
          assert.deepEqual(await look(engine, 'example.com/app:1'), expected())
        })
      it('into a CAR is refused', async () => {
        const car = `car:${places.file('none.car')}`
        const refused = await places.run(['copy', `${engine}:example.com/app:1`, car], hosts())
        assert.deepEqual([refused.status, refused.stderr], [2, 'seaway: seaway export writes CARs\n'])
      })
    })
  }
})
