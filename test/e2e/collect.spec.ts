/** Deleting and collecting with real clients: what du says before and after, multi-arch, referrers, pushes meanwhile. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import type { Collected } from '../../src/registry/index.ts'
import { useBed } from './support/bed.ts'
import { type Client, crane, oras, skopeo } from './support/clients.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available, run } from './support/process.ts'

const MB = 1e6

describe('collecting', function () {
  this.timeout(180_000)
  const { folder, gateway } = useBed('collect')
  let a: SeawayGateway
  let client: Client
  let images = 0

  before(async function () {
    if (!available('skopeo', 'crane', 'oras', 'du')) this.skip()
    a = await gateway('a', { env: { SEAWAY_KEEP_ROOTS: '0', SEAWAY_GC_GRACE: '0s' } })
    client = await skopeo({ dir: folder('skopeo') })
  })

  const image = (megabytes: number, more: Partial<Parameters<typeof makeImage>[0]> = {}): Promise<Image> => {
    const name = `image-${++images}`
    return makeImage({
      dir: folder(name),
      name: `${name}:1`,
      layers: [{ size: megabytes * MB, seed: name }],
      ...more
    })
  }

  /** Bytes on the disk, as `du` counts blocks; what the databases are about to write is not counted yet. */
  async function used(part = 'blobs'): Promise<number> {
    const { stdout } = await run('du', ['--summarize', '--block-size=1', join(a.data, part)])
    return Number(stdout.split('\t')[0])
  }

  async function gc(...args: string[]): Promise<Collected> {
    return JSON.parse((await a.seaway(['gc', '--json', ...args])).stdout) as Collected
  }

  /** A dry run and a real one, which must say the same. */
  async function collect(...args: string[]): Promise<Collected> {
    const would = await gc('--dry-run', ...args)
    const before = await used()
    const did = await gc(...args)
    const freed = before - (await used())
    assert.deepEqual({ ...would, dryRun: false }, did)
    const files = did.blobs.filter(({ size }) => size > 128 * 1024).reduce((sum, { size }) => sum + size, 0)
    assert.ok(
      freed >= files && freed <= files + did.blobs.length * 4096,
      `du fell by ${freed}, files of ${files}`
    )
    return did
  }

  it('gives the disk back what a deleted image had, and not what another has too', async () => {
    const base = await image(20)
    const top = await image(10, { base })
    await client.push(base, `${a.host}/example.com/base:1`)
    await client.push(top, `${a.host}/example.com/top:1`)
    // nothing but directories of roots that were
    assert.equal((await collect()).freed.blobs, 0)
    await a.seaway(['rm', 'example.com/base:1'])
    const first = await collect()
    assert.deepEqual(
      first.blobs.map(({ digest }) => digest).sort(),
      [base.top, ...base.configs].map((d) => d.digest).sort()
    )
    assert.deepEqual((await client.pull(`${a.host}/example.com/top:1`)).diffIds, top.diffIds)
    await a.seaway(['rm', '--all', 'example.com/top'])
    const second = await collect()
    assert.ok(second.freed.blobBytes > 29 * MB, `${second.freed.blobBytes}`)
    assert.ok((await used()) <= 257 * 4096, 'no file is left')
    assert.equal((await collect()).freed.bytes, 0)
  })

  it('keeps the children of a multi-arch image as long as a tag has them', async () => {
    const multi = await image(5, { platforms: ['linux/amd64', 'linux/arm64'] })
    const tool = await crane({ dir: folder('crane') })
    await client.push(multi, `${a.host}/example.com/multi:1`)
    await tool.run(['tag', `${a.host}/example.com/multi:1`, '2'])
    await a.seaway(['rm', 'example.com/multi:1'])
    await collect()
    for (const platform of ['linux/amd64', 'linux/arm64'])
      await tool.run([
        'pull',
        '--platform',
        platform,
        `${a.host}/example.com/multi:2`,
        folder('platform.tar')
      ])
    await a.seaway(['rm', 'example.com/multi:2'])
    assert.equal(
      (await collect()).blobs.length,
      1 + multi.manifests.length + multi.configs.length + multi.layers.length
    )
  })

  it('takes referrers with their subject', async () => {
    const subject = await image(2)
    const tool = await oras({ dir: folder('oras') })
    const name = `${a.host}/example.com/signed`
    await client.push(subject, `${name}:1`)
    const attach = [
      'attach',
      '--plain-http',
      '--no-tty',
      '--artifact-type',
      'application/x.sbom',
      `${name}:1`
    ]
    const file = join(subject.dir, 'oci-layout')
    await tool.run([...attach, '--disable-path-validation', `${file}:text/plain`])
    assert.equal((await collect()).blobs.length, 0)
    const discover = await tool.run(['discover', '--plain-http', '--format', 'json', `${name}:1`])
    assert.match(discover.stdout, /application\/x\.sbom/)
    await a.seaway(['rm', 'example.com/signed:1'])
    const { manifests } = await collect()
    assert.equal(manifests.length, 2)
    assert.ok((await used()) <= 257 * 4096, 'no file is left')
  })

  it('takes nothing from those who push meanwhile', async () => {
    // What has just been uploaded has to live until its manifest comes.
    await a.stop()
    a = await gateway('a', { env: { SEAWAY_KEEP_ROOTS: '0', SEAWAY_GC_GRACE: '30s' } })
    const shared = await image(8)
    const all = await Promise.all([1, 2, 3].map(() => image(4, { base: shared })))
    const clients = await Promise.all(all.map((_, i) => skopeo({ dir: folder(`pusher-${i}`) })))
    let pushing = true
    let collections = 0
    const collecting = (async () => {
      while (pushing) {
        await gc()
        collections++
      }
    })()
    for (let round = 0; round < 4; round++) {
      await Promise.all(
        all.map(async (one, i) => {
          const name = `example.com/busy/${i}`
          await clients[i]?.push(one, `${a.host}/${name}:${round}`)
          if (round > 0) await a.seaway(['rm', `${name}:${round - 1}`])
        })
      )
    }
    pushing = false
    await collecting
    assert.ok(collections > 1, `${collections} collections`)
    for (const [i, one] of all.entries())
      assert.deepEqual((await clients[i]?.pull(`${a.host}/example.com/busy/${i}:3`))?.diffIds, one.diffIds)
  })

  it('can be done without a gateway, and by one that was killed', async () => {
    const lone = await image(6)
    await client.push(lone, `${a.host}/example.com/lone:1`)
    await a.seaway(['rm', '--all', 'example.com/lone', 'example.com/busy/0'])
    await a.kill()
    const { freed } = await collect('--grace', '0s')
    assert.ok(freed.blobBytes > 9 * MB, `${freed.blobBytes}`)
    a = await gateway('a')
    assert.equal((await collect('--grace', '0s')).freed.bytes, 0)
    await client.pull(`${a.host}/example.com/busy/1:3`)
  })

  it('keeps published roots, which can be pulled, compared and made current again', async () => {
    await a.stop()
    a = await gateway('a', { env: { SEAWAY_KEEP_ROOTS: '3', SEAWAY_GC_GRACE: '0s' } })
    const [first, second] = [await image(3), await image(3)]
    const name = 'history.example/app'
    await client.push(first, `${a.host}/${name}:1`)
    await a.records('history.example')
    const root = await a.root('history.example')
    await client.push(second, `${a.host}/${name}:1`)
    await a.records('history.example')
    await collect()
    await a.records('history.example')
    const list = JSON.parse((await a.seaway(['history', '--json', 'history.example'])).stdout) as {
      n: number
      root: string
      changes: unknown[]
    }[]
    const older = list.find((entry) => entry.root === root)
    assert.ok(older, JSON.stringify(list))
    // The collection took the overwritten manifest out of the tree, which is a root more, and no other tags.
    assert.deepEqual(
      list.map(({ changes }) => changes),
      [[], [{ image: `${name}:1`, change: 'changed' }], []]
    )
    assert.equal(await a.root(`history.example@${older.n}`), root)
    assert.deepEqual((await client.pull(`${a.host}/ipfs/${root}/app:1`)).diffIds, first.diffIds)
    await a.seaway(['history', 'history.example', '--restore', String(older.n)])
    assert.equal(await a.root('history.example'), root)
    assert.deepEqual((await client.pull(`${a.host}/${name}:1`)).diffIds, first.diffIds)
  })
})
