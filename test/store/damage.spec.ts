import assert from 'node:assert/strict'
import { chmod, mkdir, open, readdir, readFile, rm, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import {
  type BlobInfo,
  type Damage,
  openStore,
  rawCid,
  type SetAside,
  type Store
} from '../../src/store/index.ts'
import { seededBytes, tempFolder } from '../support/temp.ts'

const MiB = 1024 * 1024
const forever = new AbortController().signal
const check = { signal: forever, foundBy: 'verify' } as const

describe('damage in the store', () => {
  const folder = tempFolder()
  let store: Store
  let told: Damage[] = []
  let counter = 0

  const openAgain = async () => {
    store = await openStore({ folder: folder.path, reserve: 0 })
    store.onDamage((damage) => told.push(damage))
  }
  const put = async (bytes: Uint8Array, digest: Digest = digestOf(bytes)): Promise<BlobInfo> => {
    const writer = store.incoming.create(`test-${counter++}`)
    await writer.append(bytes)
    return store.blobs.commit(writer, digest)
  }
  const fileOf = ({ digest }: BlobInfo) => join(folder.path, 'blobs', digest.slice(7, 9), digest.slice(7))
  const readAll = async (blob: BlobInfo, range?: { start: number; end: number }) => {
    const chunks: Buffer[] = []
    for await (const chunk of await store.blobs.read(blob, range)) chunks.push(chunk as Buffer)
    return Buffer.concat(chunks)
  }
  /** Changes rows while nobody has the store open. */
  const inIndex = async (change: (db: ClassicLevel<Uint8Array, Uint8Array>) => Promise<void>) => {
    await store.close()
    const db = new ClassicLevel<Uint8Array, Uint8Array>(join(folder.path, 'index'), {
      keyEncoding: 'view',
      valueEncoding: 'view'
    })
    await change(db)
    await db.close()
    await openAgain()
  }
  const flipRow = (key: Uint8Array) =>
    inIndex(async (db) => {
      const value = Buffer.from((await db.get(key)) as Uint8Array)
      value[value.length >> 1] = (value[value.length >> 1] as number) ^ 4
      await db.put(key, value)
    })
  const setAside = async () => readdir(join(folder.path, 'quarantine')).catch((): string[] => [])

  beforeEach(async () => {
    told = []
    await openAgain()
  })
  afterEach(async () => {
    await store.close()
    await rm(join(folder.path, 'quarantine'), { recursive: true, force: true })
  })
  after(() => folder.remove())

  it('a flipped byte never reaches a reader, and the parts without one do', async () => {
    const bytes = seededBytes(4 * MiB + 77, 1)
    const blob = await put(bytes)
    assert.ok((await readAll(blob)).equals(bytes))
    await flip(fileOf(blob), 2 * MiB + 5)
    await assert.rejects(readAll(blob), { code: 'UNAVAILABLE', message: /damaged.*part at 2097152/ })
    await assert.rejects(readAll(blob, { start: 3 * MiB - 1, end: 3 * MiB }), { code: 'UNAVAILABLE' })
    const sound = { start: 3 * MiB, end: bytes.length - 1 }
    assert.ok((await readAll(blob, sound)).equals(bytes.subarray(3 * MiB)))
    assert.deepEqual(
      [...new Set(told.map((damage) => damage.kind === 'blob' && damage.digest))],
      [blob.digest]
    )
  })

  it('is seen before the first byte of an answer, where it lies there', async () => {
    const blob = await put(seededBytes(3 * MiB, 2))
    await flip(fileOf(blob), 0)
    await assert.rejects(store.blobs.read(blob), { code: 'UNAVAILABLE' })
  })

  it('a byte that is flipped while the file is being read is not given', async () => {
    const bytes = seededBytes(8 * MiB, 3)
    const blob = await put(bytes)
    const stream = await store.blobs.read(blob)
    const got: Buffer[] = []
    await assert.rejects(
      async () => {
        for await (const chunk of stream) {
          if (got.length === 0) await flip(fileOf(blob), 6 * MiB + 1)
          got.push(chunk as Buffer)
        }
      },
      { code: 'UNAVAILABLE' }
    )
    const all = Buffer.concat(got)
    assert.ok(all.length <= 6 * MiB && all.equals(bytes.subarray(0, all.length)))
  })

  it('a file whose metadata changes while it is read is checked again and given', async () => {
    const bytes = seededBytes(5 * MiB, 5)
    const blob = await put(bytes)
    const stream = await store.blobs.read(blob)
    const got: Buffer[] = []
    for await (const chunk of stream) {
      const file = await open(fileOf(blob), 'r+')
      if (got.length === 3) await file.utimes(new Date(0), new Date(0))
      await file.close()
      got.push(chunk as Buffer)
    }
    assert.ok(Buffer.concat(got).equals(bytes))
    assert.deepEqual(told, [])
  })

  it('a short, a missing and an unreadable file are errors that say so, and are told of', async () => {
    const [short, missing, unreadable] = await Promise.all([6, 7, 8].map((i) => put(seededBytes(2 * MiB, i))))
    assert.ok(short && missing && unreadable)
    await truncate(fileOf(short), MiB)
    await rm(fileOf(missing))
    await rm(fileOf(unreadable))
    await mkdir(fileOf(unreadable))
    await assert.rejects(readAll(short), { code: 'UNAVAILABLE', message: /1048576 bytes instead of 2097152/ })
    await assert.rejects(readAll(missing), { code: 'UNAVAILABLE', message: /missing/ })
    await assert.rejects(readAll(unreadable), { code: 'UNAVAILABLE' })
    assert.deepEqual(
      new Set(told.map((damage) => damage.kind === 'blob' && damage.digest)),
      new Set([short.digest, missing.digest, unreadable.digest])
    )
    for (const { digest } of [short, missing, unreadable]) {
      assert.equal((await store.integrity.blob(digest, check)).kind, 'aside')
      assert.equal(await store.blobs.stat(digest), undefined)
    }
    assert.equal((await setAside()).length, 2)
  })

  it('sets a bad blob aside with all its bytes, and says which parts are bad', async () => {
    const bytes = seededBytes(5 * MiB, 9)
    const blob = await put(bytes)
    for (const at of [10, 3 * MiB, 5 * MiB - 1]) await flip(fileOf(blob), at)
    const damaged = await readFile(fileOf(blob))
    const verdict = await store.integrity.blob(blob.digest, check)
    assert.ok(verdict.kind === 'aside')
    assert.deepEqual(verdict.entry.pieces, [0, 3 * MiB, 4 * MiB])
    assert.equal(verdict.entry.damaged, 3)
    assert.equal(verdict.entry.pushed, true)
    assert.equal(await store.blobs.stat(blob.digest), undefined)
    assert.equal(
      await store.blocks.find(rawCid(Buffer.from(digestOf(bytes.subarray(0, MiB)).slice(7), 'hex'))),
      undefined
    )
    assert.ok((await readFile(join(folder.path, 'quarantine', verdict.entry.name))).equals(damaged))
    assert.equal((await store.integrity.blob(blob.digest, check)).kind, 'gone')
    await put(bytes)
    assert.ok((await readAll(blob)).equals(bytes))
    assert.equal((await store.integrity.blob(blob.digest, check)).kind, 'sound')
  })

  it('tells every bad part once the blob is back, though its node was bad for a part of the check', async () => {
    const bytes = seededBytes(4 * MiB + 3, 19)
    const blob = await put(bytes)
    const node = { cid: blob.cid, bytes: (await store.blocks.find(blob.cid)) as Uint8Array }
    await flipRow(Buffer.concat([Buffer.from('k'), blob.cid.multihash.bytes]))
    for (const at of [10, 3 * MiB]) await flip(fileOf(blob), at)
    let read = 0
    const pace = async (length: number) => {
      read += length
      if (read === 2 * MiB) await store.blocks.commit([node], [])
    }
    const verdict = await store.integrity.blob(blob.digest, { ...check, pace })
    assert.ok(verdict.kind === 'aside')
    assert.deepEqual(verdict.entry.pieces, [3 * MiB])
    await put(bytes)
    await store.integrity.restored(verdict.entry)
    const known = new Map<string, SetAside>()
    for await (const entry of store.quarantine.entries()) known.set(entry.name, entry)
    const { pieces, damaged } = known.get(verdict.entry.name) ?? assert.fail('its record is gone')
    assert.deepEqual([pieces, damaged], [[0, 3 * MiB], 2])
  })

  it('a push does not wait for a check of the same content, whatever that waits for', async () => {
    const bytes = seededBytes(3 * MiB, 20)
    const blob = await put(bytes)
    let pushed: BlobInfo | undefined
    const pace = async () => void (pushed ??= await put(bytes))
    assert.equal((await store.integrity.blob(blob.digest, { ...check, pace })).kind, 'sound')
    assert.equal(pushed?.digest, blob.digest)
  })

  it('a good file that replaces a damaged one during its check stays', async () => {
    const bytes = seededBytes(3 * MiB, 21)
    const blob = await put(bytes)
    await truncate(fileOf(blob), 2 * MiB)
    let pushed: BlobInfo | undefined
    const pace = async () => void (pushed ??= await put(bytes))
    assert.equal((await store.integrity.blob(blob.digest, { ...check, pace })).kind, 'sound')
    assert.deepEqual(await setAside(), [])
    assert.ok((await readAll(blob)).equals(bytes))
  })

  it('a file that always changes during its check is checked all the same', async () => {
    const blob = await put(seededBytes(2 * MiB, 22))
    await flip(fileOf(blob), MiB)
    const pace = async () => chmod(fileOf(blob), 0o600)
    assert.equal((await store.integrity.blob(blob.digest, { ...check, pace })).kind, 'aside')
  })

  it('a push of the same content replaces a damaged file', async () => {
    const bytes = seededBytes(3 * MiB, 10)
    const blob = await put(bytes)
    await flip(fileOf(blob), MiB)
    await put(bytes)
    assert.ok((await readAll(blob)).equals(bytes))
  })

  it('a move that a crash prevented is made up for', async () => {
    const bytes = seededBytes(2 * MiB, 11)
    const blob = await put(bytes)
    await flip(fileOf(blob), 1)
    const copy = await readFile(fileOf(blob))
    const verdict = await store.integrity.blob(blob.digest, check)
    assert.ok(verdict.kind === 'aside')
    await store.close()
    await rm(join(folder.path, 'quarantine', verdict.entry.name))
    const file = await open(fileOf(blob), 'w')
    await file.writeFile(copy)
    await file.close()
    await openAgain()
    assert.deepEqual(await setAside(), [verdict.entry.name])
  })

  it('small blobs in the index are checked before they are given, and set aside', async () => {
    const bytes = seededBytes(5000, 12)
    const blob = await put(bytes)
    await flipRow(
      Buffer.concat([Buffer.from('k'), rawCid(Buffer.from(blob.digest.slice(7), 'hex')).multihash.bytes])
    )
    await assert.rejects(store.blobs.read(blob), { code: 'UNAVAILABLE' })
    await assert.rejects(store.blobs.readSmall(blob, 10_000), { code: 'UNAVAILABLE' })
    assert.equal(await store.blocks.find(blob.cid), undefined)
    assert.equal((await setAside()).length, 1)
    assert.equal(await store.blobs.stat(blob.digest), undefined)
    assert.equal((await store.integrity.blob(blob.digest, check)).kind, 'gone')
    await put(bytes)
    assert.ok((await readAll(blob)).equals(bytes))
  })

  it('a small block that rotted is not there, is copied aside, and is replaced by the right one', async () => {
    const bytes = seededBytes(900, 13)
    const cid = rawCid(Buffer.from(digestOf(bytes).slice(7), 'hex'))
    await store.blocks.commit([{ cid, bytes }], [])
    await flipRow(Buffer.concat([Buffer.from('k'), cid.multihash.bytes]))
    assert.equal(await store.blocks.find(cid), undefined)
    assert.equal(await store.blocks.has(cid), false)
    assert.ok(told[0]?.kind === 'aside' && told[0].entry.id === cid.toString())
    assert.equal((await setAside()).length, 1)
    assert.equal((await store.integrity.block(cid.multihash.bytes, check)).kind, 'aside')
    await store.blocks.commit([{ cid, bytes }], [])
    assert.ok(Buffer.from((await store.blocks.find(cid)) ?? []).equals(bytes))
    assert.equal(await store.blocks.has(cid), true)
  })

  it('nodes, leaf rows and the row of a blob whose bytes are right are worked out again', async () => {
    const bytes = seededBytes(3 * MiB + 5, 14)
    const blob = await put(bytes)
    const leaf = rawCid(Buffer.from(digestOf(bytes.subarray(MiB, 2 * MiB)).slice(7), 'hex'))
    const sha256 = Buffer.from(blob.digest.slice(7), 'hex')
    const rows = [
      Buffer.concat([Buffer.from('k'), blob.cid.multihash.bytes]),
      Buffer.concat([Buffer.from('l'), leaf.multihash.bytes, sha256]),
      Buffer.concat([Buffer.from('b'), sha256])
    ]
    for (const row of rows) {
      await flipRow(row)
      assert.equal((await store.integrity.blob(blob.digest, check)).kind, 'mended')
      assert.equal((await store.integrity.blob(blob.digest, check)).kind, 'sound')
      assert.ok((await readAll(blob)).equals(bytes))
      assert.ok(Buffer.from((await store.blocks.find(leaf)) ?? []).equals(bytes.subarray(MiB, 2 * MiB)))
    }
    // the node's own bytes were set aside when they were met
    assert.deepEqual(
      (await setAside()).map((name) => name.slice(0, 6)),
      ['block-']
    )
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
