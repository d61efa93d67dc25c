import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import { createOffer } from '../../src/ipfs/index.ts'
import { createLog } from '../../src/log.ts'
import { digestOf } from '../../src/oci/digest.ts'
import { type BlobInfo, createHashSet, openStore, rawCid, type Store } from '../../src/store/index.ts'
import { seededBytes, tempFolder } from '../support/temp.ts'

const MiB = 1024 * 1024

describe('what peers may not have', () => {
  const temp = tempFolder()
  let store: Store

  before(async () => {
    store = await openStore({ folder: temp.path, reserve: 0 })
  })
  after(async () => {
    await store.close()
    await temp.remove()
  })

  async function put(bytes: Uint8Array, isPrivate: boolean, cached = true): Promise<BlobInfo> {
    const writer = store.incoming.create(randomUUID())
    await writer.append(bytes)
    return store.blobs.commit(writer, digestOf(bytes), { cached, isPrivate })
  }

  /** The blocks of a blob: its root, and its first leaf. */
  const blocksOf = (blob: BlobInfo, bytes: Uint8Array): CID[] => [
    blob.cid,
    rawCid(Buffer.from(digestOf(bytes.subarray(0, MiB)).slice(7), 'hex'))
  ]

  async function covered(blob: BlobInfo, bytes: Uint8Array): Promise<boolean[]> {
    return Promise.all(blocksOf(blob, bytes).map((cid) => store.privates.covers(cid)))
  }

  for (const [what, size] of [
    ['in the index', 1000],
    ['of one leaf', MiB],
    ['of many leaves', 3 * MiB + 5]
  ] as const) {
    describe(`a blob ${what}`, () => {
      const bytes = seededBytes(size, size)

      it('is private with all of its blocks, and offered in no way', async () => {
        const blob = await put(bytes, true)
        assert.deepEqual(await covered(blob, bytes), [true, true])
        const offer = createOffer({ policy: 'all', store, log: createLog('silent') })
        for (const cid of blocksOf(blob, bytes)) {
          assert.equal(await offer.has(cid), false)
          assert.equal(await offer.find(cid), undefined)
        }
        assert.equal(await offer.openFile(...(blocksOf(blob, bytes) as [CID, CID])), undefined)
        assert.equal(await offer.mapped(blob.digest), undefined)
        // for ourselves it is here
        assert.equal(await store.blocks.has(blob.cid), true)
      })

      it('stays so when it comes again the same way, and after a restart', async () => {
        const blob = await put(bytes, true)
        await store.close()
        store = await openStore({ folder: temp.path, reserve: 0 })
        assert.deepEqual(await covered(blob, bytes), [true, true])
      })

      it('is private no longer once it has come by a way that is open', async () => {
        const blob = await put(bytes, false, false)
        assert.deepEqual(await covered(blob, bytes), [false, false])
        assert.deepEqual(await covered(await put(bytes, true), bytes), [false, false])
        const offer = createOffer({ policy: 'all', store, log: createLog('silent') })
        assert.deepEqual(await offer.mapped(blob.digest), {
          digest: blob.digest,
          cid: blob.cid,
          size: blob.size
        })
      })
    })
  }

  it('is none of what shares a leaf with a blob that is open', async () => {
    const start = seededBytes(MiB, 77)
    const one = Buffer.concat([start, seededBytes(5, 1)])
    const other = Buffer.concat([start, seededBytes(5, 2)])
    const hidden = await put(one, true)
    assert.deepEqual(await covered(hidden, one), [true, true])
    await put(other, false)
    assert.deepEqual(await covered(hidden, one), [true, false])
  })

  it('is forgotten with its blob', async () => {
    const bytes = seededBytes(2 * MiB, 6)
    const blob = await put(bytes, true, false)
    const [live, { signal }] = [createHashSet(), new AbortController()]
    const common = { live, dryRun: false, signal }
    await store.sweeper.run(signal, async (sweep) => {
      const none = { garbage: true, graceMs: 0, cacheLimit: undefined, onSwept: () => undefined }
      const { gone } = await sweep.blobs({ ...common, ...none })
      await sweep.rows({ ...common, gone, more: async () => {} })
    })
    assert.equal(await store.blobs.stat(blob.digest), undefined)
    assert.deepEqual(await covered(blob, bytes), [false, false])
  })

  it('is what is revealed in one step with something else', async () => {
    const bytes = seededBytes(2 * MiB, 5)
    const blob = await put(bytes, true)
    await store.blocks.commit(
      [],
      [],
      await store.privates.reveals([blob.digest, digestOf(Buffer.from('unknown'))])
    )
    assert.deepEqual(await covered(blob, bytes), [false, false])
  })
})
