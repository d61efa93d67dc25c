/** `seaway copy` between any two kinds of places that need no engine; those with one are in `test/e2e/cli-copy.spec.ts`. */
import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { makeImage } from '../e2e/support/images.ts'
import { type CopyPlaces, makeCopyPlaces, SOURCE_KINDS, TARGET_KINDS } from '../support/copy-places.ts'
import { ociClient } from '../support/oci-client.ts'
import { runCommand } from '../support/seaway-command.ts'

/** What is refused; the rows are made once there are places. */
const REFUSED = [
  'a CAR to write to',
  'a root to write to',
  'a name in IPNS',
  'a name that is none',
  'a place without a name',
  'an image that is not there',
  'a tag that a layout lacks',
  'a name that an archive lacks',
  'the same, into a registry',
  'a tag that a CAR lacks',
  'a file that is not there',
  'a folder that is no layout',
  'a folder with something else',
  'a folder as an archive',
  'a registry that nobody runs',
  'no engine',
  'no engine to read from',
  'a layout of several images',
  'an archive of several images'
]

describe('copy', function () {
  this.timeout(30_000)
  let places: CopyPlaces
  before(async () => {
    places = await makeCopyPlaces()
  })
  after(() => places.stop())

  for (const [at, from] of SOURCE_KINDS.entries())
    describe(`from ${from}`, () => {
      for (const [to, into] of TARGET_KINDS.entries()) {
        it(`into ${into}, and again without moving anything`, async () => {
          const { image, sources, targets, report } = places
          const [source, target] = [sources[from], targets[into]]
          const name = `from${at}to${to}`
          const args = ['copy', source.place, target.place(name)]
          const first = await report(args)
          const found = await target.look(name)
          assert.equal(found.id, image.configs[0]?.digest)
          assert.deepEqual(found.diffIds, image.diffIds)
          if (source.manifest && target.manifest) assert.equal(found.digest, image.top.digest)
          // from an archive into an archive it is the image id
          const passes =
            source.place.startsWith('archive:') && from !== 'an OCI archive' && into === 'an archive'
          assert.deepEqual(
            first.images.map(({ digest }) => digest),
            [passes ? found.id : (found.digest ?? image.top.digest)]
          )

          const again = await report(args)
          assert.deepEqual(again.images, first.images)
          if (target.whole !== true) assert.equal(again.moved.blobs, 0)
          assert.deepEqual(await target.look(name), found)
        })
      }
    })

  for (const [to, into] of TARGET_KINDS.entries())
    it(`from stdin, where another copy writes to, into ${into}`, async () => {
      const { image, targets, piped } = places
      const target = targets[into]
      const { images } = await piped(
        ['copy', 'example.com/app:1', '-'],
        ['copy', '-', target.place(`in${to}`)]
      )
      const found = await target.look(`in${to}`)
      assert.deepEqual(found, {
        digest: target.manifest ? image.top.digest : undefined,
        id: image.configs[0]?.digest,
        diffIds: image.diffIds
      })
      assert.equal(images[0]?.digest, found.digest ?? found.id)
    })

  describe('refuses in one line that says what to do, and writes nothing', () => {
    let cases: Record<string, [from: string, to: string, status: number, says: RegExp]>
    before(async () => {
      const { file, report, sources } = places
      const { layout } = await makeImage({ dir: file('third'), name: 'x:3', layers: [{ files: { a: 'b' } }] })
      for (const [from, tag] of [
        ['example.com/app:1', '1'],
        [`oci:${layout}`, '3']
      ])
        await report(['copy', from ?? '', `oci:${file('several')}:${tag}`])
      await report(['copy', `oci:${file('several')}:`, `archive:${file('several.tar')}`])
      await mkdir(file('full'))
      await writeFile(file('full/notes'), 'of somebody else')
      const { place: app } = sources["the gateway's domain"]
      const { place: saved } = sources['an archive of docker save']
      const { place: one } = sources['an OCI layout']
      const { place: rooted } = sources['a root CID']
      const none = `archive:${file('none.tar')}`
      cases = {
        'a CAR to write to': [app, `car:${file('x.car')}`, 2, /seaway export writes CARs/],
        'a root to write to': [app, rooted, 2, /cannot change: give it a name below a domain/],
        'a name in IPNS': [app, 'ipns/example.com/app', 2, /cannot change: give it a name below a domain/],
        'a name that is none': [app, 'example.com/App', 2, /lower-case letters/],
        'a place without a name': [app, 'oci:', 2, /names nothing: write oci:NAME/],
        'an image that is not there': ['example.com/none', none, 1, /no repository example.com\/none/],
        'a tag that a layout lacks': [`${one}0`, none, 1, /has no '10'; it has 1/],
        'a name that an archive lacks': [`${saved}:none`, none, 1, /has no 'none'/],
        'the same, into a registry': [`${saved}:none`, 'none.example/x', 1, /it has example.com\/app:1/],
        'a tag that a CAR lacks': [`${sources['a CAR'].place}0`, 'none.example/x', 1, /has no '10'/],
        'a file that is not there': [none, 'none.example/x', 1, /there is no file/],
        'a folder that is no layout': [`oci:${file('full')}`, none, 1, /is no OCI layout/],
        'a folder with something else': [app, `oci:${file('full')}`, 1, /name a new folder/],
        'a folder as an archive': [app, `archive:${file('full')}`, 1, /is a folder: name a file in it/],
        'a registry that nobody runs': [app, 'docker://127.0.0.1:1/app', 1, /nobody listens at/],
        'no engine': [app, 'docker:app:1', 1, /SEAWAY_DOCKER_HOST\): it is not there: no such socket/],
        'no engine to read from': ['podman:app:1', none, 1, /SEAWAY_PODMAN_HOST/],
        'a layout of several images': [
          `oci:${file('several')}`,
          'none.example/x:1',
          1,
          /^seaway: none.example\/x:1 cannot be both several:1 of oci:\S+ and several:3 of \S+: say which one/
        ],
        'an archive of several images': [
          `archive:${file('several.tar')}`,
          'none.example/x:1',
          1,
          /none.example\/x:1 cannot be both several:1 and several:3: say which one/
        ]
      }
    })

    for (const kind of REFUSED)
      it(kind, async () => {
        const { file, run, gateway } = places
        const [from, to, status, says] = cases[kind] ?? assert.fail(`${kind} is no case`)
        const engines = {
          SEAWAY_DOCKER_HOST: 'unix:///nowhere/docker.sock',
          SEAWAY_PODMAN_HOST: 'unix:///nowhere/podman.sock'
        }
        const before = await readdir(file(''))
        const ended = await run(['copy', from, to], engines)
        assert.match(ended.stderr, says)
        assert.match(ended.stderr, /^seaway: [^\n]+\n$/)
        assert.equal(ended.status, status)
        assert.equal(ended.stdout, '')
        assert.deepEqual(await readdir(file('')), before)
        assert.deepEqual(await readdir(file('full')), ['notes'])
        await ociClient(gateway).expect(404, 'GET', '/v2/none.example/x/tags/list')
      })

    for (const from of SOURCE_KINDS)
      it(`an image for another platform, from ${from}`, async () => {
        const { file, run, sources, gateway } = places
        for (const to of ['none.example/x:1', `oci:${file('none')}`, `archive:${file('none.tar')}`]) {
          const args = ['copy', sources[from].place, to, '--platform', 'linux/arm64']
          const { status, stderr } = await run(args)
          assert.match(stderr, /^seaway: [^\n]* is for linux\/amd64, not linux\/arm64[^\n]*\n$/)
          assert.equal(status, 1)
        }
        await ociClient(gateway).expect(404, 'GET', '/v2/none.example/x/tags/list')
        assert.equal((await readdir(file(''))).includes('none.tar'), false)
      })

    it('an OCI layout on stdin into an archive: its list may come last', async () => {
      const { file, sources } = places
      const layout = await readFile(sources['an OCI archive'].place.slice('archive:'.length))
      const args = ['copy', '-', `archive:${file('none.tar')}`]
      const { status, stderr } = await runCommand(args, { SEAWAY_DATA: file('data') }, layout)
      assert.match(stderr, /^seaway: stdin [^\n]*an OCI archive, which has to be a file\n$/)
      assert.equal(status, 1)
      assert.equal((await readdir(file(''))).includes('none.tar'), false)
    })

    it('--referrers where nothing can keep them', async () => {
      const { file, run } = places
      for (const to of [`archive:${file('none.tar')}`, 'docker:app:1', 'podman:']) {
        const { status, stderr } = await run(['copy', 'example.com/app:1', to, '--referrers'])
        assert.equal(status, 2)
        assert.match(stderr, /^seaway: --referrers [^\n]*a registry or an OCI layout[^\n]*\n$/)
      }
    })

    it('each case once', () => assert.deepEqual(REFUSED, Object.keys(cases)))
  })

  it('an index goes from place to place with its platforms, or one of them does', async () => {
    const { file, report, targets } = places
    const made = await makeImage({
      dir: file('platforms'),
      name: 'x:1',
      layers: [{ files: { a: 'b' } }],
      platforms: ['linux/amd64', 'linux/arm64']
    })
    const way = [
      `oci:${made.layout}`,
      'index.example/app:2',
      targets['a registry'].place('index'),
      `archive:${file('index.tar')}:index.example/app:2`,
      `oci:${file('index')}:2`,
      'own/index:2'
    ]
    for (const [i, to] of way.entries()) {
      if (i === 0) continue
      const { images } = await report(['copy', way[i - 1] ?? '', to])
      assert.equal(images[0]?.digest, made.top.digest, to)
    }
    for (const [i, from] of way.entries()) {
      const { images } = await report(['copy', from, `arm.example/app:${i}`, '--platform', 'linux/arm64'])
      assert.equal(images[0]?.digest, made.manifests[1]?.digest, from)
    }
  })

  it('an archive of an image and something else keeps the digests of both, or says how', async () => {
    const { file, report, run, gateway, image } = places
    const artifact = await ociClient(gateway).image('example.com/app', 'notes')
    for (const tag of ['1', 'notes'])
      await report(['copy', `example.com/app:${tag}`, `oci:${file('mixed')}:${tag}`])
    const archive = `archive:${file('mixed.tar')}`
    await report(['copy', `oci:${file('mixed')}`, archive])
    const push = ['push', archive, '--to', 'mixed.example']
    const refused = await run(push)
    assert.equal(refused.status, 1)
    assert.match(refused.stderr, /^seaway: [^\n]*mixed:notes[^\n]*--compression none\n$/)
    await ociClient(gateway).expect(404, 'GET', '/v2/mixed.example/mixed/tags/list')

    const one = await report(['push', `${archive}:mixed:1`, '--to', 'mixed.example'])
    assert.deepEqual(
      one.images.map(({ digest }) => digest),
      [image.top.digest]
    )
    const both = await report([...push, '--compression', 'none'])
    assert.deepEqual(
      both.images.map(({ digest }) => digest).sort(),
      [image.top.digest, artifact.digest].sort()
    )
  })

  it('two names for one image are no two images', async () => {
    const { file, report, image } = places
    for (const tag of ['1', '2']) await report(['copy', 'example.com/app:1', `oci:${file('twice')}:${tag}`])
    const { images } = await report(['copy', `oci:${file('twice')}`, 'twice.example/x:1'])
    assert.deepEqual(
      images.map(({ digest }) => digest),
      [image.top.digest, image.top.digest]
    )
  })
})
