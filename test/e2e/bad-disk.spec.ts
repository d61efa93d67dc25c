/** Disks that are full, fill up, or turn read-only, as small file systems of the test's own. */
import assert from 'node:assert/strict'
import { createWriteStream } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { useBed } from './support/bed.ts'
import { startBind } from './support/bind.ts'
import { gatewayEnv, runSeaway, type SeawayGateway } from './support/gateway.ts'
import { available } from './support/process.ts'
import { randomBytes } from './support/tar.ts'
import { mayMount, mountTmpfs, readOnly, type Tmpfs } from './support/tmpfs.ts'
import { digestOf, refusalOf, repository } from './support/wire.ts'

const MB = 1_000_000
const bytesOf = (size: number, seed: string): Buffer => Buffer.concat([...randomBytes(size, seed)])

describe('a disk that', function () {
  this.timeout(60_000)
  const { folder, keep, gateway } = useBed('disk')
  /** Kept free on these small disks; the default is 64 MB. */
  const reserve = { SEAWAY_DISK_RESERVE: '12MB' }

  before(function () {
    if (!mayMount()) this.skip()
  })

  const mount = async (name: string, size: string): Promise<Tmpfs> =>
    keep(await mountTmpfs(folder(name), size))

  /** Another program takes all space that is left; returns how to give it back. */
  async function fill(disk: Tmpfs): Promise<() => Promise<void>> {
    const path = join(disk.path, 'filler')
    await pipeline(randomBytes(1000 * MB, 'filler'), createWriteStream(path, { flags: 'a' })).catch(
      (error: Error) => {
        assert.match(error.message, /ENOSPC/)
      }
    )
    return () => rm(path)
  }

  async function refused(work: Promise<unknown>, status: number, instead = 201): Promise<string> {
    const error = await work.then(
      () => new Error('it was taken'),
      (cause: Error) => cause
    )
    assert.match(error.message, new RegExp(`: ${status} instead of ${instead}: `))
    return error.message
  }

  /** The gateway is well: pulls what it has, takes a small push, and has nothing half arrived. */
  async function well(one: SeawayGateway, tag: string): Promise<void> {
    const { manifest } = await repository(one.url, 'app').putImage(tag, bytesOf(500_000, tag))
    assert.equal((await repository(one.url, 'app').readImage(tag))[0], manifest)
    await repository(one.url, 'app').readImage('first')
    assert.deepEqual(await readdir(join(one.data, 'incoming')), [])
  }

  it('has no room for a push: 507 in plain words, dropped whole, and the gateway lives', async () => {
    const disk = await mount('small', '72m')
    const one = await gateway('one', { data: join(disk.path, 'data'), env: reserve })
    const repo = repository(one.url, 'app')
    await repo.putImage('first', bytesOf(20 * MB, 'first'))
    const large = bytesOf(60 * MB, 'large')
    const message = await refused(repo.putBlob(large), 507)
    assert.match(message, /no disk space.*[Ff]ree/)
    assert.equal((await refusalOf(await repo.getBlob(await digestOf(large)))).code, 'BLOB_UNKNOWN')
    await well(one, 'afterwards')
    await one.kill()
    await well(await gateway('one', { data: join(disk.path, 'data'), env: reserve }), 'restarted')
  })

  it('fills up in the middle of a push: 507, dropped whole; pulls go on, and pushes when there is room', async () => {
    const disk = await mount('filling', '72m')
    const one = await gateway('two', { data: join(disk.path, 'data'), env: reserve })
    const repo = repository(one.url, 'app')
    await repo.putImage('first', bytesOf(5 * MB, 'first'))
    const bytes = bytesOf(8 * MB, 'cut')
    const location = await repo.begin()
    assert.equal((await repo.append(location, bytes.subarray(0, MB))).status, 202)
    await fill(disk)
    const answer = await refusalOf(await repo.append(location, bytes.subarray(MB)))
    assert.deepEqual([answer.status, answer.code], [507, 'STORAGE_FULL'])
    // What was dropped has left some space, which goes as well.
    const free = await fill(disk)
    await repo.readImage('first')
    await refused(repo.putImage('second', bytesOf(300_000, 'second')), 507)
    await refused(repo.putImage('tiny', Buffer.from('tiny')), 507)
    assert.equal((await fetch(`${one.url}/v2/app/tags/list`)).status, 200)
    await free()
    await well(one, 'afterwards')
    await repo.putImage('second', bytes)
    await repo.readImage('second')
    await one.kill()
    await well(await gateway('two', { data: join(disk.path, 'data'), env: reserve }), 'restarted')
  })

  it('is full of what was pushed: rm and gc make room, for what is refused until then', async () => {
    const disk = await mount('collected', '96m')
    const one = await gateway('gc', {
      data: join(disk.path, 'data'),
      env: { ...reserve, SEAWAY_KEEP_ROOTS: '0' }
    })
    const repo = repository(one.url, 'app')
    await repo.putImage('first', bytesOf(MB, 'first'))
    await repo.putImage('old', bytesOf(50 * MB, 'old'))
    const layer = bytesOf(40 * MB, 'new')
    await refused(repo.putImage('new', layer), 507)
    await one.seaway(['rm', 'app:old'])
    const gc = async (...args: string[]) =>
      JSON.parse((await one.seaway(['gc', '--json', '--grace', '0s', ...args])).stdout)
    assert.ok((await gc('--dry-run')).freed.bytes > 50 * MB)
    await refused(repo.putImage('new', layer), 507)
    // what another program leaves is not enough for the index, which says so and keeps what it has
    const free = await fill(disk)
    const failed = await one.seaway(['gc', '--grace', '0s'], { allowFailure: true })
    await repo.readImage('first')
    await free()
    if (failed.status !== 0) assert.match(failed.stderr, /^seaway: [^\n]*no disk space[^\n]*\n$/)
    await gc()
    await repo.putImage('new', layer)
    await repo.readImage('new')
    await well(one, 'afterwards')
  })

  it('turns read-only under rm, gc and verify: one line, exit status 1, and nothing is lost', async () => {
    const disk = await mount('turned', '64m')
    let one = await gateway('turned', { data: join(disk.path, 'data'), env: reserve })
    await repository(one.url, 'app').putImage('first', bytesOf(2 * MB, 'first'))
    await repository(one.url, 'app').putImage('second', bytesOf(2 * MB, 'second'))
    await one.stop()
    await disk.remount('ro')
    for (const args of [['rm', 'app:second'], ['gc', '--grace', '0s'], ['verify']]) {
      const { status, stderr } = await one.seaway(args, { allowFailure: true })
      assert.equal(status, 1, args.join(' '))
      assert.match(stderr, /^seaway: [^\n]*\n$/)
    }
    await disk.remount('rw')
    one = await gateway('turned', { data: join(disk.path, 'data'), env: reserve })
    await repository(one.url, 'app').readImage('second')
    await well(one, 'afterwards')
  })

  it('has no room for what is pulled: an error, nothing kept, and the gateway lives', async function () {
    if (!available('named', 'dig', 'nsupdate', 'tsig-keygen')) this.skip()
    const bind = keep(await startBind({ dir: folder('named'), zones: { 'ships.example': [] } }))
    const publisher = await gateway('publisher', { dns: bind.server })
    const name = 'ships.example/app'
    const { layer: digest } = await repository(publisher.url, name).putImage('1', bytesOf(60 * MB, 'large'))
    await bind.setLines('ships.example', await publisher.records('ships.example'))
    const disk = await mount('puller', '64m')
    const one = await gateway('three', { data: join(disk.path, 'data'), env: reserve, dns: bind.server })
    await repository(one.url, 'app').putImage('first', bytesOf(MB, 'first'))
    const from = repository(one.url, name)
    assert.equal((await from.getManifest('1')).status, 200)
    await assert.rejects(from.blobDigest(digest))
    assert.ok(!(await blobFiles(one)).includes(digest.slice(7)))
    await well(one, 'afterwards')
  })

  it('turns read-only: 503 in plain words, pulls go on, and pushes when it is mended', async () => {
    const one = await gateway('four')
    const repo = repository(one.url, 'app')
    await repo.putImage('first', bytesOf(2 * MB, 'first'))
    const mend = await readOnly(join(one.data, 'incoming'))
    try {
      assert.match(await refused(repo.putBlob(bytesOf(MB, 'second')), 503, 202), /cannot write/)
      await repo.readImage('first')
    } finally {
      await mend()
    }
    await well(one, 'afterwards')
  })

  it('is read-only at the start: one line that says so, and exit status 1', async () => {
    const disk = await mount('ro', '16m')
    await disk.remount('ro')
    const { status, stderr } = await runSeaway(['serve'], gatewayEnv(join(disk.path, 'data')), {
      allowFailure: true,
      timeout: 20_000
    })
    assert.equal(status, 1)
    assert.match(stderr, /^seaway: [^\n]*\n$/)
    assert.ok(stderr.includes(disk.path), stderr)
  })

  async function blobFiles(one: SeawayGateway): Promise<string[]> {
    const parts = await readdir(join(one.data, 'blobs'))
    return (await Promise.all(parts.map((part) => readdir(join(one.data, 'blobs', part))))).flat()
  }
})
