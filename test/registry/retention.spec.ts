/** Which tags go by the rules, and that they go. */
import assert from 'node:assert/strict'
import type { CID } from 'multiformats/cid'
import { retentionRule } from '../../src/config/publishing.ts'
import { createLog } from '../../src/log.ts'
import type { Digest } from '../../src/oci/digest.ts'
import { globMatches } from '../../src/registry/glob.ts'
import { createRetention, leaving } from '../../src/registry/retention.ts'
import { createTagTimes } from '../../src/registry/tag-times.ts'
import { createDirectories, openTree } from '../../src/tree/index.ts'
import { type OciClient, ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

const DAY = 86_400_000

describe('retention', function () {
  this.timeout(60_000)

  it('keeps a tag that one part of the rule is for', () => {
    const now = 100 * DAY
    const tags = [
      { tag: 'v1', at: now - 90 * DAY },
      { tag: 'ci-1', at: now - 40 * DAY },
      { tag: 'ci-2', at: now - 20 * DAY },
      { tag: 'ci-3', at: now - 10 * DAY },
      { tag: 'ci-4', at: now - 10 * DAY }
    ]
    const going = (rule: string) => leaving(retentionRule(rule), tags, now).map(({ tag }) => tag)
    assert.deepEqual(going('x last=2'), ['ci-2', 'ci-1', 'v1'])
    assert.deepEqual(going('x newer=30d'), ['ci-1', 'v1'])
    assert.deepEqual(going('x last=1 newer=15d match=v*'), ['ci-2', 'ci-1'])
    assert.deepEqual(going('x match=v* match=ci-?'), [])
    assert.deepEqual(going('x last=0'), ['ci-4', 'ci-3', 'ci-2', 'ci-1', 'v1'])
    const before = leaving(retentionRule('x last=2'), tags, now - 50 * DAY)
    assert.deepEqual(
      before.map(({ tag }) => tag),
      ['ci-2', 'ci-1', 'v1'],
      'the clock was set back'
    )
  })

  it('matches repositories by glob', () => {
    for (const [glob, name, is] of [
      ['example.com/app', 'example.com/app', true],
      ['example.com/*', 'example.com/app', true],
      ['example.com/*', 'example.com/team/app', false],
      ['example.com/**', 'example.com/team/app', true],
      ['**/ci', 'example.com/team/ci', true],
      ['example.com/a.p', 'example.com/axp', false],
      ['**', 'app', true]
    ] as const)
      assert.equal(globMatches(glob, name), is, `${glob} ${name}`)
  })

  it('refuses rules that say nothing', () => {
    for (const text of ['example.com/app', 'app last=x', 'app newer=3', 'app keep=3', 'app match='])
      assert.throws(() => retentionRule(text), /is none of|says nothing|is needed/, text)
  })

  it('removes tags, and what they alone had, as the dry run said', async () => {
    const rules = ['example.com/ci last=2 match=keep*', '** last=1000'].map(retentionRule)
    const server = await startRegistryServer({ collect: { keepRoots: 0, graceMs: 0, retention: rules } })
    try {
      const client = ociClient(server)
      for (const tag of ['keep-me', '1', '2', '3', '4', '5']) {
        await client.image('example.com/ci', tag)
        await client.image('example.com/app', tag, `app ${tag}`)
      }
      // The second is pushed again: it isn't old any more.
      const { body, headers } = await client.expect(200, 'GET', '/v2/example.com/ci/manifests/2')
      const type = { 'content-type': headers['content-type'] ?? '' }
      await client.expect(201, 'PUT', '/v2/example.com/ci/manifests/2', { body, headers: type })
      const signal = new AbortController().signal
      const would = await server.registry.collect({ dryRun: true, retention: true, signal })
      assert.deepEqual(
        would.tags.map(({ image }) => image),
        ['example.com/ci:4', 'example.com/ci:3', 'example.com/ci:1']
      )
      assert.equal(would.freed.blobs, 9)
      const did = await server.registry.collect({ dryRun: false, retention: true, signal })
      assert.deepEqual({ ...would, dryRun: false }, did)
      const list = async (name: string) =>
        (await client.expect(200, 'GET', `/v2/${name}/tags/list`)).json<{ tags: string[] }>().tags
      assert.deepEqual(await list('example.com/ci'), ['2', '5', 'keep-me'])
      assert.equal((await list('example.com/app')).length, 6)
      const after = await server.registry.collect({ dryRun: false, retention: true, signal })
      assert.deepEqual([after.tags.length, after.freed.bytes], [0, 0])
    } finally {
      await server.stop()
    }
  })

  describe('goes by when a tag came to point at what it does', () => {
    const DOMAIN = 'example.com'
    const signal = new AbortController().signal
    let server: RegistryServer
    let client: OciClient

    const begin = async (rule: string) => {
      server = await startRegistryServer({
        collect: { keepRoots: 5, graceMs: 0, retention: [retentionRule(rule)] }
      })
      client = ociClient(server)
    }
    afterEach(() => server.stop())
    const going = async () =>
      (await server.registry.collect({ dryRun: true, retention: true, signal })).tags.map(
        ({ image }) => image
      )
    const published = async () => {
      const root = (await server.registry.root(DOMAIN))!
      await server.registry.history.note(DOMAIN, root)
      return root
    }

    it('by a restore', async () => {
      await begin('** last=2')
      for (const tag of ['1', '2', '3', 'moved']) await client.image('example.com/app', tag)
      await published()
      await client.expect(202, 'DELETE', '/v2/example.com/app/manifests/1')
      await client.image('example.com/app', 'moved', 'elsewhere')
      await server.registry.historyLog.restore(DOMAIN, '1', signal)
      assert.deepEqual(await going(), ['example.com/app:3', 'example.com/app:2'])
      // what the restore took away is new when it comes again
      await client.image('example.com/app', '2')
      await server.registry.historyLog.restore(DOMAIN, '1', signal)
      assert.deepEqual((await going()).length, 2)
    })

    it('by a restore that pushes wait together with', async () => {
      await begin('** last=0 newer=1d')
      const made = await client.image('example.com/app', '1')
      const root = await published()
      await client.expect(202, 'DELETE', '/v2/example.com/app/manifests/1')
      const tags = Array.from({ length: 20 }, (_, i) => `t${i}`)
      await Promise.all([
        ...tags.map((tag) => client.put('example.com/app', made, tag)),
        server.registry.historyLog.restore(DOMAIN, String(root), signal),
        ...tags.map((tag) => client.put('example.com/app', made, `later-${tag}`))
      ])
      assert.deepEqual(await going(), [])
      await client.expect(200, 'GET', '/v2/example.com/app/manifests/1')
    })

    it('by a restore that cannot tell what it changes, for which all may be new', async () => {
      await begin('** last=0 newer=1d')
      await client.image('example.com/app', '1')
      await published()
      await client.expect(202, 'DELETE', '/v2/example.com/app/manifests/1')
      const load = async (cid: CID) => (await server.store.blocks.find(cid)) ?? assert.fail(`${cid} is lost`)
      // that such a directory is lacking is what restoring is for
      const lost = await createDirectories().resolve(
        { cid: (await server.registry.root(DOMAIN))!, size: 0 },
        ['docker', 'registry', 'v2', 'repositories', 'example.com', 'app'],
        load,
        signal
      )
      assert.ok(lost)
      await server.restart()
      await server.store.blocks.delete(lost.cid)
      await server.registry.historyLog.restore(DOMAIN, '1', signal)
      assert.deepEqual(await going(), [])
    })

    it('by a push that is on its way when the tag is to go', async () => {
      await begin('** last=0')
      const { digest } = await client.image('example.com/app', '1')
      const { records } = server.store
      const trees = { base: async () => undefined }
      const tagTimes = createTagTimes({ records, trees, log: createLog('silent') })
      const retention = createRetention({ tagTimes, rules: [retentionRule('** last=0')] })
      const load = async (cid: CID) => (await server.store.blocks.find(cid)) ?? assert.fail(`${cid} is lost`)
      const root = { cid: (await server.registry.root(DOMAIN))!, size: 0 }
      const view = openTree(root, createDirectories(), load)
      const repository = 'example.com/app'
      const [chosen] = await retention.choose(DOMAIN, view, repository, signal)
      assert.ok(chosen)
      assert.ok(await retention.stands(DOMAIN, view, chosen, signal))
      // it waits together with what takes the tag out, in the same group: nothing of it is written yet
      await tagTimes.rows(DOMAIN, [{ repository, tag: '1', digest: digest as Digest }])
      assert.ok(!(await retention.stands(DOMAIN, view, chosen, signal)))
    })

    it('on a clock that was set back', async () => {
      await begin('** last=2')
      for (const tag of ['v0', 'v1']) await client.image('example.com/app', tag)
      await server.restart()
      const { now } = Date
      Date.now = () => now() - DAY
      try {
        for (const tag of ['v2', 'a-newest']) await client.image('example.com/app', tag)
        assert.deepEqual(await going(), ['example.com/app:v1', 'example.com/app:v0'])
      } finally {
        Date.now = now
      }
    })
  })

  it('is done on a schedule, if one is set', async () => {
    const retention = [retentionRule('** last=1')]
    const server = await startRegistryServer({
      collect: { keepRoots: 0, graceMs: 0, retention, intervalMs: 50 }
    })
    try {
      const client = ociClient(server)
      await client.image('app', '1')
      await client.image('app', '2')
      while ((await client.call('GET', '/v2/app/manifests/1')).status !== 404)
        await new Promise((resolve) => setTimeout(resolve, 20))
      await client.expect(200, 'GET', '/v2/app/manifests/2')
    } finally {
      await server.stop()
    }
  })
})
