import assert from 'node:assert/strict'
import { open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { digestOf } from '../../src/oci/digest.ts'
import type { SetAside } from '../../src/store/index.ts'
import { type Made, manifest, OCI_CONFIG, OCI_LAYER, ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'
import { seededBytes } from '../support/temp.ts'

const MiB = 1024 * 1024
const DOMAIN = 'verify.example.com'
const NAME = `${DOMAIN}/app`
const { signal } = new AbortController()

describe('verifying a registry', () => {
  let one: RegistryServer
  let two: RegistryServer
  let client: ReturnType<typeof ociClient>
  const layer = seededBytes(3 * MiB + 11, 31)
  let image: Made
  let layerDigest: string

  const push = async (to: RegistryServer) => {
    const push = ociClient(to)
    const config = await push.blob(NAME, JSON.stringify({ architecture: 'amd64', os: 'linux' }), OCI_CONFIG)
    const blob = await push.blob(NAME, layer)
    layerDigest = blob.digest
    image = manifest({ config, layers: [blob] })
    await push.put(NAME, image, 'latest')
  }
  const run = (restart = true, signal = new AbortController().signal) =>
    one.registry.verification.run({ rate: undefined, restart }, signal, () => {})
  const fileOf = (digest: string) => join(one.folder, 'blobs', digest.slice(7, 9), digest.slice(7))
  const get = (digest: string) => client.call('GET', `/v2/${NAME}/blobs/${digest}`)
  /** Waits for what reads began. */
  const settled = async (wanted: (entries: SetAside[]) => boolean) => {
    for (;;) {
      const entries: SetAside[] = []
      for await (const entry of one.store.quarantine.entries()) entries.push(entry)
      if (wanted(entries)) return entries
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }

  /** Both have the image; `published`: the name server says that the second one has. */
  const start = async ({ published }: { published: boolean }) => {
    await push(two)
    if (published) await two.publish(DOMAIN)
    await push(one)
  }

  beforeEach(async () => {
    two = await startRegistryServer()
    one = await startRegistryServer({ dns: two.dns })
    client = ociClient(one)
  })
  afterEach(async () => {
    await one.stop()
    await two.stop()
  })

  it('finds nothing where nothing is damaged', async () => {
    await start({ published: false })
    const report = await run()
    assert.deepEqual([report.damaged, report.bad, report.mended, report.rootless], [0, 0, 0, []])
    assert.equal(report.blobs, 3)
    assert.ok(report.blocks > 10)
    assert.ok(report.bytes > layer.length)
  })

  it('sets aside what is damaged and has it again from the peer that the domain names', async () => {
    await start({ published: true })
    for (const at of [5, 2 * MiB]) await flip(fileOf(layerDigest), at)
    const report = await run()
    assert.equal(report.damaged, 2)
    assert.equal(report.bad, 0, JSON.stringify(report.found))
    assert.equal(report.found[0]?.state, 'repaired')
    assert.ok((await get(layerDigest)).body.equals(layer))
    assert.equal((await readdir(join(one.folder, 'quarantine'))).length, 1)
    assert.deepEqual((await run()).found, [])
  })

  it('what was pushed stays pushed when it has come back from a peer', async () => {
    await start({ published: true })
    await flip(fileOf(layerDigest), 5)
    await run()
    await flip(fileOf(layerDigest), 5)
    const { found } = await run()
    assert.deepEqual(
      found.map(({ id, pushed, state }) => ({ id, pushed, state })),
      [{ id: layerDigest, pushed: true, state: 'repaired' }]
    )
  })

  it('says what stays bad when nobody has it, and repairs it when somebody does', async () => {
    await start({ published: false })
    await flip(fileOf(layerDigest), 5)
    const report = await run()
    assert.equal(report.bad, 1)
    assert.equal(report.found[0]?.id, layerDigest)
    assert.notEqual((await get(layerDigest)).status, 200)
    assert.equal((await run()).bad, 1)
    await two.publish(DOMAIN)
    await one.restart()
    assert.equal((await run()).bad, 0)
    assert.ok((await get(layerDigest)).body.equals(layer))
  })

  it('does not fail for what nothing needs any more, and forgets it when its file is deleted', async () => {
    await start({ published: false })
    await flip(fileOf(layerDigest), 5)
    assert.equal((await run()).bad, 1)
    await one.registry.images.remove({ images: [NAME], all: true, dryRun: false }, signal)
    await one.registry.collect({ dryRun: false, graceMs: 0, signal })
    const report = await run()
    assert.deepEqual([report.found, report.bad], [[], 0])
    const known = await settled(() => true)
    assert.deepEqual(
      known.map(({ id, state, outcome }) => ({ id, state, outcome })),
      [{ id: layerDigest, state: 'unneeded', outcome: 'not needed any more' }]
    )
    for (const name of await readdir(join(one.folder, 'quarantine')))
      await rm(join(one.folder, 'quarantine', name))
    await run()
    assert.deepEqual(await settled(() => true), [])
  })

  it('goes on to miss what only a kept root or a pin names, until that goes', async () => {
    await start({ published: false })
    const root = await one.registry.root(DOMAIN)
    assert.ok(root)
    await one.registry.history.note(DOMAIN, root)
    await one.registry.pins.add(root.toString(), signal)
    await flip(fileOf(layerDigest), 5)
    await one.registry.images.remove({ images: [NAME], all: true, dryRun: false }, signal)
    await one.registry.collect({ dryRun: false, graceMs: 0, signal })
    assert.equal((await run()).bad, 1)
    await one.registry.pins.remove(root.toString())
    assert.equal((await run()).bad, 1)
    for await (const [key] of one.store.records.list('published/')) await one.store.records.delete(key)
    assert.equal((await run()).bad, 0)
  })

  it('a client that meets damage gets an error, begins the repair, and gets the right bytes soon', async () => {
    await start({ published: true })
    await flip(fileOf(layerDigest), 5)
    const first = await get(layerDigest)
    assert.equal(first.status, 503)
    assert.match(first.body.toString(), /damaged/)
    const [entry] = await settled((entries) => entries[0]?.state === 'repaired')
    assert.equal(entry?.foundBy, 'read')
    const again = await get(layerDigest)
    assert.ok(again.status === 200 && again.body.equals(layer))
    const report = await run()
    assert.deepEqual([report.damaged, report.found.length, report.bad], [1, 1, 0])
  })

  it('an answer that has begun is broken off where the damage is', async () => {
    await start({ published: false })
    await flip(fileOf(layerDigest), 3 * MiB)
    await assert.rejects(get(layerDigest), /aborted|socket hang up|ECONNRESET/)
    await settled((entries) => entries.length === 1)
  })

  it('a missing file is repaired as well', async () => {
    await start({ published: true })
    await rm(fileOf(layerDigest))
    assert.equal((await get(layerDigest)).status, 503)
    await settled((entries) => entries[0]?.state === 'repaired')
    assert.ok((await get(layerDigest)).body.equals(layer))
  })

  it('goes on where it was interrupted, and begins anew when told to', async () => {
    await start({ published: false })
    const all = await run()
    const controller = new AbortController()
    let reports = 0
    await assert.rejects(
      one.registry.verification.run({ rate: 2000, restart: true }, controller.signal, () => {
        if (++reports === 5) controller.abort(new Error('interrupted'))
      })
    )
    const rest = await run(false)
    assert.equal(rest.resumed, true)
    assert.deepEqual([rest.blobs, rest.blocks], [all.blobs, all.blocks])
    assert.equal((await run(false)).resumed, false)
  })

  it('is one at a time, and keeps to its rate', async () => {
    await start({ published: false })
    const controller = new AbortController()
    const slow = one.registry.verification.run({ rate: 1, restart: true }, controller.signal, () => {})
    await assert.rejects(run(), { code: 'UNAVAILABLE' })
    controller.abort(new Error('enough'))
    await assert.rejects(slow, /enough|abort/)
    const before = performance.now()
    const { bytes } = await one.registry.verification.run(
      { rate: 6 * MiB, restart: true },
      new AbortController().signal,
      () => {}
    )
    assert.ok(performance.now() - before > (bytes / (6 * MiB)) * 1000 * 0.5)
  })

  describe('what is known by a sha512', () => {
    const bytes = seededBytes(MiB + 9, 41)
    const digest = digestOf(bytes, 'sha512')
    const key = Buffer.concat([Buffer.from('d'), Buffer.from(digest.slice(7), 'hex')])

    /** Both have an image whose layer is named by its sha512. */
    const pushBoth = async ({ published }: { published: boolean }) => {
      for (const server of [two, one]) {
        const to = ociClient(server)
        const config = await to.blob(NAME, '{}', OCI_CONFIG)
        const location = await to.begin(NAME)
        const query = `${location.includes('?') ? '&' : '?'}digest=${digest}`
        await to.expect(201, 'PUT', location + query, { body: bytes })
        const layers = [{ mediaType: OCI_LAYER, digest, size: bytes.length }]
        await to.put(NAME, manifest({ config, layers }), 'sha512')
        if (server === two && published) await two.publish(DOMAIN)
      }
    }
    const alias = async (value: string) => {
      const row = { type: 'put', key, value: Buffer.from(value.slice(7), 'hex') } as const
      await one.store.blocks.commit([], [], [row])
      await one.restart()
    }
    const right = digestOf(bytes)

    it('is right where nothing is damaged, and reading it counts', async () => {
      await pushBoth({ published: false })
      const { damaged, bytes: read } = await run()
      assert.equal(damaged, 0)
      assert.ok(read > 2 * bytes.length)
      assert.ok((await get(digest)).body.equals(bytes))
    })

    for (const [what, value] of [
      ['leads to another blob', digestOf(Buffer.from('{}'))],
      ['leads to no blob', right.replace(/.{8}$/, '00000000')]
    ] as const) {
      for (const published of [true, false]) {
        it(`is found when it ${what}, and mended ${published ? 'from a peer' : 'from what is here'}`, async () => {
          await pushBoth({ published })
          await alias(value)
          const report = await run()
          assert.deepEqual(
            report.found.map(({ id, state }) => ({ id, state })),
            [{ id: digest, state: 'repaired' }],
            JSON.stringify(report.found)
          )
          assert.match(report.found[0]?.what ?? '', new RegExp(what))
          assert.ok((await get(digest)).body.equals(bytes))
          assert.equal((await run()).damaged, 0)
        })
      }
    }

    it('is no damage where its blob is set aside, or nothing names it any more', async () => {
      await pushBoth({ published: false })
      await flip(fileOf(right), 5)
      const { found } = await run()
      assert.deepEqual(
        found.map(({ id }) => id),
        [right]
      )
      await client.expect(202, 'DELETE', `/v2/${NAME}/manifests/sha512`)
      await one.registry.collect({ dryRun: false, graceMs: 0, signal: new AbortController().signal })
      await alias(digestOf(Buffer.from('no blob')))
      assert.ok((await run()).found.every(({ id }) => id === right))
    })
  })

  it('a domain whose root cannot be had is named', async () => {
    await start({ published: false })
    const root = await one.registry.root(DOMAIN)
    assert.ok(root)
    await one.store.blocks.delete(root)
    await one.restart()
    client = ociClient(one)
    const { rootless } = await run()
    assert.equal(rootless.length, 1)
    assert.ok(rootless[0]?.startsWith(DOMAIN))
  })
})

async function flip(path: string, at: number): Promise<void> {
  const file = await open(path, 'r+')
  const byte = Buffer.alloc(1)
  await file.read(byte, 0, 1, at)
  byte[0] = (byte[0] as number) ^ 0x10
  await file.write(byte, 0, 1, at)
  await file.close()
}
