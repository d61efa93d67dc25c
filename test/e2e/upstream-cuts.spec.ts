/**
 * What a gateway makes of a registry's blobs that break off, dry up or turn wrong half-way: it goes on where they ended, at
 * once or for the next client, and keeps nothing wrong.
 */
import assert from 'node:assert/strict'
import { useBed } from './support/bed.ts'
import { checkedBlobs, isKept, readBlob } from './support/blob-pull.ts'
import { crane } from './support/clients.ts'
import { waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { makeImage } from './support/images.ts'
import { available } from './support/process.ts'
import { type Registry, startRegistry } from './support/registry.ts'
import { randomBytes } from './support/tar.ts'
import * as faulty from './support/upstream-relay.ts'
import { repository } from './support/wire.ts'

const MiB = 1024 * 1024
const SIZE = 4 * MiB
const BLOBS = /^GET .*\/blobs\//
const NAME = 'team/app'

/** An answer must have come to its end by then: the gateway's own deadlines are a second each. */
const DEADLINE_MS = 30_000

describe("a registry's blob that breaks off, behind a gateway", function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('upcut')
  let registry: Registry
  let relay: faulty.UpstreamRelay
  let one: SeawayGateway
  const layer = (name: string) => Buffer.concat([...randomBytes(SIZE, name)])
  const within = () => ({ signal: AbortSignal.timeout(DEADLINE_MS) })
  const here = () => repository(one.url, `up.example/${NAME}`)
  const ranges = (digest: string) => relay.matching(new RegExp(`GET .*${digest}`))
  const start = () =>
    gateway('one', {
      env: { SEAWAY_UPSTREAMS: `up.example=${relay.url}`, SEAWAY_UPSTREAM_TIMEOUT: '1s' }
    })

  before(async function () {
    if (!available('docker-registry', 'crane')) this.skip()
    registry = keep(await startRegistry({ dir: folder('registry') }))
    relay = keep(await faulty.startUpstreamRelay(registry.url))
    one = await start()
  })
  beforeEach(() => {
    relay.faults = []
  })

  /** An image of one layer at the registry, its manifest here; its layer's digest. */
  async function begun(tag: string, bytes: Buffer): Promise<string> {
    const { layer: digest } = await repository(registry.url, NAME).putImage(tag, bytes)
    await (await here().getManifest(tag)).arrayBuffer()
    return digest
  }

  it('cut twice: goes on with a Range, and clients see nothing of it', async () => {
    const layers = [{ size: SIZE, seed: 'twice' }]
    const image = await makeImage({ dir: folder('image'), name: 'twice:1', layers })
    const client = await crane({ dir: folder('crane') })
    await client.push(image, `${registry.host}/${NAME}:twice`)
    relay.faults = [faulty.cutting(BLOBS, 1.5 * MiB, 2)]
    const { diffIds } = await client.pull(`${one.host}/up.example/${NAME}:twice`, within())
    assert.deepEqual(diffIds, image.diffIds)
    const asked = ranges(image.layers[0]?.digest ?? '')
    assert.deepEqual(
      asked.map((each) => each.status),
      [200, 206, 206]
    )
    const [, second = 0, third = 0] = asked.map(({ range }) => Number(/\d+/.exec(range ?? '')?.[0]))
    assert.ok(0 < second && second < third, `it went on from ${second} and ${third}`)
    assert.equal(third + (asked[2]?.sent ?? 0), image.layers[0]?.size)
  })

  for (const [what, fault] of [
    ['cut again and again', faulty.cutting(BLOBS, 64 * 1024)],
    ['dried up to a byte a second', faulty.dryingUp(BLOBS, 64 * 1024)]
  ] as const) {
    it(`${what}: gives up in time, and the next one gets the rest`, async () => {
      const bytes = layer(what)
      const digest = await begun(what.replaceAll(' ', '-'), bytes)
      relay.faults = [fault]
      const first = await readBlob(await here().getBlob(digest, within()), bytes)
      assert.deepEqual([first.whole, first.right, await isKept(one, digest)], [false, true, false])
      relay.faults = []
      const tries = ranges(digest).length
      assert.equal(await here().blobDigest(digest), digest)
      const rest = ranges(digest).slice(tries)
      assert.equal(rest.length, 1)
      assert.match(rest[0]?.range ?? '', /^bytes=[1-9]\d*-$/)
    })
  }

  it('other bytes, and then cut: the next one gets the right ones', async () => {
    const bytes = layer('mixed')
    const digest = await begun('mixed', bytes)
    const wrong = faulty.turning(BLOBS)
    const cut = faulty.cutting(BLOBS, MiB)
    relay.faults = [{ on: BLOBS, body: (given) => cut.body(wrong.body(given)) }]
    assert.equal((await readBlob(await here().getBlob(digest, within()), bytes)).whole, false)
    relay.faults = []
    assert.equal((await readBlob(await here().getBlob(digest, within()), bytes)).whole, true)
    await waitFor('it to be kept', () => isKept(one, digest))
  })

  it('the gateway killed meanwhile: the next start gets the right bytes', async () => {
    const bytes = layer('killed')
    const digest = await begun('killed', bytes)
    relay.faults = [faulty.dryingUp(BLOBS, 2 * MiB)]
    const broken = here()
      .getBlob(digest)
      .then((answer) => readBlob(answer, bytes))
      .catch(() => undefined)
    await waitFor('half of the layer', async () => (ranges(digest)[0]?.sent ?? 0) >= 2 * MiB)
    await one.kill()
    assert.notEqual((await broken)?.whole, true)
    relay.faults = []
    one = await start()
    assert.deepEqual((await here().readImage('killed')).at(-1), digest)
  })

  // after all others
  it('has left nothing wrong in the store', async () => {
    assert.ok((await checkedBlobs(one)) > 10)
  })
})
