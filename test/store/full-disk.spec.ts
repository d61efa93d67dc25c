import assert from 'node:assert/strict'
import { openStore, type Store } from '../../src/store/index.ts'
import { tempFolder } from '../support/temp.ts'

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
})
