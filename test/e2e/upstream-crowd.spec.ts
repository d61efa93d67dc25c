/** Fifty clients that want the same image of another registry at once: that sends each blob once. */
import assert from 'node:assert/strict'
import { useBed } from './support/bed.ts'
import { crane } from './support/clients.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available } from './support/process.ts'
import { type Registry, startRegistry } from './support/registry.ts'
import { slowly, startUpstreamRelay, type UpstreamRelay } from './support/upstream-relay.ts'
import { repository } from './support/wire.ts'

const CLIENTS = 50
/** Some of them are a real program each, which is as many as a small machine can run at once. */
const PROGRAMS = 6

describe('many clients and one image of another registry', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('crowd')
  let registry: Registry
  let relay: UpstreamRelay
  let image: Image
  let one: SeawayGateway

  before(async function () {
    if (!available('docker-registry', 'crane')) this.skip()
    registry = keep(await startRegistry({ dir: folder('registry') }))
    relay = keep(await startUpstreamRelay(registry.url))
    image = await makeImage({
      dir: folder('image'),
      name: 'crowd:1',
      layers: [1, 2, 3].map((i) => ({ size: 3_000_000 + i, seed: `crowd ${i}` }))
    })
    await (await crane({ dir: folder('publisher') })).push(image, `${registry.host}/team/app:1`)
    one = await gateway('one', { env: { SEAWAY_UPSTREAMS: `up.example=${relay.url}` } })
  })

  it(`sends each blob once to ${CLIENTS}`, async () => {
    // so that all of them have come while it is on its way
    relay.faults = [slowly(/^GET .*\/blobs\//, 2_000_000)]
    const name = 'up.example/team/app'
    const programs = Array.from({ length: PROGRAMS }, async (_, i) => {
      const client = await crane({ dir: folder(`crane-${i}`) })
      assert.deepEqual((await client.pull(`${one.host}/${name}:1`)).diffIds, image.diffIds)
    })
    const others = Array.from({ length: CLIENTS - PROGRAMS }, async () => {
      const [top] = await repository(one.url, name).readImage('1')
      assert.equal(top, image.top.digest)
    })
    await Promise.all([...programs, ...others])

    assert.equal(relay.matching(/^GET .*\/manifests\//).length, 1)
    for (const { digest, size } of [...image.configs, ...image.layers]) {
      const asked = relay.matching(new RegExp(`^GET .*/blobs/${digest}$`))
      assert.deepEqual(
        asked.map(({ status, sent }) => ({ status, sent })),
        [{ status: 200, sent: size }]
      )
    }
  })

  it('asks for nothing more when they come again', async () => {
    const before = relay.asked.length
    await Promise.all(
      Array.from({ length: 10 }, () => repository(one.url, 'up.example/team/app').readImage('1'))
    )
    assert.equal(relay.asked.length, before)
  })
})
