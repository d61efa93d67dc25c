/** `seaway copy` between any two kinds of places that need no engine; those with one are in `test/e2e/cli-copy.spec.ts`. */
import assert from 'node:assert/strict'
import { type CopyPlaces, makeCopyPlaces, SOURCE_KINDS, TARGET_KINDS } from '../support/copy-places.ts'

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
        // what Seaway refuses by design
        if (from === 'an OCI archive' && into === 'an archive') continue

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
          const passes = source.place.startsWith('archive:') && into === 'an archive'
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
})
