/** Archives that are written, and that go from one place into another: checked, renamed, and nothing half-done left. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { createArchiveSink, pushArchive } from '../../src/move/archive.ts'
import { parseCompression } from '../../src/move/compress.ts'
import { outputAt } from '../../src/move/files.ts'
import { createLayoutStore } from '../../src/move/layout.ts'
import { createLayerMemory } from '../../src/move/memory.ts'
import { type ThroughImage, type ThroughTar, throughTar } from '../../src/move/through-tar.ts'
import type { BlobId } from '../../src/move/types.ts'
import { digestOf } from '../../src/oci/digest.ts'
import { dockerArchive } from '../support/docker-archive.ts'
import { tempFolder } from '../support/temp.ts'

describe('archives', () => {
  const temp = tempFolder()
  const file = (name: string) => join(temp.path, name)
  const signal = new AbortController().signal
  after(() => temp.remove())

  async function* chunks(bytes: Uint8Array) {
    for (let at = 0; at < bytes.length; at += 50_000) yield bytes.subarray(at, at + 50_000)
  }

  /** Passes an archive on into a file. */
  async function pass(bytes: Uint8Array, to: string, given: Partial<ThroughTar> = {}) {
    const bars: string[] = []
    const report: ThroughTar['report'] = {
      note: () => undefined,
      blob: (name, total) => ({ add: () => undefined, done: () => void bars.push(`${name} ${total}`) })
    }
    let images: readonly ThroughImage[] = []
    const options = {
      tar: chunks(bytes),
      name: 'a.tar',
      image: undefined,
      as: undefined,
      platform: undefined
    }
    const tar = throughTar({ ...options, report, ...given }, (found) => {
      images = found
    })
    await createArchiveSink(file(to), tar, signal)
    return { images, bars }
  }
  const listed = async (name: string) =>
    JSON.parse(execFileSync('tar', ['-xOf', file(name), 'manifest.json']).toString()) as {
      RepoTags: string[]
      Config: string
    }[]

  it('go through with all that they hold, each layer told of', async () => {
    const { bytes, id } = await dockerArchive('example.com/app:1')
    const { images, bars } = await pass(bytes, 'same.tar')
    assert.deepEqual(images, [{ was: 'example.com/app:1', name: 'example.com/app:1', id }])
    assert.equal(bars.length, 2)
    const again = await pass(await readFile(file('same.tar')), 'again.tar', { as: 'team/other:2' })
    assert.deepEqual(again.images, [{ was: 'example.com/app:1', name: 'team/other:2', id }])
    assert.deepEqual((await listed('again.tar'))[0]?.RepoTags, ['team/other:2'])
    // the same bytes each time
    await pass(bytes, 'once.tar', { as: 'team/other:2' })
    assert.deepEqual(await readFile(file('once.tar')), await readFile(file('again.tar')))
  })

  it('end with an error, and leave no file, where something is missing or wrong', async () => {
    const { bytes } = await dockerArchive('app:1')
    const wrong = await dockerArchive('wrong:1', { wrong: true })
    const packed = await dockerArchive('packed:1', { packed: true })
    await pass(packed.bytes, 'packed.tar')
    const cases: [Uint8Array, Partial<ThroughTar>, RegExp][] = [
      [bytes.subarray(0, 150_000), {}, /a\.tar is cut short/],
      [bytes.subarray(0, bytes.length - 3072), {}, /a\.tar (is cut short|holds no list of images)/],
      [Buffer.alloc(0), {}, /holds no list of images/],
      [Buffer.from('no tar at all'.repeat(100)), {}, /it is no tar/],
      [wrong.bytes, {}, /is damaged: the layer sha256:[0-9a-f]{64} of wrong:1 is sha256:/],
      [bytes, { image: 'app:2' }, /has no 'app:2'/],
      [
        bytes,
        { platform: { os: 'linux', architecture: 'arm64' } },
        /'app:1' is for linux\/amd64, not linux\/arm64/
      ]
    ]
    const before = await readdir(temp.path)
    for (const [content, given, says] of cases) {
      await assert.rejects(pass(content, 'none.tar', given), says)
      assert.deepEqual(await readdir(temp.path), before)
    }
  })

  it('replace files, and neither folders nor pipes', async () => {
    await mkdir(file('folder'))
    await assert.rejects(createArchiveSink(file('folder'), chunks(Buffer.alloc(9)), signal), {
      message: `${file('folder')} is a folder: name a file in it`
    })
    assert.deepEqual(await readdir(file('folder')), [])
    assert.deepEqual(await outputAt('/dev/full'), { path: '/dev/full', replaced: false })

    execFileSync('mkfifo', [file('pipe')])
    const read = readFile(file('pipe'))
    await createArchiveSink(file('pipe'), chunks(Buffer.from('what is written')), signal)
    assert.equal((await read).toString(), 'what is written')
    assert.ok((await stat(file('pipe'))).isFIFO())
  })

  it('a layout where no folder can be made is refused', async () => {
    const blob = { digest: `sha256:${'0'.repeat(64)}`, size: 1 } as const
    const layout = createLayoutStore('/proc/nowhere/layout')
    await assert.rejects(
      layout.write(blob, () => chunks(Buffer.alloc(1)), signal),
      /^MoveError: oci:\/proc\/nowhere\/layout/
    )
  })

  it('an archive that was there stays until the new one is whole', async () => {
    await writeFile(file('old.tar'), 'old')
    const { bytes } = await dockerArchive('app:1')
    await assert.rejects(pass(bytes.subarray(0, 100_000), 'old.tar'))
    assert.equal(await readFile(file('old.tar'), 'utf8'), 'old')
  })

  it('go into a layout: what it has is not compressed again, and what only begins like that is no such thing', async () => {
    const store = createLayoutStore(file('layout'))
    const push = async (from: string, bases: readonly string[]) => {
      await writeFile(file(from), (await dockerArchive('app:1', { bases })).bytes)
      const { delivered, moved } = await pushArchive({
        path: file(from),
        image: undefined,
        first: undefined,
        platform: undefined,
        to: () => ({ store, tag: from, shown: from }),
        compression: parseCompression('gzip'),
        memory: createLayerMemory(file('memory')),
        report: { note: () => undefined, blob: () => ({ add: () => undefined, done: () => undefined }) },
        signal
      })
      return { digest: delivered[0]?.digest, ...moved }
    }
    const first = await push('one.tar', ['a'])
    assert.deepEqual([first.blobs, first.skipped], [2, 0])
    const again = await push('one.tar', ['a'])
    assert.deepEqual(again, { ...first, blobs: 0, skipped: 2, bytes: 0, skippedBytes: first.bytes })

    await push('two.tar', ['a', 'b'])
    const { bytes } = await store.manifest('two.tar', signal)
    const { config, layers } = JSON.parse(bytes.toString()) as Record<'config', BlobId> & { layers: BlobId[] }
    const { rootfs } = JSON.parse(String(await store.smallBlob(config.digest, signal))) as {
      rootfs: { diff_ids: string[] }
    }
    const unpacked = []
    for (const { digest } of layers) {
      const packed = await store.smallBlob(digest, signal)
      unpacked.push(digestOf(gunzipSync(packed ?? assert.fail(`${digest} is not there`))))
    }
    assert.deepEqual(unpacked, rootfs.diff_ids)
  })
})
