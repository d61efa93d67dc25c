import assert from 'node:assert/strict'
import { readdir, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { digestOf } from '../../src/oci/digest.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { seededBytes, tempFolder } from '../support/temp.ts'

/** So small that the store asks before each batch what is left. */
const RESERVE = 400
/** Less than the index's part of that, more than what freeing space may not touch. */
const LOW = 90
const PLENTY = 2 ** 40
const VALUE = Buffer.alloc(60)

describe('a store on a full disk', () => {
  const folder = tempFolder()
  let store: Store
  let free = PLENTY

  before(async () => {
    store = await openStore({ folder: folder.path, reserve: RESERVE, free: async () => free })
  })
  beforeEach(() => {
    free = PLENTY
  })
  after(async () => {
    await store.close()
    await folder.remove()
  })

  it('takes no new record, but removes some', async () => {
    await store.records.put('old', VALUE)
    free = LOW
    await assert.rejects(store.records.put('new', VALUE), {
      code: 'STORAGE_FULL',
      message: /no disk space left.*try again/
    })
    await store.records.delete('old')
    assert.equal(await store.records.get('old'), undefined)
  })

  it('makes a change that gives space back, though it writes something', async () => {
    free = LOW
    await store.blocks.commit([], [['step', VALUE]], [], true)
    assert.ok(await store.records.get('step'))
  })

  it('does what frees space also where it waits together with what does not', async () => {
    await store.records.put('old', VALUE)
    free = LOW
    const before = store.records.delete('no such')
    const together = await Promise.allSettled([
      store.records.put('beside', VALUE),
      store.records.delete('old')
    ])
    await before
    assert.deepEqual(
      together.map(({ status }) => status),
      ['rejected', 'fulfilled']
    )
    assert.deepEqual(
      [await store.records.get('old'), await store.records.get('beside')],
      [undefined, undefined]
    )
  })

  it('says what to do when there is not even enough to remove something', async () => {
    free = 20
    await assert.rejects(store.records.delete('old'), {
      code: 'STORAGE_FULL',
      message: /no disk space left, not even to remove.*by other means/
    })
  })

  it('keeps nothing of a push whose rows are refused, unless it replaces what was damaged', async () => {
    const bytes = seededBytes(300_000, 1)
    const digest = digestOf(bytes)
    const push = async (left: number) => {
      free = PLENTY
      const writer = store.incoming.create('refused')
      await writer.append(bytes)
      free = left
      return store.blobs.commit(writer, digest)
    }
    const files = () => readdir(join(folder.path, 'blobs', digest.slice(7, 9)))
    await assert.rejects(push(LOW), { code: 'STORAGE_FULL' })
    assert.deepEqual(await files(), [])
    assert.deepEqual(await store.incoming.list(), [])
    await push(PLENTY)
    await truncate(join(folder.path, 'blobs', digest.slice(7, 9), digest.slice(7)), 1000)
    await assert.rejects(push(LOW), { code: 'STORAGE_FULL' })
    assert.deepEqual(await files(), [digest.slice(7)])
  })
})
