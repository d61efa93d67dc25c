/** `docker push` of layers that are being collected at that very moment. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectControl, controlPath } from '../../src/cli/control.ts'
import type { Operations } from '../../src/cli/index.ts'
import { useBed } from './support/bed.ts'
import { docker } from './support/clients.ts'
import { startDocker } from './support/docker.ts'
import { type Image, makeImage } from './support/images.ts'
import { available } from './support/process.ts'
import { repository } from './support/wire.ts'

const MB = 1e6

/** What is unused for so long is taken: longer than any push here takes, from its first question to its manifest. */
const GRACE_MS = 10_000

/** Pushes begin a quarter of a second apart, from before their layers may be taken until after they are. */
const PUSHES = 6
const APART_MS = 250

describe('docker push beside collections that never end', function () {
  this.timeout(180_000)
  const { folder, keep, gateway } = useBed('push-and-collect')

  before(function () {
    if (!available('docker', 'dockerd', 'containerd', 'runc')) this.skip()
  })

  it('succeeds with every layer there, whatever of it was just being taken', async () => {
    const one = await gateway('one', {
      env: { SEAWAY_KEEP_ROOTS: '0', SEAWAY_GC_GRACE: `${GRACE_MS}ms` }
    })
    const engine = keep(await startDocker({ dir: folder('d') }))
    const client = docker(engine)
    const operations = (await connectControl(controlPath(one.data))) as Operations
    const call = { signal: new AbortController().signal, progress: () => undefined }
    const base = await makeImage({
      dir: folder('base'),
      name: 'base:1',
      layers: [{ size: 2 * MB, seed: 'base' }]
    })
    const images: { image: Image; name: string; reference: string; used: number; blobs: string[] }[] = []
    for (let i = 0; i < PUSHES; i++) {
      const layers = [
        { size: 4 * MB, seed: `large ${i}` },
        { size: 40_000, seed: `small ${i}` }
      ]
      const image = await makeImage({ dir: folder(`image-${i}`), name: `image-${i}:1`, base, layers })
      const name = `example.com/app-${i}`
      const reference = `${one.host}/${name}:1`
      await client.push(image, reference)
      const blobs = await repository(one.url, name).readImage('1')
      images.push({ image, name, reference, used: 0, blobs })
    }
    for (const each of images) {
      // what hangs on a tag that is gone was used last when it was read last
      await repository(one.url, each.name).readImage('1')
      await operations.rm({ images: [`${each.name}:1`], all: false, dryRun: false }, call)
      each.used = performance.now()
    }

    let pushing = true
    const taken = new Set<string>()
    const collecting = (async () => {
      for (let runs = 1; ; runs++) {
        const { blobs } = await operations.gc({ dryRun: false }, call)
        for (const { digest } of blobs) taken.add(digest)
        if (!pushing) return runs
      }
    })()
    try {
      await Promise.all(
        images.map(async ({ reference, used }, i) => {
          const begin = used + GRACE_MS + (i - PUSHES / 2) * APART_MS
          await sleep(Math.max(0, begin - performance.now()))
          await engine.docker(['push', '--quiet', reference])
        })
      )
    } finally {
      pushing = false
    }
    assert.ok((await collecting) > 1)

    await operations.gc({ dryRun: false, graceMs: 0 }, call)
    const found = images.flatMap(({ blobs }) => blobs)
    console.log(
      `      ${found.filter((digest) => taken.has(digest)).length} of ${found.length} blobs had been taken`
    )
    for (const { name, blobs } of images)
      assert.deepEqual(await repository(one.url, name).readImage('1'), blobs, name)
    const [{ image, reference } = assert.fail()] = images
    assert.deepEqual((await client.pull(reference)).diffIds, image.diffIds)
  })
})
