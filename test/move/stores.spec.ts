/** What every store of images promises, each over the same: a gateway, a layout, and a CAR to read from. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CID } from 'multiformats/cid'
import { oneRepository, wholeRoot, writeCarFile } from '../../src/move/car-export.ts'
import { createCarStore } from '../../src/move/car-store.ts'
import { copyImage } from '../../src/move/copy.ts'
import { nothingMoved } from '../../src/move/deliver.ts'
import { createLayoutStore } from '../../src/move/layout.ts'
import { createRegistryStore } from '../../src/move/registry.ts'
import { createShared } from '../../src/move/shared.ts'
import type { ImageSource, ImageStore, Reporter } from '../../src/move/types.ts'
import type { Digest } from '../../src/oci/digest.ts'
import { openDirect } from '../../src/upstream/direct.ts'
import {
  descriptor,
  digestOf,
  type Made,
  manifest,
  OCI_INDEX,
  type OciClient,
  ociClient
} from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'
import { tempFolder } from '../support/temp.ts'

const QUIET: Reporter = {
  note: () => undefined,
  blob: () => ({ add: () => undefined, done: () => undefined })
}
const REPOSITORY = 'example.com/app'

describe('stores of images', () => {
  let signal: AbortSignal
  let server: RegistryServer
  let client: OciClient
  let source: ImageStore
  let image: Made
  let signature: Made
  const temp = tempFolder()
  const opened: (() => unknown)[] = []

  const direct = () => {
    const registry = openDirect({
      url: `http://${server.host}`,
      auth: undefined,
      timeoutMs: 10_000,
      proxies: { http: '', https: '', none: '' }
    })
    opened.push(() => registry.stop())
    return registry
  }
  const gateway = (repository: string): ImageStore => {
    const registry = direct()
    return createRegistryStore({ registry, repository, name: repository })
  }
  const copy = async (from: ImageSource, to: ImageStore, reference = '1', tag: string | undefined = '1') => {
    const moved = nothingMoved()
    const shared = createShared()
    const digest = await copyImage({
      source: from,
      reference,
      target: to,
      tag,
      referrers: true,
      shared,
      report: QUIET,
      moved,
      signal
    })
    return { digest, moved }
  }

  // of its own for each, and for what comes before: in a whole run, long after these lines were read
  const begin = () => {
    signal = AbortSignal.timeout(50_000)
  }
  before(begin)
  beforeEach(begin)

  before(async () => {
    server = await startRegistryServer()
    client = ociClient(server)
    const children = [await client.image(REPOSITORY, 'amd'), await client.image(REPOSITORY, 'arm')]
    image = manifest({ manifests: children.map(descriptor) }, OCI_INDEX)
    await client.put(REPOSITORY, image, '1')
    signature = await client.image(REPOSITORY, 'signature', 'signature', { subject: descriptor(image) })
    source = gateway(REPOSITORY)
  })
  after(async () => {
    for (const close of opened) await close()
    await server.stop()
    await temp.remove()
  })

  const kinds: [string, (name: string) => ImageStore][] = [
    ['a gateway', (name) => gateway(`other.example/${name}`)],
    ['a layout', (name) => createLayoutStore(join(temp.path, name))]
  ]
  for (const [kind, make] of kinds) {
    describe(kind, () => {
      it('takes an index with its children and referrers, every digest kept, and nothing again', async () => {
        const store = make('whole')
        const first = await copy(source, store)
        assert.equal(first.digest, image.digest)
        assert.ok(first.moved.blobs + first.moved.skipped > 0)
        const got = await store.manifest('1', signal)
        assert.equal(got.digest, image.digest)
        assert.equal(got.mediaType, OCI_INDEX)
        assert.ok(Buffer.from(got.bytes).equals(image.bytes))
        assert.deepEqual(await store.tags(signal), ['1'])
        assert.deepEqual(
          (await store.referrers(image.digest as Digest, signal)).map(({ digest }) => digest),
          [signature.digest]
        )
        const again = await copy(source, store)
        assert.equal(again.moved.blobs, 0)
        const back = gateway(`back.example/${kind.replace(/\W/g, '')}`)
        assert.equal((await copy(store, back)).digest, image.digest)
      })

      it('gives a blob from any byte on, and small ones as a whole', async () => {
        const store = make('bytes')
        const bytes = Buffer.from('0123456789')
        const blob = { digest: digestOf(bytes) as Digest, size: bytes.length }
        assert.equal(await store.hasBlob(blob, signal), false)
        assert.equal(await store.smallBlob(blob.digest, signal), undefined)
        assert.deepEqual(await store.writeStream(pieces(bytes), signal), blob)
        assert.equal(await store.hasBlob(blob, signal), true)
        assert.equal((await store.smallBlob(blob.digest, signal))?.toString(), '0123456789')
        for (const at of [0, 3, 9]) {
          const read: Uint8Array[] = []
          for await (const chunk of store.read(blob, at, signal)) read.push(chunk)
          assert.equal(Buffer.concat(read).toString(), '0123456789'.slice(at))
        }
      })

      it('refuses content that is another, is cut short, or breaks off', async () => {
        const store = make('wrong')
        const blob = { digest: digestOf('right') as Digest, size: 5 }
        for (const wrong of ['wrong', 'rig', 'right and more'])
          await assert.rejects(
            store.write(blob, () => pieces(Buffer.from(wrong)), signal),
            wrong
          )
        await assert.rejects(
          store.writeStream(
            (async function* () {
              yield Buffer.from('rig')
              throw new Error('the source broke')
            })(),
            signal
          )
        )
        assert.equal(await store.hasBlob(blob, signal), false)
        await store.write(blob, (at) => pieces(Buffer.from('right').subarray(at)), signal)
        assert.equal(await store.hasBlob(blob, signal), true)
      })

      it('says what it has not got', async () => {
        await copy(source, make('known'), '1', '1')
        await assert.rejects(make('known').manifest('2', signal), { name: 'Refused', unknown: true })
        await assert.rejects(make('never').manifest('1', signal), { name: 'Refused', unknown: true })
      })
    })
  }

  it('a gateway keeps nothing of what was interrupted on its way', async () => {
    const incoming = () => readdir(join(server.folder, 'incoming'))
    const before = await incoming()
    const stop = new AbortController()
    const hanging = async function* (from: number) {
      yield Buffer.alloc(1_500_000, from)
      await once(stop.signal, 'abort')
    }
    const store = gateway('interrupted')
    const pushed = Array.from({ length: 4 }, (_, i) => store.writeStream(hanging(i), stop.signal))
    const arriving = async () => {
      const files = await incoming()
      const sizes = await Promise.all(
        files.map(async (one) => (await stat(join(server.folder, 'incoming', one))).size)
      )
      return sizes.filter((size) => size > 0).length
    }
    while ((await arriving()) < pushed.length) await new Promise((resolve) => setTimeout(resolve, 20))
    stop.abort(new Error('interrupted'))
    for (const each of await Promise.allSettled(pushed)) assert.equal(each.status, 'rejected')
    assert.deepEqual(await incoming(), before)
  })

  it('a layout keeps two images that come at once', async () => {
    const store = createLayoutStore(join(temp.path, 'twice'))
    await Promise.all([
      copy(source, store, '1', 'a'),
      copy(source, store, '1', 'b'),
      copy(source, store, 'amd', 'c')
    ])
    assert.deepEqual(await store.tags(signal), ['a', 'b', 'c'])
    assert.deepEqual((await readdir(join(temp.path, 'twice'))).sort(), ['blobs', 'index.json', 'oci-layout'])
  })

  it('a layout goes on with what a command before had begun', async () => {
    const folder = join(temp.path, 'resume')
    const store = createLayoutStore(folder)
    const bytes = Buffer.alloc(3_000_000, 'some content ')
    const blob = { digest: digestOf(bytes) as Digest, size: bytes.length }
    const broken = async function* (at: number) {
      yield bytes.subarray(at, 2_000_000)
      yield bytes.subarray(2_000_000, 2_000_001)
      throw new Error('interrupted')
    }
    await assert.rejects(store.write(blob, broken, signal), /interrupted/)
    assert.equal(await store.hasBlob(blob, signal), false)
    let from = 0
    const rest = (at: number) => {
      from = at
      return pieces(bytes.subarray(at))
    }
    await createLayoutStore(folder).write(blob, rest, signal)
    assert.ok(from >= 1_999_999, `it began at ${from}`)
    assert.ok((await readFile(join(folder, 'blobs', blob.digest.replace(':', '/')))).equals(bytes))
  })

  describe('a CAR', () => {
    it('holds a repository with its tags and referrers; a second one is the same, and goes on with a part', async () => {
      const domain = await server.registry.history.resolve('example.com')
      const file = join(temp.path, 'app.car')
      const exported = await oneRepository(direct().server, domain.root, REPOSITORY, signal)
      const first = await writeCarFile(file, exported, () => undefined, signal)
      assert.equal(first.resumed, 0)
      const bytes = await readFile(file)
      const twice = `${file}2`
      await writeFile(`${twice}.part`, bytes.subarray(0, bytes.length - 30))
      const second = await writeCarFile(
        twice,
        await oneRepository(direct().server, domain.root, REPOSITORY, signal),
        () => undefined,
        signal
      )
      assert.ok(second.resumed > bytes.length / 2, `${second.resumed} of ${bytes.length}`)
      assert.ok((await readFile(twice)).equals(bytes))

      const cars = createCarStore(QUIET)
      opened.push(() => cars.close())
      const images = await cars.images({ kind: 'car', path: file, image: undefined }, signal)
      assert.deepEqual(
        images.map((each) => each.image),
        ['1', 'amd', 'arm', 'signature'].map((tag) => `${REPOSITORY}:${tag}`)
      )
      const car = await cars.source({ kind: 'car', path: file, image: `${REPOSITORY}:1` }, signal)
      const there = await copy(car, gateway('car.example/app'))
      assert.equal(there.digest, image.digest)
      assert.equal((await gateway('car.example/app').referrers(image.digest as Digest, signal)).length, 1)
    })

    it('of a whole domain has the very root', async () => {
      const { root } = await server.registry.history.resolve('example.com')
      const file = join(temp.path, 'all.car')
      const written = await writeCarFile(file, wholeRoot(direct().server, root), () => undefined, signal)
      assert.equal(written.root.toString(), root.toString())
    })

    it('with a wrong block, or cut short, is refused before anything is taken in; so is a root that is not here', async () => {
      const bytes = await readFile(join(temp.path, 'app.car'))
      const bad = Buffer.from(bytes)
      bad[bad.length - 3] = (bad.at(-3) as number) ^ 1
      for (const [name, content, says] of [
        ['bad.car', bad, /is damaged: it has a wrong block/],
        ['short.car', bytes.subarray(0, -3), /is cut short/],
        ['none.car', Buffer.from('no CAR at all'), /is no CAR of version 1/],
        ['empty.car', Buffer.alloc(0), /is no CAR of version 1/]
      ] as const) {
        const path = join(temp.path, name)
        await writeFile(path, content)
        await assert.rejects(
          createCarStore(QUIET).images({ kind: 'car', path, image: undefined }, signal),
          says
        )
      }
      const away = CID.parse('bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi')
      await assert.rejects(
        writeCarFile(join(temp.path, 'away.car'), wholeRoot(direct().server, away), () => undefined, signal),
        /is not here/
      )
      assert.equal(
        (await readdir(temp.path)).some((name) => name.startsWith('away')),
        false
      )
    })
  })
})

async function* pieces(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000)
}
