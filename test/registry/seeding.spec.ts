/** What is offered with SEAWAY_SEED=published, while trees change and collections run. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import { createOffer } from '../../src/ipfs/index.ts'
import { createLog } from '../../src/log.ts'
import { createSeeding } from '../../src/registry/seeding.ts'
import { createHashSet, openStore, rawCid, type Store } from '../../src/store/index.ts'
import { createDirectories, createTreeWriter, type LoadBlock, markTree } from '../../src/tree/index.ts'
import { tempFolder } from '../support/temp.ts'

const signal = new AbortController().signal
const log = createLog('silent')
const DOMAIN = 'example.com'

/** A file at `path`, as a change of a tree. */
function file(path: string) {
  const bytes = Buffer.from(path)
  const cid = rawCid(createHash('sha256').update(bytes).digest())
  return {
    cid,
    put: { edits: [{ path: path.split('/'), link: { cid, size: bytes.length } }], blocks: [{ cid, bytes }] },
    remove: { edits: [{ path: path.split('/'), link: undefined }], blocks: [] }
  }
}

describe('what is offered of own trees', () => {
  const folder = tempFolder()
  let store: Store
  before(async () => void (store = await openStore({ folder: folder.path, reserve: 0 })))
  after(async () => {
    await store.close()
    await folder.remove()
  })

  function start() {
    const load: LoadBlock = async (cid) => (await store.blocks.find(cid)) ?? assert.fail(`${cid} is not here`)
    const trees = createTreeWriter({
      blocks: store.blocks,
      records: store.records,
      directories: createDirectories(),
      load: () => load,
      deadlineMs: 10_000
    })
    const offer = createOffer({ policy: 'published', store, log })
    return { trees, offer, seeding: createSeeding({ store, trees, offer, log }) }
  }
  const [stays, leaves] = [file('a/b/stays'), file('c/d/leaves')]

  /** Marks the tree, has `meanwhile` happen, and removes the rows of what wasn't marked, as a collection does. */
  async function collect(root: CID, meanwhile: () => Promise<CID>): Promise<void> {
    await store.sweeper.run(signal, async (sweep) => {
      const live = createHashSet()
      const options = { blocks: sweep.blocks, live, sha256Of: async () => undefined, signal }
      await markTree(root, options)
      const now = await meanwhile()
      await sweep.rows({
        live,
        more: () => markTree(now, options),
        gone: createHashSet(),
        dryRun: false,
        signal
      })
    })
  }

  it('goes with the collection that takes it, and leaves no mark', async () => {
    const { trees, offer, seeding } = start()
    await trees.change(DOMAIN, stays.put, { signal })
    await trees.change(DOMAIN, leaves.put, { signal })
    assert.ok(await offer.find(leaves.cid))
    const root = await trees.change(DOMAIN, leaves.remove, { signal })
    assert.ok(await offer.find(leaves.cid), 'until it is collected')
    await seeding.collecting(() => collect(root, async () => root))
    assert.equal(await store.marks.of(leaves.cid), undefined)
    assert.equal(await offer.find(leaves.cid), undefined)
    assert.ok(await offer.find(stays.cid))
    await offer.stop()
  })

  it('is all of a tree, also what comes back into it while a collection takes its marks', async () => {
    const { trees, offer, seeding } = start()
    const again = () => trees.change(DOMAIN, leaves.put, { signal })
    await again()
    assert.ok(await offer.find(leaves.cid))
    const without = await trees.change(DOMAIN, leaves.remove, { signal })
    await seeding.collecting(() =>
      collect(without, async () => {
        const root = await again()
        // its directories were marked whole before, so that nothing below them is marked anew
        assert.ok(await offer.find(root))
        return root
      })
    )
    assert.ok(await offer.find(leaves.cid))
    assert.ok(await offer.find(stays.cid))
    await offer.stop()
  })
})
