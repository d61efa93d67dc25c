/** An OCI layout in a tar, read where its files lie. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openArchiveSource } from '../../src/move/archive-source.ts'
import { createLayoutStore } from '../../src/move/layout.ts'
import type { ImageSource } from '../../src/move/types.ts'
import { wholeBlob } from '../../src/move/verify.ts'
import type { Digest } from '../../src/oci/digest.ts'
import { readManifest } from '../../src/oci/manifest.ts'
import { type Image, makeImage } from '../e2e/support/images.ts'
import { tempFolder } from '../support/temp.ts'

describe('an OCI layout in an archive', () => {
  const temp = tempFolder()
  const file = (name: string) => join(temp.path, name)
  const { signal } = new AbortController()
  let image: Image

  before(async () => {
    const layers = ['one', 'two'].map((text) => ({ files: { [text]: text.repeat(30_000) } }))
    image = await makeImage({ dir: file('made'), name: 'example.com/app:1', layers })
    tar('app.tar', 'blobs', 'index.json', 'oci-layout')
  })
  after(() => temp.remove())

  const tar = (name: string, ...parts: readonly string[]) =>
    execFileSync('tar', ['-C', image.dir, '-cf', file(name), ...parts])
  const open = async (name: string): Promise<ImageSource> =>
    (await openArchiveSource(file(name), signal)) ?? assert.fail(`${name} is no layout`)
  const layersOf = async (source: ImageSource) => {
    const { bytes, mediaType } = await source.manifest('1', signal)
    return readManifest(bytes, mediaType).blobs
  }

  it('is what the same layout in a folder is', async () => {
    const top = image.top.digest as Digest
    const [archive, folder] = [await open('app.tar'), createLayoutStore(image.dir)]
    assert.deepEqual(await archive.tags(signal), await folder.tags(signal))
    assert.deepEqual(await archive.manifest('1', signal), await folder.manifest('1', signal))
    assert.equal((await archive.manifest(top, signal)).digest, top)
    for (const blob of await layersOf(archive)) {
      assert.deepEqual(await wholeBlob(archive, blob, signal), await wholeBlob(folder, blob, signal))
      const rest = []
      for await (const chunk of archive.read(blob, blob.size - 3, signal)) rest.push(chunk)
      assert.deepEqual(Buffer.concat(rest), (await wholeBlob(folder, blob, signal)).subarray(-3))
      for await (const none of archive.read(blob, blob.size, signal)) assert.fail(String(none))
    }
    assert.deepEqual(await archive.referrers(top, signal), [])
    await assert.rejects(archive.manifest('2', signal), { message: /^archive:\S+ has no '2'; it has / })
  })

  it('has whole names where it lists such, and a digest where it lists none', async () => {
    const index = await readFile(join(image.dir, 'index.json'), 'utf8')
    await mkdir(file('named'))
    for (const [to, names, tags] of [
      ['"org.opencontainers.image.ref.name":"team/app:1"', ['team/app:1'], ['1']],
      ['"of":"no meaning"', [image.top.digest], []]
    ] as const) {
      const named = index.replace(/"org\.opencontainers\.image\.ref\.name":\s*"1"/, to)
      assert.notEqual(named, index)
      await writeFile(file('named/index.json'), named)
      const parts = ['-C', image.dir, 'blobs', '-C', file('named'), 'index.json']
      execFileSync('tar', ['-cf', file('named.tar'), ...parts])
      const archive = (await openArchiveSource(file('named.tar'), signal)) ?? assert.fail()
      assert.deepEqual([await archive.names(), await archive.tags(signal)], [names, tags])
    }
  })

  it('is none in other archives, in what is no tar, and in what is not there', async () => {
    await writeFile(file('made/manifest.json'), '[]')
    tar('both.tar', 'blobs', 'index.json', 'manifest.json')
    tar('neither.tar', 'blobs')
    await writeFile(file('text.tar'), 'no tar at all'.repeat(100))
    for (const name of ['both.tar', 'neither.tar', 'text.tar', 'none.tar'])
      assert.equal(await openArchiveSource(file(name), signal), undefined, name)
  })

  it('is found out where it is damaged, cut short, or lacks something', async () => {
    const [, layer] = await layersOf(await open('app.tar'))
    assert.ok(layer)
    const path = `blobs/${layer.digest.replace(':', '/')}`
    const bytes = await readFile(file('app.tar'))
    const at = bytes.indexOf(await readFile(join(image.dir, path)))
    assert.ok(at > 0)
    const wrong = Buffer.from(bytes)
    wrong[at + 40] = (wrong[at + 40] ?? 0) ^ 1
    await writeFile(file('wrong.tar'), wrong)
    await assert.rejects(wholeBlob(await open('wrong.tar'), layer, signal), /it is damaged there/)

    // the list first, as skopeo writes it
    tar('short.tar', 'index.json', 'oci-layout', 'blobs')
    const whole = await readFile(file('short.tar'))
    await truncate(file('short.tar'), whole.indexOf(await readFile(join(image.dir, path))) + 20)
    await assert.rejects(wholeBlob(await open('short.tar'), layer, signal), /it is cut short there/)

    tar('lacks.tar', `--exclude=${path}`, 'blobs', 'index.json')
    await assert.rejects(wholeBlob(await open('lacks.tar'), layer, signal), {
      message: `archive:${file('lacks.tar')} is incomplete: it lacks ${layer.digest}`
    })
    await writeFile(file('made/index.json'), 'no JSON')
    tar('list.tar', 'blobs', 'index.json')
    await assert.rejects(
      (await open('list.tar')).tags(signal),
      /is no OCI layout: its index.json cannot be read/
    )
  })
})
