/** When tags were moved, as it is kept. */
import assert from 'node:assert/strict'
import { createLog } from '../../src/log.ts'
import { createTagTimes, type TagTimes, tagTimeKey } from '../../src/registry/tag-times.ts'
import { SmallTrees, textDigest } from '../support/small-trees.ts'

describe('tag times', () => {
  const small = new SmallTrees()
  const domain = 'ships.example'
  const repository = `${domain}/app`
  const digest = textDigest('it')
  const ahead = Date.now() + 86_400_000

  before(() => small.open())
  after(() => small.close())

  /** As after a start: nothing is remembered. */
  const opened = (): TagTimes =>
    createTagTimes({ records: small.store.records, trees: small.writer(), log: createLog('silent') })
  async function move(times: TagTimes, ...tags: string[]): Promise<number> {
    const rows = await times.rows(
      domain,
      tags.map((tag) => ({ repository, tag, digest }))
    )
    await small.store.blocks.commit([], [], rows)
    return (await times.of(domain, repository, tags[0] as string, digest)) ?? assert.fail('it was moved')
  }

  it('are read as they were written before they named a digest, and what is moved later is later', async () => {
    await small.store.records.put(tagTimeKey(domain, repository, 'old'), Buffer.from(String(ahead)))
    assert.equal(await opened().of(domain, repository, 'old', digest), ahead)
    assert.equal(await move(opened(), 'a'), ahead + 1)
    assert.equal(await move(opened(), 'b', 'c'), ahead + 2)
    const times = opened()
    assert.deepEqual([await move(times, 'a'), await move(times, 'b')], [ahead + 3, ahead + 4])
  })

  it('are of one repository', async () => {
    const [row] = await opened().rows(domain, [{ repository: `${domain}/other`, tag: 'a', digest }])
    assert.ok(row?.type === 'put' && Number(Buffer.from(row.value).toString()) < ahead)
  })

  it('count for what the tag points at alone, and go with it', async () => {
    const times = opened()
    await move(times, 'a')
    assert.equal(await times.of(domain, repository, 'a', textDigest('another')), undefined)
    await small.store.blocks.commit(
      [],
      [],
      await times.rows(domain, [{ repository, tag: 'a', digest: undefined }])
    )
    assert.equal(await times.of(domain, repository, 'a', digest), undefined)
  })
})
