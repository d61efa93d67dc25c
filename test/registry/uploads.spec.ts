import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import { createLog } from '../../src/log.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { parseRepository } from '../../src/oci/reference.ts'
import { createLinks } from '../../src/registry/links.ts'
import { createUploads, type Uploads } from '../../src/registry/uploads.ts'
import type { Store } from '../../src/store/index.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'
import { seededBytes } from '../support/temp.ts'

describe('uploads that several requests want', () => {
  const name = parseRepository('app')
  const nothing = async () => {}
  const room = { take: nothing, expect: nothing, wait: nothing, kept: nothing, release: () => {} }
  const left = { counted: nothing, release: () => {} }
  const quota = { reserve: () => room, left } as unknown as Parameters<typeof createUploads>[0]['quota']
  let server: RegistryServer
  beforeEach(async () => {
    server = await startRegistryServer()
  })
  afterEach(() => server.stop())

  const over = (store: Store): Uploads =>
    createUploads({ store, links: createLinks(store.records), quota, log: createLog('silent') })
  async function* body(...chunks: Uint8Array[]) {
    yield* chunks
  }

  for (const algorithm of ['sha256', 'sha512'] as const) {
    it(`are nobody else's while they become a blob (${algorithm})`, async () => {
      const { store } = server
      const bytes = seededBytes(300_000, 1)
      const digest: Digest = `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`
      let uploads: Uploads | undefined
      let id = ''
      const others: unknown[] = []
      // Others come at the moment that the body is whole and not yet a blob.
      const commit: Store['blobs']['commit'] = async (...args) => {
        for (const work of [
          () => uploads?.append(name, id, body(seededBytes(10, 2)), undefined),
          () => uploads?.finish(name, id, body(), undefined, digestOf(new Uint8Array())),
          () => uploads?.cancel(name, id)
        ])
          others.push(await work()?.catch((error: { status?: number }) => error.status))
        return store.blobs.commit(...args)
      }
      uploads = over({ ...store, blobs: { ...store.blobs, commit } })
      id = (await uploads.start(name)).id
      const blob = await uploads.finish(name, id, body(bytes), undefined, digest)
      assert.deepEqual(others, [409, 409, 409])
      const kept: Uint8Array[] = []
      for await (const chunk of await store.blobs.read(blob)) kept.push(chunk as Uint8Array)
      assert.ok(Buffer.concat(kept).equals(bytes))
      await assert.rejects(uploads.status(name, id), { code: 'BLOB_UPLOAD_UNKNOWN' })
    })
  }

  it('are one session when requests come together after a restart', async () => {
    const { store } = server
    const before = over(store)
    const { id } = await before.start(name)
    await before.append(name, id, body(seededBytes(300_000, 1)), undefined)
    await before.stop()
    const uploads = over(store)
    const results = await Promise.allSettled([
      uploads.append(name, id, body(seededBytes(100_000, 2)), { start: 300_000, end: 399_999 }),
      uploads.append(name, id, body(seededBytes(100_000, 2)), { start: 300_000, end: 399_999 })
    ])
    assert.deepEqual(results.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
    assert.equal((await uploads.status(name, id)).size, 400_000)
    const whole = Buffer.concat([seededBytes(300_000, 1), seededBytes(100_000, 2)])
    await uploads.finish(name, id, body(), undefined, digestOf(whole))
  })

  it('hold no file open when somebody only asks where they stand', async function () {
    const { store } = server
    const opened = async () => {
      const names = await readdir('/proc/self/fd').catch(() => this.skip())
      const links = await Promise.all(names.map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')))
      return links.filter((path) => path.startsWith(join(server.folder, 'incoming')))
    }
    const before = over(store)
    const [first, second] = [seededBytes(1_500_000, 1), seededBytes(1_500_000, 2)]
    const { id } = await before.start(name)
    await before.append(name, id, body(first), undefined)
    await before.stop()
    const uploads = over(store)
    assert.equal((await uploads.status(name, id)).size, first.length)
    assert.deepEqual(await opened(), [])
    await uploads.append(name, id, body(second), undefined)
    assert.deepEqual(await opened(), [])
    const whole = Buffer.concat([first, second])
    await uploads.finish(name, id, body(), undefined, digestOf(whole))
    assert.deepEqual(await opened(), [])
  })

  it('do not expire while they are taken up again', async () => {
    const { store } = server
    const before = over(store)
    const bytes = seededBytes(300_000, 1)
    const { id } = await before.start(name)
    await before.append(name, id, body(bytes), undefined)
    await before.stop()
    const read = Promise.withResolvers<void>()
    const uploads = over({
      ...store,
      incoming: {
        ...store.incoming,
        resume: async (file) => {
          await read.promise
          return store.incoming.resume(file)
        }
      }
    })
    const status = uploads.status(name, id)
    assert.equal(await uploads.expire(-1000), 0)
    read.resolve()
    assert.equal((await status).size, bytes.length)
    await uploads.finish(name, id, body(), undefined, digestOf(bytes))
  })
})
