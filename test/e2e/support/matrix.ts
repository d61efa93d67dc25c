/** What every client must be able to do with a gateway. */
import assert from 'node:assert/strict'
import type { Client } from './clients.ts'
import type { SeawayGateway } from './gateway.ts'
import { busyboxLayer, type Image, makeImage } from './images.ts'
import { uploads, watchRequests } from './requests.ts'
import { repository } from './wire.ts'

/** The images of the matrix: one for a platform, and one for two that is made on top of it. */
export interface MatrixImages {
  base: Image
  multi: Image
}

/** Makes {@link MatrixImages} below `dir`. */
export async function matrixImages(dir: string): Promise<MatrixImages> {
  const base = await makeImage({
    dir: `${dir}/base`,
    name: 'base:1',
    layers: [busyboxLayer(), { size: 3_000_000, seed: 'matrix base' }]
  })
  const multi = await makeImage({
    dir: `${dir}/multi`,
    name: 'multi:1',
    base,
    layers: [{ files: { 'hello.txt': 'hello from a layer\n' } }, { size: 1_000_000, seed: 'matrix top' }],
    platforms: ['linux/amd64', 'linux/arm64']
  })
  return { base, multi }
}

/**
 * Push, pull into a clean place, push again with nothing uploaded twice, and an image for two platforms.
 * Every digest in the registry is checked on the way.
 */
export async function roundTrips(
  gateway: SeawayGateway,
  client: Client,
  images: MatrixImages
): Promise<void> {
  for (const image of [images.base, images.multi]) {
    const name = `example.com/${client.name}/${image.name.split(':')[0]}`
    const reference = `${gateway.host}/${name}:1`
    await client.push(image, reference)
    const wire = repository(gateway.url, name)
    const [top] = await wire.readImage('1')
    if (client.keepsDigest) assert.equal(top, image.top.digest)
    assert.deepEqual((await client.pull(reference)).diffIds, image.diffIds)

    const seen = await watchRequests(gateway)
    await client.push(image, reference)
    const sent = uploads(await seen())
    assert.deepEqual(sent, [], `${client.name} uploaded again what was there`)
    assert.equal((await wire.readImage('1'))[0], top)
  }
}
