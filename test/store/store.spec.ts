import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdir, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MemoryBlockstore } from 'blockstore-core'
import { importBytes } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { balanced } from 'ipfs-unixfs-importer/layout'
import type { CID } from 'multiformats/cid'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { type BlobInfo, openStore, type Store } from '../../src/store/index.ts'
import { seededBytes, tempFolder } from '../support/temp.ts'

const MiB = 1024 * 1024

/** What the library makes of the same bytes with the profile unixfs-v1-2025. */
async function libraryImport(bytes: Uint8Array): Promise<{ root: CID; blocks: MemoryBlockstore }> {
  const blocks = new MemoryBlockstore()
  const { cid } = await importBytes(bytes, blocks, {
    cidVersion: 1,
    rawLeaves: true,
    chunker: fixedSize({ chunkSize: MiB }),
    layout: balanced({ maxChildrenPerNode: 1024 })
  })
  return { root: cid, blocks }
}

async function readAll(
  store: Store,
  blob: BlobInfo,
  range?: { start: number; end: number }
): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of await store.blobs.read(blob, range)) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

describe('store', () => {
  const folder = tempFolder()
  let store: Store
  let counter = 0

  const open = () => openStore({ folder: folder.path, reserve: 0 })

  async function put(bytes: Uint8Array, digest: Digest = digestOf(bytes), piece = 65_536): Promise<BlobInfo> {
    const writer = store.incoming.create(`test-${counter++}`)
    for (let at = 0; at < bytes.length; at += piece) await writer.append(bytes.subarray(at, at + piece))
    return store.blobs.commit(writer, digest)
  }

  before(async () => {
    store = await open()
  })
  after(async () => {
    await store.close()
    await folder.remove()
  })

  for (const size of [
    0,
    1,
    1000,
    128 * 1024,
    128 * 1024 + 1,
    MiB - 1,
    MiB,
    MiB + 1,
    5 * MiB,
    7 * MiB + 123
  ]) {
    it(`keeps ${size} bytes under the digest and CID that they have everywhere`, async () => {
      const bytes = seededBytes(size, size + 1)
      const blob = await put(bytes, undefined, 100_003)
      const { root } = await libraryImport(bytes)
      assert.equal(blob.cid.toString(), root.toString())
      assert.equal(blob.size, size)
      assert.deepEqual(await store.blobs.stat(digestOf(bytes)), blob)
      assert.ok((await readAll(store, blob)).equals(bytes))
      if (size > 10)
        assert.ok(
          (await readAll(store, blob, { start: 3, end: size - 4 })).equals(bytes.subarray(3, size - 3))
        )
    })
  }

  it('a DAG of more than 1024 leaves has the shape that the library gives it', async function () {
    this.timeout(60_000)
    const leaf = seededBytes(MiB, 77)
    const hash = createHash('sha256')
    const writer = store.incoming.create('deep')
    for (let i = 0; i < 1026; i++) {
      hash.update(leaf)
      await writer.append(leaf)
    }
    const blob = await store.blobs.commit(writer, `sha256:${hash.digest('hex')}`)
    const { importer } = await import('ipfs-unixfs-importer')
    const repeated = (async function* () {
      for (let i = 0; i < 1026; i++) yield leaf
    })()
    let root: CID | undefined
    for await (const entry of importer([{ path: 'x', content: repeated }], new MemoryBlockstore(), {
      cidVersion: 1,
      rawLeaves: true,
      chunker: fixedSize({ chunkSize: MiB }),
      layout: balanced({ maxChildrenPerNode: 1024 })
    })) {
      root = entry.cid
    }
    assert.equal(blob.cid.toString(), root?.toString())
  })

  it('serves every block of a blob out of its file, the same as the library makes them', async () => {
    const bytes = seededBytes(3 * MiB + 17, 5)
    await put(bytes)
    const { blocks } = await libraryImport(bytes)
    let count = 0
    for await (const { cid, bytes: pieces } of blocks.getAll()) {
      const expected: Uint8Array[] = []
      for await (const piece of pieces) expected.push(piece)
      const found = await store.blocks.find(cid)
      assert.ok(found !== undefined && Buffer.concat(expected).equals(found), `block ${cid}`)
      assert.equal(await store.blocks.has(cid), true)
      count++
    }
    assert.equal(count, 5)
  })

  it('a body whose digest is wrong leaves nothing behind', async () => {
    const bytes = seededBytes(2 * MiB, 6)
    const wrong = digestOf(seededBytes(10, 1))
    const before = await readdir(folder.path, { recursive: true })
    await assert.rejects(put(bytes, wrong), { code: 'DIGEST_INVALID' })
    assert.equal(await store.blobs.stat(digestOf(bytes)), undefined)
    assert.equal(await store.blobs.stat(wrong), undefined)
    const files = (names: string[]) => names.filter((name) => !name.startsWith('index/')).sort()
    assert.deepEqual(files(await readdir(folder.path, { recursive: true })), files(before))
  })

  it('keeps the same bytes once, however often and under whichever digest they come', async () => {
    const bytes = seededBytes(2 * MiB, 8)
    const sha512 = digestOf(bytes, 'sha512')
    const [a, b, c] = await Promise.all([put(bytes), put(bytes), put(bytes, sha512)])
    assert.deepEqual(a, b)
    assert.deepEqual(a, c)
    assert.deepEqual(await store.blobs.stat(sha512), a)
    const blobs = await readdir(join(folder.path, 'blobs', a.digest.slice(7, 9)))
    assert.equal(blobs.filter((name) => a.digest.endsWith(name)).length, 1)
  })

  it('a body goes on after a restart where its file ends', async () => {
    const bytes = seededBytes(3 * MiB + 500, 9)
    const cut = MiB + 300_000
    const first = store.incoming.create('resumed')
    await first.append(bytes.subarray(0, cut))
    await first.suspend()
    await store.close()
    store = await open()
    const second = await store.incoming.resume('resumed')
    assert.equal(second.size, cut)
    await second.append(bytes.subarray(cut))
    const blob = await store.blobs.commit(second, digestOf(bytes))
    assert.ok((await readAll(store, blob)).equals(bytes))
    await assert.rejects(store.incoming.resume('resumed'), { code: 'ENOENT' })
  })

  it('a body suspended between its chunks is the same as one that came at once', async () => {
    const bytes = seededBytes(2 * MiB + 99, 10)
    const writer = store.incoming.create('chunks')
    for (let at = 0; at < bytes.length; at += 300_007) {
      await writer.append(bytes.subarray(at, at + 300_007))
      await writer.suspend()
    }
    const blob = await store.blobs.commit(writer, digestOf(bytes))
    assert.equal(blob.cid.toString(), (await libraryImport(bytes)).root.toString())
  })

  it('leaves of other chunkings are served out of the same file', async () => {
    const bytes = seededBytes(MiB + 5, 11)
    const inside = bytes.subarray(1000, 3000)
    const prefix = Buffer.from('in front')
    const suffix = Buffer.from('behind')
    const block = Buffer.concat([prefix, inside, suffix])
    const { rawCid } = await import('../../src/store/index.ts')
    const cid = rawCid(createHash('sha256').update(block).digest())
    const writer = store.incoming.create('foreign')
    await writer.append(bytes)
    writer.addForeignLeaf({ multihash: cid.multihash.bytes, offset: 1000, length: 2000, prefix, suffix })
    await store.blobs.commit(writer, digestOf(bytes))
    assert.ok(block.equals((await store.blocks.find(cid)) ?? Buffer.alloc(0)))
  })

  it('a file that is too short is an error, never wrong bytes, and the next push mends it', async () => {
    const bytes = seededBytes(2 * MiB + 1, 12)
    const blob = await put(bytes)
    const path = join(folder.path, 'blobs', blob.digest.slice(7, 9), blob.digest.slice(7))
    await truncate(path, MiB)
    await assert.rejects(store.blobs.read(blob), { code: 'UNAVAILABLE' })
    assert.equal((await store.blocks.find(blob.cid)) !== undefined, true)
    await put(bytes)
    assert.ok((await readAll(store, blob)).equals(bytes))
  })

  it('refuses what would go below the reserve, and drops it whole', async () => {
    const other = tempFolder()
    const full = await openStore({ folder: other.path, reserve: Number.MAX_SAFE_INTEGER })
    const writer = full.incoming.create('too-much')
    await assert.rejects(writer.append(seededBytes(10, 1)), { code: 'STORAGE_FULL', status: 507 })
    await writer.abort()
    await full.close()
    await other.remove()
  })

  it('a staged blob is one when its rows are written, in one step with something else', async () => {
    const bytes = seededBytes(1000, 21)
    const digest = digestOf(bytes, 'sha512')
    const { info, rows } = await store.blobs.stage(bytes, digest)
    assert.equal(await store.blobs.stat(digest), undefined)
    await store.blocks.commit([], [['beside', bytes.subarray(0, 1)]], rows)
    assert.equal((await store.blobs.stat(digest))?.cid.toString(), info.cid.toString())
    assert.ok((await readAll(store, info)).equals(bytes))
    // Pushed again, it is only noted that it was: its own row, and that it is no longer just cached.
    const again = (await store.blobs.stage(bytes, digest)).rows
    assert.deepEqual(
      again.map(({ type, key }) => [type, String.fromCharCode(key[0] ?? 0)]),
      [
        ['put', 'b'],
        ['del', 'c']
      ]
    )
    await store.blocks.commit([], [], again)
    assert.ok((await readAll(store, info)).equals(bytes))
  })

  it('a second owner of the folder is refused, and told why', async () => {
    await assert.rejects(open(), { code: 'UNAVAILABLE', message: /another seaway process/ })
  })

  it('records are durable, ordered and deletable', async () => {
    for (const key of ['a/2', 'a/1', 'b/1']) await store.records.put(key, Buffer.from(key))
    await store.close()
    store = await open()
    const listed: string[] = []
    for await (const [key, value] of store.records.list('a/')) {
      assert.equal(Buffer.from(value).toString(), key)
      listed.push(key)
    }
    assert.deepEqual(listed, ['a/1', 'a/2'])
    await store.records.delete('a/1')
    assert.equal(await store.records.get('a/1'), undefined)
    assert.notEqual(await store.records.get('a/2'), undefined)
  })

  it('bodies that nobody finished are listed with their size', async () => {
    await writeFile(store.incoming.path('left'), Buffer.alloc(5))
    const left = (await store.incoming.list()).find(({ id }) => id === 'left')
    assert.equal(left?.size, 5)
    assert.ok(Math.abs((left?.changed ?? 0) - (await stat(store.incoming.path('left'))).mtimeMs) < 1)
  })
})
