/** Disks that fail in reading, writing and syncing, that give less than they were asked for, and a clock set back. */
import assert from 'node:assert/strict'
import { readdir, rm, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { useBed } from './support/bed.ts'
import { waitFor } from './support/daemon.ts'
import { type FaultyDisk, faultyDisk } from './support/faulty-disk.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { available } from './support/process.ts'
import { randomBytes } from './support/tar.ts'
import { digestOf, refusalOf, repository } from './support/wire.ts'

const MiB = 1024 * 1024
const YEAR = 365 * 24 * 3600
const bytesOf = (size: number, seed: string): Buffer => Buffer.concat([...randomBytes(size, seed)])

describe('a disk that fails', function () {
  this.timeout(180_000)
  const { folder, gateway } = useBed('faults')
  let disk: FaultyDisk

  before(async function () {
    if (!available('gcc')) this.skip()
    disk = await faultyDisk(folder('library'))
  })
  afterEach(() => disk.mend())

  const start = (name: string) => gateway(name, { env: disk.env })
  const fileOf = (one: SeawayGateway, digest: string) =>
    join(one.data, 'blobs', digest.slice(7, 9), digest.slice(7))

  /** A blob as a client gets it: all of it, or why not; bytes that are not the blob's are an error of this test. */
  async function pull(one: SeawayGateway, digest: string): Promise<'whole' | 'refused' | 'cut'> {
    const answer = await repository(one.url, 'app')
      .getBlob(digest)
      .catch(() => undefined)
    if (answer === undefined) return 'cut'
    if (answer.status !== 200) {
      const { status, code } = await refusalOf(answer)
      assert.deepEqual([status, code], [503, 'UNAVAILABLE'])
      return 'refused'
    }
    try {
      assert.equal(await digestOf(new Uint8Array(await answer.arrayBuffer())), digest)
      return 'whole'
    } catch (error) {
      // The connection was closed in the middle: no client takes that for the end.
      if (error instanceof assert.AssertionError) throw error
      return 'cut'
    }
  }

  /** The gateway is well: takes and gives an image, and has nothing half arrived. */
  async function well(one: SeawayGateway, tag: string): Promise<void> {
    const { manifest } = await repository(one.url, 'app').putImage(tag, bytesOf(MiB + 500, tag))
    assert.equal((await repository(one.url, 'app').readImage(tag))[0], manifest)
    assert.deepEqual(await readdir(join(one.data, 'incoming')), [])
  }

  for (const [what, from] of [
    ['at once', 0],
    ['in the middle', 2 * MiB]
  ] as const) {
    it(`in reading a blob ${what}: an error or a cut, never wrong bytes; the rest is served`, async () => {
      const one = await start(`read-${from}`)
      const repo = repository(one.url, 'app')
      const [bad, good] = [bytesOf(4 * MiB, `bad ${from}`), bytesOf(4 * MiB, `good ${from}`)]
      const [lost, kept] = [await repo.putBlob(bad), await repo.putBlob(good)]
      await disk.fail({ call: 'read', as: 'EIO', path: fileOf(one, lost), from })
      for (let i = 0; i < 3; i++) assert.notEqual(await pull(one, lost), 'whole')
      assert.equal(await pull(one, kept), 'whole')
      await disk.mend()
      // The gateway may have set the blob aside; then it says so, and takes it again.
      if (
        (await repo.getBlob(lost, { method: 'HEAD' })).status !== 200 ||
        (await pull(one, lost)) !== 'whole'
      )
        await repo.putBlob(bad)
      assert.equal(await pull(one, lost), 'whole')
    })
  }

  it('in that it gives less than it was asked for: all bytes are right', async () => {
    const one = await start('short')
    const repo = repository(one.url, 'app')
    await disk.fail({ call: 'read', as: 'short', path: one.data })
    const bytes = bytesOf(5 * MiB + 17, 'short')
    const digest = await repo.putBlob(bytes)
    assert.equal(await pull(one, digest), 'whole')
    const part = await repo.getBlob(digest, { headers: { range: `bytes=${MiB - 5}-${3 * MiB}` } })
    assert.equal(part.status, 206)
    assert.ok(bytes.subarray(MiB - 5, 3 * MiB + 1).equals(Buffer.from(await part.arrayBuffer())))
    // A sha512 is found by reading the file once more, and a suspended upload goes on from what is read back.
    const location = await repo.begin()
    for (const [from, to] of [
      [0, MiB + 99],
      [MiB + 99, 2 * MiB]
    ] as const)
      assert.equal((await repo.append(location, bytes.subarray(from, to))).status, 202)
    const whole = await digestOf(bytes.subarray(0, 2 * MiB + 5))
    assert.equal((await repo.finish(location, whole, bytes.subarray(2 * MiB, 2 * MiB + 5))).status, 201)
    assert.equal(await pull(one, whole), 'whole')
  })

  for (const [call, path] of [
    ['write', 'incoming/upload-'],
    ['sync', 'incoming/upload-'],
    ['sync', '/blobs/'],
    ['rename', '/blobs/']
  ] as const) {
    it(`in a ${call} on ${path}: the push is refused in plain words, dropped whole, and the gateway lives`, async () => {
      const one = await start(`${call}-${path.replaceAll('/', '')}`)
      const repo = repository(one.url, 'app')
      const bytes = bytesOf(3 * MiB, `${call} ${path}`)
      const digest = await digestOf(bytes)
      await disk.fail({ call, as: 'EIO', path })
      const refusal = await refusalOf(await repo.finish(await repo.begin(), digest, bytes))
      assert.deepEqual([refusal.status, refusal.code], [503, 'UNAVAILABLE'])
      assert.match(refusal.message, /cannot write/)
      assert.equal((await refusalOf(await repo.getBlob(digest))).code, 'BLOB_UNKNOWN')
      await disk.mend()
      await well(one, 'afterwards')
      await repo.putBlob(bytes)
      assert.equal(await pull(one, digest), 'whole')
    })
  }

  it('in a sync of the index: nothing is acknowledged until it is mended, what was acknowledged stays', async () => {
    const one = await start('index')
    const repo = repository(one.url, 'app')
    const first = await repo.putImage('first', bytesOf(2 * MiB, 'first'))
    await disk.fail({ call: 'sync', as: 'EIO', path: '/index/' })
    for (const work of [
      () => repo.putBlob(bytesOf(1000, 'x')),
      () => repo.putImage('second', bytesOf(MiB, 'y'))
    ])
      await assert.rejects(work(), /503 instead of 201.*cannot write/)
    assert.equal((await repo.readImage('first'))[0], first.manifest)
    assert.equal((await repo.getManifest('second')).status, 404)
    await disk.mend()
    await one.kill()
    const again = await start('index')
    assert.equal((await repository(again.url, 'app').readImage('first'))[0], first.manifest)
    await well(again, 'afterwards')
  })

  it('in that a file is shorter than it was, or gone: an error, never wrong bytes, and a push mends it', async () => {
    const one = await start('truncated')
    const layers = [bytesOf(3 * MiB + 7, 'shorter'), bytesOf(3 * MiB + 7, 'gone')]
    for (const layer of layers) await repository(one.url, 'app').putBlob(layer)
    const [shorter = '', gone = ''] = await Promise.all(layers.map((layer) => digestOf(layer)))
    await one.stop()
    await truncate(fileOf(one, shorter), 2 * MiB)
    await rm(fileOf(one, gone))
    const again = await start('truncated')
    const repo = repository(again.url, 'app')
    for (const digest of [shorter, gone]) assert.equal(await pull(again, digest), 'refused')
    for (const layer of layers) await repo.putBlob(layer)
    for (const digest of [shorter, gone]) assert.equal(await pull(again, digest), 'whole')
  })

  it('and a clock that is set back under gc: nothing in use goes, and what is not waits for its time', async () => {
    const env = { ...disk.env, SEAWAY_KEEP_ROOTS: '0', SEAWAY_GC_GRACE: '1s' }
    const one = await gateway('clock-gc', { env })
    const repo = repository(one.url, 'app')
    const gone = await repo.putImage('gone', bytesOf(MiB, 'gone'))
    await repo.putImage('kept', bytesOf(MiB, 'kept'))
    await one.seaway(['rm', 'app:gone'])
    await one.stop()
    await disk.clock(-YEAR)
    const back = await gateway('clock-gc', { env })
    const gc = async () =>
      JSON.parse((await back.seaway(['gc', '--json'])).stdout) as { blobs: { digest: string }[] }
    // as far as this clock can tell it was pushed in a year
    assert.deepEqual((await gc()).blobs, [])
    const fresh = await repository(back.url, 'app').putImage('fresh', bytesOf(MiB, 'fresh'))
    await gc()
    for (const tag of ['kept', 'fresh']) await repository(back.url, 'app').readImage(tag)
    await disk.mend()
    let taken: string[] = []
    await waitFor('the grace window to pass', async () => {
      taken = [...taken, ...(await gc()).blobs.map(({ digest }) => digest)]
      return taken.includes(gone.layer)
    })
    assert.ok(!taken.includes(fresh.layer))
    for (const tag of ['kept', 'fresh']) await repository(back.url, 'app').readImage(tag)
  })

  it('and a clock that is set back a year, and on again: pushes, pulls, uploads and restarts go on', async () => {
    const one = await start('clock')
    const repo = repository(one.url, 'app')
    const first = await repo.putImage('first', bytesOf(MiB, 'first'))
    const bytes = bytesOf(2 * MiB, 'upload')
    const location = await repo.begin()
    assert.equal((await repo.append(location, bytes.subarray(0, MiB))).status, 202)
    await disk.clock(-YEAR)
    // The gateway's own clock is seen in its answers, where it is read once a second.
    await waitFor('the clock to be wrong', async (signal) => {
      const { headers } = await fetch(`${one.url}/v2/`, { signal })
      return Date.parse(headers.get('date') ?? '') < Date.now() - (YEAR / 2) * 1000
    })
    assert.equal((await repo.readImage('first'))[0], first.manifest)
    const second = await repo.putImage('second', bytesOf(MiB, 'second'))
    const digest = await digestOf(bytes)
    assert.equal((await repo.finish(location, digest, bytes.subarray(MiB))).status, 201)
    await one.kill()
    const again = await start('clock')
    for (const [tag, { manifest }] of [
      ['first', first],
      ['second', second]
    ] as const)
      assert.equal((await repository(again.url, 'app').readImage(tag))[0], manifest)
    assert.equal(await pull(again, digest), 'whole')
    await disk.mend()
    await well(again, 'third')
  })
})
