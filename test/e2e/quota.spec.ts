/** Limits as people meet them: docker and skopeo push into a full store, and go on pulling from it. */
import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { useBed } from './support/bed.ts'
import { docker, skopeo } from './support/clients.ts'
import { startDocker } from './support/docker.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available } from './support/process.ts'
import { randomBytes } from './support/tar.ts'
import { repository } from './support/wire.ts'

const MB = 1_000_000
const bytesOf = (size: number, seed: string): Buffer => Buffer.concat([...randomBytes(size, seed)])

describe('a full store', function () {
  this.timeout(180_000)
  const { folder, keep, gateway } = useBed('quota')
  let one: SeawayGateway
  let small: Image
  let large: Image

  before(async function () {
    if (!available('skopeo', 'docker', 'dockerd', 'containerd', 'runc')) this.skip()
    small = await makeImage({
      dir: folder('small'),
      name: 'small:1',
      layers: [{ size: 3 * MB, seed: 'small' }]
    })
    large = await makeImage({
      dir: folder('large'),
      name: 'large:1',
      layers: [{ size: 30 * MB, seed: 'large' }]
    })
    one = await gateway('one', {
      env: {
        SEAWAY_STORE_LIMIT: '20MB',
        SEAWAY_DOMAIN_LIMITS: 'tight.example=5MB',
        SEAWAY_LOG_LEVEL: 'warn'
      }
    })
  })

  const nothingArriving = async () => assert.deepEqual(await readdir(join(one.data, 'incoming')), [])

  it('tells skopeo which limit, what is taken and what to do; what is there can be pulled', async () => {
    const client = await skopeo({ dir: folder('skopeo') })
    await client.push(small, `${one.host}/app/small:1`)
    await assert.rejects(client.push(large, `${one.host}/app/large:1`), (error: Error) => {
      assert.match(error.message, /denied/i)
      assert.match(error.message, /the store is full: .* of 20\.0 MB .*seaway rm.*SEAWAY_STORE_LIMIT/s)
      return true
    })
    await nothingArriving()
    assert.deepEqual((await client.pull(`${one.host}/app/small:1`)).diffIds, small.diffIds)
  })

  it('tells docker the same, once', async () => {
    const client = docker(keep(await startDocker({ dir: folder('d') })))
    await client.push(small, `${one.host}/docker/small:1`)
    await assert.rejects(
      client.push(large, `${one.host}/docker/large:1`),
      /denied: the store is full: .*SEAWAY_STORE_LIMIT/s
    )
    await nothingArriving()
    assert.deepEqual((await client.pull(`${one.host}/docker/small:1`)).diffIds, small.diffIds)
  })

  it('holds for one domain without the others, and shows in usage', async () => {
    const client = await skopeo({ dir: folder('skopeo-2') })
    await client.push(small, `${one.host}/tight.example/app:1`)
    const more = await makeImage({
      dir: folder('more'),
      name: 'more:1',
      layers: [{ size: 4 * MB, seed: 'more' }]
    })
    await assert.rejects(
      client.push(more, `${one.host}/tight.example/app:2`),
      /tight\.example is full.*SEAWAY_DOMAIN_LIMITS/s
    )
    await client.push(more, `${one.host}/loose.example/app:2`)
    await nothingArriving()
    const { stdout } = await one.seaway(['usage'])
    assert.match(stdout, /^content +1\d\.\d MB of 20\.0 MB \(\d\d %\)$/m)
    assert.match(stdout, /^tight\.example +1 +1 +3\.0 MB +3\.0 MB .* 60 % of 5\.0 MB/m)
    const report = JSON.parse((await one.seaway(['usage', 'loose.example/app', '--json'])).stdout) as {
      repositories: { name: string; tags: number; today: { fromClients: number } }[]
    }
    assert.deepEqual(
      report.repositories.map(({ name, tags }) => [name, tags]),
      [['loose.example/app', 1]]
    )
    assert.ok((report.repositories[0]?.today.fromClients ?? 0) > 4 * MB)
  })

  it('takes no more from many who push at once than there is room for', async () => {
    const app = repository(one.url, 'many')
    const answers = await Promise.allSettled(
      Array.from({ length: 10 }, (_, i) => app.putImage(`v${i}`, bytesOf(3 * MB, `many ${i}`)))
    )
    const taken = answers.filter(({ status }) => status === 'fulfilled').length
    assert.ok(taken >= 1 && taken <= 4, `${taken} of 3 MB, where there was room for 13 MB`)
    const files = await readdir(join(one.data, 'blobs'), { recursive: true, withFileTypes: true })
    assert.ok(files.filter((file) => file.isFile()).length > 0)
    await nothingArriving()
    const warned = (await one.logged()).filter(
      ({ msg }) => msg === 'the store is nearly full; see seaway usage'
    )
    assert.ok(warned.length >= 1)
  })
})
