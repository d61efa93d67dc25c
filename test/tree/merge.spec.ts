import assert from 'node:assert/strict'
import type { CID } from 'multiformats/cid'
import type { Digest } from '../../src/oci/digest.ts'
import {
  type Change,
  type Merge,
  mergeTrees,
  removeContent,
  removeManifest,
  removeTag
} from '../../src/tree/index.ts'
import { textDigest as digest, SmallTrees } from '../support/small-trees.ts'

const DOMAIN = 'ships.example'
const NAME = `${DOMAIN}/app`
describe('merging trees', () => {
  const trees = new SmallTrees()
  before(() => trees.open())
  after(() => trees.close())

  const put = (text: string, tags: readonly string[], name = NAME): Promise<Change> =>
    trees.put(text, tags, name)
  const grown = (from: CID | undefined, changes: readonly Change[]): Promise<CID> =>
    trees.grown(from, changes)
  const tagAt = (root: CID, tag: string, name = NAME): Promise<Digest | undefined> =>
    trees.view(root).tag(name, tag, trees.signal)
  const holds = async (root: CID, text: string): Promise<boolean> =>
    (await trees.view(root).blob(digest(text), trees.signal)) !== undefined
  const listsManifest = (root: CID, text: string): Promise<boolean> =>
    trees.view(root).hasManifest(NAME, digest(text), trees.signal)

  const merge = (base: CID | undefined, ours: CID, theirs: CID, prefer?: 'ours' | 'theirs'): Promise<Merge> =>
    mergeTrees({
      base,
      ours,
      theirs,
      domain: DOMAIN,
      prefer,
      directories: trees.directories,
      load: trees.load,
      signal: trees.signal
    })

  /** What the tag points at in the base, here and there; what the merge says of it; where it points then. */
  type Row = [
    base: string | undefined,
    ours: string | undefined,
    theirs: string | undefined,
    says: 'taken' | 'kept' | 'conflicts' | undefined,
    result: string | undefined | { ours: string | undefined; theirs: string | undefined }
  ]
  const table: Record<string, Row> = {
    'nobody changed': ['1', '1', '1', undefined, '1'],
    'we changed': ['1', '2', '1', 'kept', '2'],
    'they changed': ['1', '1', '2', 'taken', '2'],
    'both changed differently': ['1', '2', '3', 'conflicts', { ours: '2', theirs: '3' }],
    'both changed alike': ['1', '2', '2', undefined, '2'],
    'we deleted': ['1', undefined, '1', 'kept', undefined],
    'they deleted': ['1', '1', undefined, 'taken', undefined],
    'both deleted': ['1', undefined, undefined, undefined, undefined],
    'we deleted and they changed': ['1', undefined, '2', 'conflicts', { ours: undefined, theirs: '2' }],
    'we changed and they deleted': ['1', '2', undefined, 'conflicts', { ours: '2', theirs: undefined }],
    'we made': [undefined, '1', undefined, 'kept', '1'],
    'they made': [undefined, undefined, '1', 'taken', '1'],
    'both made alike': [undefined, '1', '1', undefined, '1'],
    'both made differently': [undefined, '1', '2', 'conflicts', { ours: '1', theirs: '2' }]
  }
  for (const [what, [base, ours, theirs, says, result]] of Object.entries(table)) {
    it(`decides about a tag that ${what}`, async () => {
      const start = await grown(undefined, [
        await put('always', ['always']),
        ...(base === undefined ? [] : [await put(base, ['it'])])
      ])
      // something else happens on both sides, so that neither root is the other's past
      const side = async (to: string | undefined, mark: string): Promise<CID> => {
        const changes = [await put(mark, [mark])]
        if (to === undefined && base !== undefined) changes.push(removeTag(NAME, 'it'))
        else if (to !== undefined && to !== base) changes.push(await put(to, ['it']))
        return grown(start, changes)
      }
      const [mine, other] = [await side(ours, 'here'), await side(theirs, 'there')]
      for (const prefer of ['ours', 'theirs'] as const) {
        const found = await merge(start, mine, other, prefer)
        const of = (list: 'taken' | 'kept' | 'conflicts') => found[list].find(({ tag }) => tag === 'it')
        for (const list of ['taken', 'kept', 'conflicts'] as const)
          assert.equal(of(list) !== undefined, list === says, `${list} with ${prefer}`)
        if (says !== undefined) {
          const side = (text: string | undefined) => (text === undefined ? undefined : digest(text))
          const { repository, ours: o, theirs: t, base: b } = of(says) ?? assert.fail()
          assert.deepEqual([repository, b, o, t], ['app', side(base), side(ours), side(theirs)])
        }
        const root = await grown(mine, [found.change])
        const wanted = typeof result === 'object' ? result[prefer] : result
        assert.equal(await tagAt(root, 'it'), wanted === undefined ? undefined : digest(wanted))
        if (wanted !== undefined) assert.ok(await holds(root, wanted), 'what the tag points at is there')
        for (const mark of ['always', 'here', 'there']) {
          assert.equal(await tagAt(root, mark), digest(mark))
          assert.ok(await holds(root, mark))
        }
      }
    })
  }

  it('leaves a conflict that nobody decides about as it is here', async () => {
    const start = await grown(undefined, [await put('1', ['it'])])
    const mine = await grown(start, [await put('2', ['it'])])
    const found = await merge(start, mine, await grown(start, [await put('3', ['it'])]))
    assert.equal(found.conflicts.length, 1)
    assert.equal(await tagAt(await grown(mine, [found.change]), 'it'), digest('2'))
  })

  it('takes trees that began alone together, where there is no base', async () => {
    const mine = await grown(undefined, [await put('a', ['only-here', 'same']), await put('b', ['both'])])
    const other = await grown(undefined, [await put('a', ['same']), await put('c', ['both', 'only-there'])])
    const found = await merge(undefined, mine, other)
    const tags = (list: Merge['taken']) => list.map(({ tag }) => tag)
    assert.deepEqual(tags(found.taken), ['only-there'])
    assert.deepEqual(tags(found.kept), ['only-here'])
    assert.deepEqual(tags(found.conflicts), ['both'])
  })

  it('knows a repository whose name has the domain in front on one side only', async () => {
    const start = await grown(undefined, [await put('1', ['it'], 'app')])
    const mine = await grown(start, [await put('mine', ['here'], 'app')])
    const other = await grown(undefined, [await put('1', ['it']), await put('2', ['there'])])
    const found = await merge(start, mine, other)
    assert.deepEqual(
      found.taken.map(({ repository, tag }) => `${repository}:${tag}`),
      ['app:there']
    )
    assert.deepEqual(found.conflicts, [])
    const root = await grown(mine, [found.change])
    assert.equal(await tagAt(root, 'there', 'app'), digest('2'))
  })

  it('brings manifests without tags along, but not what was deleted here', async () => {
    const start = await grown(undefined, [await put('old', []), await put('1', ['it'])])
    const mine = await grown(start, [
      removeManifest(NAME, digest('old'), [], undefined),
      removeContent(digest('old'))
    ])
    // they add no tag, so nothing there can need what we deleted
    const other = await grown(start, [await put('new', [])])
    const root = await grown(mine, [(await merge(start, mine, other)).change])
    assert.deepEqual([await listsManifest(root, 'new'), await holds(root, 'new')], [true, true])
    assert.deepEqual([await listsManifest(root, 'old'), await holds(root, 'old')], [false, false])
  })

  it('brings back what was deleted here where a tag that is taken needs it', async () => {
    const start = await grown(undefined, [await put('old', []), await put('1', ['it'])])
    const mine = await grown(start, [
      removeManifest(NAME, digest('old'), [], undefined),
      removeContent(digest('old'))
    ])
    const other = await grown(start, [await put('old', ['again'])])
    const root = await grown(mine, [(await merge(start, mine, other)).change])
    assert.equal(await tagAt(root, 'again'), digest('old'))
    assert.deepEqual([await listsManifest(root, 'old'), await holds(root, 'old')], [true, true])
  })
})
