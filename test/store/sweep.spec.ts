/** Removing from the store while others write to it, and after a crash. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import type { Digest } from '../../src/oci/digest.ts'
import { createHashSet, openStore, rawCid, type Store, type Sweep } from '../../src/store/index.ts'

const KB = 1024
const signal = new AbortController().signal
const digestOf = (bytes: Uint8Array): Digest => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

describe('a sweep of the store', function () {
  this.timeout(60_000)
  let folder: string
  let store: Store
  let bodies = 0

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sw-sweep-'))
    store = await openStore({ folder, reserve: 0 })
  })
  afterEach(async () => {
    await store.close()
    await rm(folder, { recursive: true, force: true })
  })

  async function commit(bytes: Uint8Array, cached = false): Promise<Digest> {
    const writer = store.incoming.create(`body-${++bodies}`)
    await writer.append(bytes)
    return (await store.blobs.commit(writer, digestOf(bytes), { cached })).digest
  }

  async function read(digest: Digest): Promise<Buffer | undefined> {
    const blob = await store.blobs.stat(digest)
    if (blob === undefined) return undefined
    const chunks: Uint8Array[] = []
    for await (const chunk of await store.blobs.read(blob)) chunks.push(chunk as Uint8Array)
    return Buffer.concat(chunks)
  }

  /** Removes all blobs that nobody relies on, but `live`. */
  async function sweepBlobs(sweep: Sweep, live: readonly Digest[] = [], graceMs = 0) {
    const marks = createHashSet()
    for (const digest of live) marks.add(Buffer.from(digest.slice(7), 'hex'))
    const swept: Digest[] = []
    const outcome = await sweep.blobs({
      live: marks,
      garbage: true,
      graceMs,
      cacheLimit: undefined,
      dryRun: false,
      signal,
      onSwept: ({ digest }) => swept.push(digest)
    })
    const rows = await sweep.rows({
      live: marks,
      gone: outcome.gone,
      more: async () => {},
      dryRun: false,
      signal
    })
    return { swept, rows }
  }

  /** Without a comparison of 300,000 lines when it fails. */
  function same(actual: Uint8Array | undefined, expected: Uint8Array | undefined): void {
    const text = (bytes: Uint8Array | undefined) => bytes && digestOf(bytes)
    assert.equal(text(actual), text(expected))
  }

  const files = async () =>
    (await readdir(join(folder, 'blobs'), { recursive: true })).filter((name) => name.includes('/'))

  it('frees as much of the cache as it is told, of what is not in use', async () => {
    const cached: Digest[] = []
    for (let i = 0; i < 4; i++) cached.push(await commit(randomBytes(300 * KB), true))
    const [held, oldest, next, last] = cached as [Digest, Digest, Digest, Digest]
    const live = createHashSet()
    live.add(Buffer.from(held.slice(7), 'hex'))
    const swept: Digest[] = []
    const outcome = await store.sweeper.run(signal, (sweep) =>
      sweep.blobs({
        live,
        garbage: false,
        graceMs: 0,
        cacheLimit: undefined,
        cacheFree: 400 * KB,
        dryRun: false,
        signal,
        onSwept: ({ digest }) => swept.push(digest)
      })
    )
    assert.deepEqual(swept, [oldest, next])
    assert.deepEqual(outcome.evicted, { blobs: 2, bytes: 600 * KB })
    assert.equal(outcome.cachedBytes, 300 * KB)
    assert.ok((await store.blobs.stat(last)) && (await store.blobs.stat(held)))
  })

  it('tells of what stays because somebody came for it at the last moment', async () => {
    const digest = await commit(randomBytes(10 * KB))
    const live = createHashSet()
    // After the sweep has looked at it, before it takes it.
    const has = (bytes: Uint8Array) => {
      queueMicrotask(() => store.uses.touch(digest))
      return live.has(bytes)
    }
    const outcome = await store.sweeper.run(signal, (sweep) =>
      sweep.blobs({
        live: { ...live, has },
        garbage: true,
        graceMs: 0,
        cacheLimit: undefined,
        dryRun: false,
        signal,
        onSwept: () => assert.fail('it is in use')
      })
    )
    assert.deepEqual(outcome.waiting, { blobs: 1, bytes: 10 * KB })
    assert.ok(await store.blobs.stat(digest))
  })

  for (const size of [10 * KB, 300 * KB, 3000 * KB]) {
    it(`removes a blob of ${size} bytes with all its rows, and leaves another`, async () => {
      const [gone, kept] = [randomBytes(size), randomBytes(size)]
      const [a, b] = [await commit(gone), await commit(kept)]
      const { swept } = await store.sweeper.run(signal, (sweep) => sweepBlobs(sweep, [b]))
      assert.deepEqual(swept, [a])
      same(await read(a), undefined)
      same(await read(b), kept)
      const leaf = (bytes: Uint8Array) =>
        rawCid(
          createHash('sha256')
            .update(bytes.subarray(0, KB * KB))
            .digest()
        )
      assert.equal(await store.blocks.has(leaf(gone)), false)
      assert.equal(await store.blocks.find(leaf(gone)), undefined)
      assert.equal((await store.blocks.find(leaf(kept)))?.length, Math.min(size, KB * KB))
      const again = await store.sweeper.run(signal, (sweep) => sweepBlobs(sweep, [b]))
      assert.deepEqual([again.swept, again.rows.blocks.rows, again.rows.others.rows], [[], 0, 0])
      // and it can come back
      await commit(gone)
      same(await read(a), gone)
    })
  }

  it('leaves what is pushed or asked for after it has begun', async () => {
    const [first, second] = [randomBytes(300 * KB), randomBytes(300 * KB)]
    const [a, b] = [await commit(first), await commit(second)]
    await store.sweeper.run(signal, async (sweep) => {
      // Both are here already: the one is pushed again, the other was asked for by somebody who won't push it then.
      await commit(first)
      await store.blobs.stat(b)
      assert.deepEqual((await sweepBlobs(sweep)).swept, [])
    })
    same(await read(a), first)
    same(await read(b), second)
  })

  it('waits for those who had looked before it began', async () => {
    const bytes = randomBytes(300 * KB)
    const digest = await commit(bytes)
    const { promise, resolve } = Promise.withResolvers<void>()
    let written = false
    const pushing = store.uses.during(async () => {
      assert.ok(await store.blobs.stat(digest))
      await promise
      await store.records.put('named', Buffer.from(digest))
      written = true
    })
    const sweeping = store.sweeper.run(signal, async (sweep) => {
      assert.equal(written, true)
      const named = await store.records.get('named')
      return sweepBlobs(sweep, named === undefined ? [] : [Buffer.from(named).toString() as Digest])
    })
    for (let i = 0; i < 20; i++) await turn()
    resolve()
    await pushing
    assert.deepEqual((await sweeping).swept, [])
  })

  it('takes nothing from a push of the same content, whenever that comes', async () => {
    const contents = Array.from({ length: 8 }, () => randomBytes(200 * KB))
    let removed = 0
    for (let round = 0; round < 40; round++) {
      await Promise.all(contents.map((bytes) => commit(bytes)))
      const pushed: Promise<Digest>[] = []
      const { swept } = await store.sweeper.run(signal, async (sweep) => {
        const sweeping = sweepBlobs(sweep)
        for (const bytes of contents) {
          for (let i = 0; i < round; i++) await turn()
          pushed.push(commit(bytes))
        }
        return sweeping
      })
      removed += swept.length
      await Promise.all(pushed)
      for (const bytes of contents) same(await read(digestOf(bytes)), bytes)
    }
    assert.ok(removed > 0, 'nothing was ever being removed')
    assert.ok(removed < 40 * contents.length, 'everything was always gone before')
  })

  it('keeps blocks that are written again while they go', async () => {
    const blocks = Array.from({ length: 300 }, () => {
      const bytes = randomBytes(100)
      return { cid: rawCid(createHash('sha256').update(bytes).digest()), bytes }
    })
    await store.blocks.commit(blocks, [])
    await store.sweeper.run(signal, async (sweep) => {
      const sweeping = sweepBlobs(sweep)
      for (const [i, block] of blocks.entries()) {
        if (i % 3 === 0) await store.blocks.commit([block], [])
        if (i % 3 === 1) await store.blocks.put(block.cid, block.bytes)
      }
      await sweeping
    })
    for (const [i, { cid, bytes }] of blocks.entries())
      if (i % 3 < 2) assert.deepEqual(Buffer.from((await store.blocks.find(cid)) ?? []), bytes, `block ${i}`)
  })

  it('leaves at most orphans when it is cut off, which the next one takes', async () => {
    const kept = randomBytes(300 * KB)
    const b = await commit(kept)
    const bytes = randomBytes(300 * KB)
    const a = await commit(bytes)
    await store.sweeper.run(signal, (sweep) => sweepBlobs(sweep, [b]))
    // As after a crash: the row is gone, the file is not.
    await writeFile(join(folder, 'blobs', a.slice(7, 9), a.slice(7)), bytes)
    await store.close()
    store = await openStore({ folder, reserve: 0 })
    same(await read(a), undefined)
    const { rows } = await store.sweeper.run(signal, (sweep) => sweepBlobs(sweep, [b]))
    assert.deepEqual(rows.files, { count: 1, bytes: bytes.length })
    assert.equal((await files()).length, 1)
    same(await read(b), kept)
  })

  it('leaves a blob to who reads it, and takes it afterwards', async () => {
    const bytes = randomBytes(5000 * KB)
    const blob = await store.blobs.stat(await commit(bytes))
    assert.ok(blob)
    const stream = await store.blobs.read(blob)
    assert.deepEqual((await store.sweeper.run(signal, (sweep) => sweepBlobs(sweep))).swept, [])
    const chunks: Uint8Array[] = []
    for await (const chunk of stream) chunks.push(chunk as Uint8Array)
    same(Buffer.concat(chunks), bytes)
    const aborted = await store.blobs.read(blob)
    aborted.destroy()
    await new Promise((resolve) => aborted.once('close', resolve))
    assert.deepEqual((await store.sweeper.run(signal, (sweep) => sweepBlobs(sweep))).swept, [blob.digest])
    await assert.rejects(store.blobs.read(blob), /not here any more/)
  })
})
