/** Merging what others published: which base is chosen, and what is done with the outcome. */
import assert from 'node:assert/strict'
import type { CID } from 'multiformats/cid'
import { createLog } from '../../src/log.ts'
import { RegistryError } from '../../src/oci/errors.ts'
import { createSync, type Sync } from '../../src/registry/sync.ts'
import { createTagTimes, type TagTimes } from '../../src/registry/tag-times.ts'
import { type Change, pastKey, removeTag, type TreeWriter } from '../../src/tree/index.ts'
import { SmallTrees, textDigest } from '../support/small-trees.ts'

describe('sync', () => {
  const small = new SmallTrees()
  let trees: TreeWriter
  let domain: string
  let serial = 0
  let published: CID | undefined
  let common: CID | undefined
  let noted: CID[]
  let looks: number
  let onLook: () => Promise<void>
  let sync: Sync
  let tagTimes: TagTimes

  before(() => small.open())
  after(() => small.close())
  beforeEach(() => {
    trees = small.writer()
    domain = `ships-${serial++}.example`
    published = common = undefined
    noted = []
    looks = 0
    onLook = async () => undefined
    tagTimes = createTagTimes({ records: small.store.records, trees, log: createLog('silent') })
    sync = createSync({
      trees,
      directories: small.directories,
      published: async () => published && { root: published, load: small.load },
      common: async () => {
        looks++
        await onLook()
        return common
      },
      noteCommon: async (_, root) => void noted.push(root),
      tagTimes,
      log: createLog('silent')
    })
  })

  const put = (text: string, ...tags: string[]): Promise<Change> => small.put(text, tags, `${domain}/app`)
  const push = async (text: string, ...tags: string[]): Promise<CID> =>
    trees.change(domain, await put(text, ...tags), { signal: small.signal })
  const begin = async (from: CID, text: string, ...tags: string[]): Promise<CID> =>
    trees.change(domain, await put(text, ...tags), { signal: small.signal, base: async () => from })
  const tagHere = async (tag: string): Promise<string | undefined> =>
    (await trees.view(domain))?.tag(`${domain}/app`, tag, small.signal)
  const named = (list: readonly { tag: string }[]): string[] => list.map(({ tag }) => tag)

  it('refuses where nothing is published', async () => {
    await push('1', 'a')
    await assert.rejects(sync({ domain }, small.signal), (error: unknown) => {
      assert.ok(error instanceof RegistryError && error.code === 'NAME_UNKNOWN')
      return true
    })
  })

  it('has nothing to do when the published root is ours, or was', async () => {
    const first = await push('1', 'a')
    published = first
    assert.equal((await sync({ domain }, small.signal)).outcome, 'current')
    await push('2', 'a')
    const report = await sync({ domain }, small.signal)
    assert.deepEqual([report.outcome, report.root], ['current', String(await trees.root(domain))])
    assert.deepEqual(noted.map(String), [first, first].map(String), 'it is known to be common now')
    assert.equal(await tagHere('a'), textDigest('2'), 'what was published once brings nothing back')
  })

  it('takes the published tree as it is where there is none here', async () => {
    published = await small.grown(undefined, [await put('1', 'a')])
    const report = await sync({ domain }, small.signal)
    assert.deepEqual([report.outcome, report.root], ['synced', published.toString()])
    assert.equal(String(await trees.root(domain)), published.toString())
    assert.ok(await trees.had(domain, published))
  })

  it('merges from the root that the tree here began from', async () => {
    const base = await small.grown(undefined, [await put('1', 'moved', 'deleted')])
    await begin(base, 'mine', 'here')
    published = await small.grown(base, [await put('2', 'moved'), await put('theirs', 'there')])
    const report = await sync({ domain }, small.signal)
    assert.equal(report.base, base.toString())
    assert.deepEqual([named(report.taken).toSorted(), named(report.kept)], [['moved', 'there'], ['here']])
    assert.deepEqual([await tagHere('moved'), await tagHere('here')], [textDigest('2'), textDigest('mine')])
    assert.ok(await trees.had(domain, published), 'publishing descends from it now')
    assert.deepEqual(noted.map(String), [published.toString()])
  })

  it('merges from the newest root that is known to be common, rather than from where the tree began', async () => {
    const base = await small.grown(undefined, [await put('1', 'it')])
    common = await begin(base, '2', 'it')
    // both were at 2; from 1 on, they would seem to have changed it too
    await push('3', 'it')
    published = await small.grown(common, [await put('theirs', 'there')])
    const report = await sync({ domain }, small.signal)
    assert.equal(report.base, common.toString())
    assert.deepEqual(report.conflicts, [])
    assert.equal(await tagHere('it'), textDigest('3'))
  })

  it('takes the published root itself when only the others moved on', async () => {
    const base = await push('1', 'it')
    common = base
    published = await small.grown(base, [await put('2', 'it')])
    const report = await sync({ domain }, small.signal)
    assert.deepEqual([report.outcome, report.root], ['synced', published.toString()])
  })

  it('refuses what both changed, with the tags, until it is told whose count', async () => {
    const base = await push('1', 'it')
    common = base
    await push('mine', 'it')
    published = await small.grown(base, [await put('theirs', 'it')])
    const before = await trees.root(domain)
    await assert.rejects(sync({ domain }, small.signal), (error: unknown) => {
      assert.ok(error instanceof RegistryError && error.code === 'DENIED')
      assert.match(error.message, /app:it \(here sha256:\w+, published sha256:\w+\); say whose count/)
      const { conflicts } = error.detail as { conflicts: { ours: string; theirs: string }[] }
      assert.deepEqual(
        conflicts.map(({ ours, theirs }) => [ours, theirs]),
        [[textDigest('mine'), textDigest('theirs')]]
      )
      return true
    })
    assert.equal(String(await trees.root(domain)), String(before))
    assert.deepEqual(noted, [])
    await sync({ domain, prefer: 'theirs' }, small.signal)
    assert.equal(await tagHere('it'), textDigest('theirs'))
  })

  it('says what would be, and changes nothing', async () => {
    const base = await push('1', 'it')
    common = base
    await push('mine', 'it')
    published = await small.grown(base, [await put('theirs', 'it', 'there')])
    const before = await trees.root(domain)
    const report = await sync({ domain, dryRun: true }, small.signal)
    assert.deepEqual(
      [report.outcome, report.root, named(report.taken), named(report.conflicts)],
      ['dry', String(before), ['there'], ['it']]
    )
    assert.equal(String(await trees.root(domain)), String(before))
    assert.ok(!(await trees.had(domain, published)))
    assert.deepEqual(noted, [])
  })

  const pushTimed = async (text: string, tag: string, from?: CID): Promise<CID> => {
    const repository = `${domain}/app`
    const rows = await tagTimes.rows(domain, [{ repository, tag, digest: textDigest(text) }])
    const change = { ...(await put(text, tag)), rows }
    return trees.change(domain, change, { signal: small.signal, base: async () => from })
  }
  const timeOf = (tag: string, text: string): Promise<number | undefined> =>
    tagTimes.of(domain, `${domain}/app`, tag, textDigest(text))

  for (const mine of [true, false]) {
    it(`has what it takes count as moved then, ${mine ? 'beside what is ours' : 'where nothing is ours'}`, async () => {
      await pushTimed('gone', 'gone')
      common = await pushTimed('1', 'moved')
      if (mine) await pushTimed('mine', 'here')
      const before = (await timeOf('moved', '1')) ?? assert.fail('it was pushed')
      const theirs = [
        await put('2', 'moved'),
        await put('theirs', 'there'),
        removeTag(`${domain}/app`, 'gone')
      ]
      published = await small.grown(common, theirs)
      await sync({ domain }, small.signal)
      for (const [tag, text] of [
        ['moved', '2'],
        ['there', 'theirs']
      ] as const)
        assert.ok(((await timeOf(tag, text)) ?? 0) > before, tag)
      assert.equal(await timeOf('gone', 'gone'), undefined)
      assert.equal(await timeOf('moved', '1'), undefined, 'its time is of what it points at')
      assert.equal((await timeOf('here', 'mine')) !== undefined, mine)
    })
  }

  it('has what it took by preference count as moved then, and what it did not take as before', async () => {
    common = await push('1', 'it')
    await pushTimed('mine', 'it')
    const before = (await timeOf('it', 'mine')) ?? assert.fail('it was pushed')
    published = await small.grown(common, [await put('theirs', 'it')])
    await sync({ domain, prefer: 'ours' }, small.signal)
    assert.equal(await timeOf('it', 'mine'), before)
    published = await small.grown(common, [await put('theirs', 'it'), await put('more', 'there')])
    await sync({ domain, prefer: 'theirs' }, small.signal)
    assert.ok(((await timeOf('it', 'theirs')) ?? 0) > before)
  })

  it('leaves tags that the tree began with as old as they are', async () => {
    const base = await small.grown(undefined, [await put('old', 'old')])
    await begin(base, 'mine', 'here')
    // as if it had been a day ago
    const at = Date.now() - 86_400_000
    const value = Buffer.from(JSON.stringify({ at: new Date(at).toISOString() }))
    await small.store.records.put(pastKey(domain, base), value)
    for (const text of ['1', '2']) {
      published = await small.grown(published ?? base, [await put(text, 'there')])
      await sync({ domain, prefer: 'theirs' }, small.signal)
      assert.equal(await tagTimes.untimed(domain), at)
    }
  })

  it('begins anew when somebody pushes meanwhile, and keeps what they pushed', async () => {
    const base = await push('1', 'it')
    common = base
    await push('mine', 'here')
    published = await small.grown(base, [await put('theirs', 'there')])
    // after the tree here was read, before it is changed
    onLook = async () => {
      if (looks === 1) await push('pushed', 'meanwhile')
    }
    await sync({ domain }, small.signal)
    assert.equal(looks, 2)
    for (const [tag, text] of [
      ['here', 'mine'],
      ['there', 'theirs'],
      ['meanwhile', 'pushed']
    ] as const)
      assert.equal(await tagHere(tag), textDigest(text))
  })

  it('gives up on a domain that never is quiet', async () => {
    const base = await push('1', 'it')
    common = base
    await push('mine', 'here')
    published = await small.grown(base, [await put('theirs', 'there')])
    onLook = async () => void (await push(`pushed ${looks}`, 'meanwhile'))
    await assert.rejects(sync({ domain }, small.signal), /is being pushed to: try again/)
    assert.ok(!(await trees.had(domain, published)))
  })
})
