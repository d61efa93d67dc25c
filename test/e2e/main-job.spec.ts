/**
 * The main job with the real programs: push, print, publish in DNS, pull on another machine's gateway.
 * Nothing of Seaway's is called here but its command line and its port; records go into the zone as printed.
 */
import assert from 'node:assert/strict'
import { useBed } from './support/bed.ts'
import { type Bind, startBind } from './support/bind.ts'
import { buildah, type Client, docker, podman, skopeo } from './support/clients.ts'
import { type DockerEngine, startDocker } from './support/docker.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { busyboxLayer, type Image, makeImage } from './support/images.ts'
import { available } from './support/process.ts'
import { repository } from './support/wire.ts'

const CLIENTS = ['docker', 'podman', 'buildah', 'skopeo'] as const

describe('the main job', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('main')
  const start = (name: string): Promise<SeawayGateway> => gateway(name, { dns: bind.server })

  let bind: Bind
  let image: Image
  /** Each with a place of its own to push from, and another one to pull into. */
  let pushers: Client[]
  let pullers: Client[]
  let other: DockerEngine
  let a: SeawayGateway
  /** The records of ships.example with which the clients pull. */
  let published: string[]
  /** The gateways through which the clients pull, one each. */
  const b: SeawayGateway[] = []

  before(async function () {
    const needs = ['dockerd', 'docker', 'containerd', 'runc', 'skopeo', 'podman', 'buildah']
    if (!available(...needs, 'named', 'dig', 'nsupdate', 'tsig-keygen')) this.skip()
    const zones = { 'ships.example': [], 'docks.example': [] }
    bind = keep(await startBind({ dir: folder('named'), zones }))
    const engine = keep(await startDocker({ dir: folder('d1') }))
    other = keep(await startDocker({ dir: folder('d2') }))
    const storages = async (side: string): Promise<Client[]> => [
      await podman({ dir: folder(`${side}-podman`) }),
      await buildah({ dir: folder(`${side}-buildah`) }),
      await skopeo({ dir: folder(`${side}-skopeo`) })
    ]
    pushers = [docker(engine), ...(await storages('push'))]
    pullers = [docker(other), ...(await storages('pull'))]
    const base = await makeImage({
      dir: folder('base'),
      name: 'base:1',
      layers: [busyboxLayer(), { size: 3_000_000, seed: 'base' }]
    })
    image = await makeImage({
      dir: folder('app'),
      name: 'app:1',
      base,
      layers: [{ files: { 'hello.txt': 'hello from the other side\n' } }, { size: 5_000_000, seed: 'app' }]
    })
    a = await start('a')
  })

  CLIENTS.forEach((name, i) => {
    it(`takes what ${name} pushes, and prints the root and its records`, async () => {
      await pushers[i]?.push(image, `${a.host}/ships.example/${name}:1`)
      const root = await a.root('ships.example')
      const [link = '', node = '', ...more] = await a.records('ships.example')
      assert.equal(link, `_dnslink.ships.example. 60 IN TXT "dnslink=/ipfs/${root}"`)
      assert.match(node, /^ships\.example\. 60 IN TXT "ipfsnode=\[.*\/p2p\/\w+.*\]"$/)
      assert.deepEqual(more, [])
    })
  })

  CLIENTS.forEach((name, i) => {
    it(`gives it to ${name} through an empty gateway that knows nothing but the zone`, async () => {
      published = await a.records('ships.example')
      await bind.setLines('ships.example', published)
      const through = await start(`b-${name}`)
      b.push(through)
      // What another client pushed: what one packs, the next must be able to unpack.
      for (const by of new Set([name, CLIENTS[(i + 1) % CLIENTS.length]])) {
        const pulled = await pullers[i]?.pull(`${through.host}/ships.example/${by}:1`)
        assert.deepEqual(pulled?.diffIds, image.diffIds)
        const there = await repository(a.url, `ships.example/${by}`).readImage('1')
        const here = await repository(through.url, `ships.example/${by}`).readImage('1')
        assert.deepEqual(here, there)
      }
    })
  })

  it('keeps the very manifest that a client pushed', async () => {
    const [digest] = await repository(b[3]?.url ?? '', 'ships.example/skopeo').readImage('1')
    assert.equal(digest, image.top.digest)
  })

  it('runs what came through it, in docker and in podman', async () => {
    const reference = `${b[0]?.host}/ships.example/docker:1`
    await other.docker(['pull', '--quiet', reference])
    const ran = await other.runContainer(reference, ['cat', '/hello.txt'])
    assert.equal(ran.stdout, 'hello from the other side\n')
    const pod = `${b[1]?.host}/ships.example/podman:1`
    await pullers[1]?.pull(pod)
    const args = ['run', '--rm', '--pull=never', '--network=none', '--ulimit=host', pod, 'cat', '/hello.txt']
    assert.equal((await pullers[1]?.run(args))?.stdout, 'hello from the other side\n')
  })

  it('publishes and consumes at the same time, with nothing to switch', async () => {
    const [second] = b as [SeawayGateway]
    await pushers[3]?.push(image, `${second.host}/docks.example/app:1`)
    await bind.setLines('docks.example', await second.records('docks.example'))
    // The publisher of ships consumes docks, whose publisher consumes ships; both go on doing both.
    assert.deepEqual((await pullers[3]?.pull(`${a.host}/docks.example/app:1`))?.diffIds, image.diffIds)
    assert.deepEqual(
      (await pullers[3]?.pull(`${second.host}/ships.example/skopeo:1`))?.diffIds,
      image.diffIds
    )
    await pushers[3]?.push(image, `${a.host}/ships.example/again:1`)
    assert.deepEqual((await pullers[3]?.pull(`${a.host}/ships.example/again:1`))?.diffIds, image.diffIds)
  })

  it('adds to what a domain publishes when another gateway pushes there', async () => {
    const adder = await start('adder')
    await pushers[3]?.push(image, `${adder.host}/ships.example/added:1`)
    // They name the first publisher too, who alone has what was there before.
    await bind.setLines('ships.example', await adder.records('ships.example'))
    const reader = await start('reader')
    for (const name of ['docker', 'added']) {
      const reference = `${reader.host}/ships.example/${name}:1`
      assert.deepEqual((await pullers[3]?.pull(reference))?.diffIds, image.diffIds)
    }
  })

  it('goes on without its publisher: who pulled it serves it, to clients and to the next gateway', async () => {
    const [second] = b as [SeawayGateway]
    const whole = await repository(second.url, 'ships.example/docker').readImage('1')
    await a.stop()
    assert.deepEqual(
      (await pullers[0]?.pull(`${second.host}/ships.example/docker:1`))?.diffIds,
      image.diffIds
    )
    // The dead publisher's own records, and the one who pulled from it beside it.
    const beside = `ships.example. 60 IN TXT "ipfsnode=${second.peers[0]}"`
    await bind.setLines('ships.example', [...published, beside])
    const third = await start('c')
    assert.deepEqual((await pullers[0]?.pull(`${third.host}/ships.example/docker:1`))?.diffIds, image.diffIds)
    assert.deepEqual(await repository(third.url, 'ships.example/docker').readImage('1'), whole)
    const ran = await other.runContainer(`${third.host}/ships.example/docker:1`, ['cat', '/hello.txt'])
    assert.equal(ran.stdout, 'hello from the other side\n')
  })
})
