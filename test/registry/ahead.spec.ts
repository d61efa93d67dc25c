import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { createLog } from '../../src/log.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { createReadAhead } from '../../src/registry/ahead.ts'
import type { Place } from '../../src/registry/places.ts'
import { rawCid } from '../../src/store/index.ts'

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'

describe('registry: reading ahead', () => {
  const root = rawCid(createHash('sha256').update('root').digest())

  function manifestOf(layers: number) {
    const descriptor = () => ({
      mediaType: 'application/vnd.oci.image.layer.v1.tar',
      digest: digestOf(randomBytes(10)),
      size: 10
    })
    const bytes = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MANIFEST,
        config: { ...descriptor(), mediaType: 'application/vnd.oci.image.config.v1+json' },
        layers: Array.from({ length: layers }, descriptor)
      })
    )
    return { digest: digestOf(bytes), mediaType: MANIFEST, bytes }
  }

  /** A place whose lookups wait until they are let through or aborted. */
  function bed(fails: (nth: number) => boolean = () => false) {
    const asked: Digest[] = []
    const fetched: string[] = []
    const signals: AbortSignal[] = []
    let pass = Promise.withResolvers<void>()
    const place = {
      what: 'a tree',
      name: 'app',
      peers: async () => [],
      view: {
        root,
        async ahead(_name: string, { blob }: { blob: Digest }, signal: AbortSignal) {
          asked.push(blob)
          signals.push(signal)
          const nth = asked.length
          await Promise.race([pass.promise, once(signal, 'abort').then(() => signal.throwIfAborted())])
          if (fails(nth)) throw new Error('a peer is busy')
        },
        blob: async (digest: Digest) => ({ cid: rawCid(Buffer.from(digest.slice(7), 'hex')), size: 1 })
      }
    } as unknown as Place
    const ahead = createReadAhead({
      store: { blobs: { stat: async () => undefined } } as never,
      ipfs: {
        async stat(cid) {
          fetched.push(cid.toString())
          return { size: 1 }
        }
      },
      log: createLog('silent')
    })
    return { ahead, place, asked, fetched, signals, go: () => pass.resolve() }
  }

  async function until(condition: () => boolean): Promise<void> {
    for (const end = Date.now() + 20_000; !condition(); await sleep(10))
      assert.ok(Date.now() < end, 'in vain')
  }

  it('looks for every blob of a manifest, a few at a time, and fetches its root', async () => {
    const { ahead, place, asked, fetched, go } = bed()
    ahead.start(place, 'app', manifestOf(9), new AbortController().signal)
    await until(() => asked.length === 4)
    await sleep(20)
    assert.equal(asked.length, 4)
    go()
    await until(() => fetched.length === 10)
    assert.equal(new Set(fetched).size, 10)
    ahead.stop()
  })

  it('goes on with the others when some of them can not be looked up, and tries those again for the next', async () => {
    const { ahead, place, fetched, go } = bed((nth) => nth <= 6)
    const manifest = manifestOf(9)
    go()
    ahead.start(place, 'app', manifest, new AbortController().signal)
    await until(() => fetched.length === 4)
    await until(() => {
      ahead.start(place, 'app', manifest, new AbortController().signal)
      return new Set(fetched).size === 10
    })
    ahead.stop()
  })

  it('is bounded: no more than four manifests at once, and none twice', async () => {
    const { ahead, place, asked, go } = bed()
    const { signal } = new AbortController()
    const first = manifestOf(1)
    for (const one of [first, first, ...Array.from({ length: 9 }, () => manifestOf(1))])
      ahead.start(place, 'app', one, signal)
    await until(() => asked.length === 8)
    await sleep(20)
    assert.equal(asked.length, 8)
    go()
    ahead.stop()
  })

  it('ends at once when the client goes in the middle of the request, and begins anew for the next', async () => {
    const { ahead, place, asked, fetched, signals, go } = bed()
    const manifest = manifestOf(3)
    const client = new AbortController()
    ahead.start(place, 'app', manifest, client.signal)
    await until(() => asked.length === 4)
    client.abort()
    assert.ok(signals.every(({ aborted }) => aborted))
    await sleep(10)
    assert.deepEqual(fetched, [])
    go()
    ahead.start(place, 'app', manifest, new AbortController().signal)
    await until(() => fetched.length === 4)
    ahead.stop()
  })

  it('ends when nobody asks for anything of the repository afterwards, and not before', async () => {
    const { ahead, place, asked, signals } = bed()
    ahead.start(place, 'app', manifestOf(3), new AbortController().signal)
    await until(() => asked.length === 4)
    for (let i = 0; i < 6; i++) {
      await sleep(500)
      ahead.asked(place, 'app')
      assert.ok(!signals[0]?.aborted, `ended after ${i + 1} requests`)
    }
    await until(() => signals.every(({ aborted }) => aborted))
  })
})
