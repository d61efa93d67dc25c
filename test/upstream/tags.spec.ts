/** Tags of other registries through the gateway: while they are fresh, when they have moved, and while nobody can be asked. */
import assert from 'node:assert/strict'
import { type BedOptions, type PullThroughBed, startPullThrough } from '../support/pull-through-bed.ts'

describe('a tag that is pulled through', function () {
  this.timeout(60_000)
  let bed: PullThroughBed
  let there: PullThroughBed['there']
  let client: PullThroughBed['client']
  const get: PullThroughBed['get'] = (path, status) => bed.get(path, status)
  const pull: PullThroughBed['pull'] = (name, reference) => bed.pull(name, reference)

  async function start(setting: BedOptions['setting'] = {}, ttlMs?: number): Promise<void> {
    bed = await startPullThrough({ setting, ...(ttlMs !== undefined && { ttlMs }) })
    ;({ there, client } = bed)
  }

  afterEach(() => bed.stop())

  it('is asked for again after its time, and followed when it has moved', async () => {
    await start({}, 0)
    there.image('a/b', '1', ['old'])
    await pull('up.example/a/b', '1')
    await pull('up.example/a/b', '1')
    assert.equal(there.count(/^GET .*manifests/), 1)
    assert.equal(there.count(/^HEAD .*manifests/), 1)
    const moved = there.image('a/b', '1', ['new'])
    const answer = await get('up.example/a/b/manifests/1')
    assert.equal(answer.headers['docker-content-digest'], moved.digest)
    assert.equal(answer.headers['warning'], undefined)
    await pull('up.example/a/b', '1')
  })

  for (const [what, fault] of [
    ['is down', (_: unknown, res: { destroy(): void }) => (res.destroy(), true)],
    [
      'is asked too often',
      (_: unknown, res: Respond) => (res.writeHead(429, { 'retry-after': '60' }).end(), true)
    ],
    ['fails', (_: unknown, res: Respond) => (res.writeHead(500).end(), true)],
    ['says nothing', () => true]
  ] as const) {
    it(`is served as it was while the upstream ${what}, and says so`, async () => {
      await start({}, 0)
      there.image('a/b', '1', ['old'])
      await pull('up.example/a/b', '1')
      there.fault = fault as PullThroughBed['there']['fault']
      const answer = await get('up.example/a/b/manifests/1')
      assert.match(String(answer.headers['warning']), /^110 seaway "the upstream cannot be asked/)
      const asked = there.asked.length
      for (let i = 0; i < 5; i++) await pull('up.example/a/b', '1')
      assert.equal(there.asked.length, asked, 'it is left alone for a while')
      there.fault = undefined
    })
  }

  it('that is gone there is gone here, but not what it named', async () => {
    await start({}, 0)
    const image = there.image('a/b', '1', ['x'])
    await pull('up.example/a/b', '1')
    there.untag('a/b', '1')
    await get('up.example/a/b/manifests/1', 404)
    await pull('up.example/a/b', image.digest)
  })

  for (const status of [401, 403]) {
    it(`that the upstream no longer lets us have (${status}) is refused, and served when it does again`, async () => {
      await start({}, 0)
      const image = there.image('a/b', '1', ['x'])
      await pull('up.example/a/b', '1')
      there.fault = (_, res) => {
        res.writeHead(status).end()
        return true
      }
      const answer = await get('up.example/a/b/manifests/1', 404)
      assert.match(answer.body.toString(), /asks for a login|refuses access/)
      const asked = there.asked.length
      await get('up.example/a/b/manifests/1', 404)
      assert.equal(there.asked.length, asked, 'it is not asked each time')
      await pull('up.example/a/b', image.digest)
      there.fault = undefined
      await bed.restart()
      await pull('up.example/a/b', '1')
      assert.equal(there.count(/^GET .*manifests/), 1)
    })
  }

  it('is listed in pages, whatever those of the upstream are', async () => {
    await start({}, 0)
    const pages = [['9', '10'], ['1'], ['5', '3']]
    there.fault = (req, res) => {
      const [, at = '0'] = /page=(\d)/.exec(req.url ?? '') ?? []
      const next = Number(at) + 1
      if (next < pages.length) res.setHeader('link', `</v2/a/b/tags/list?page=${next}>; rel="next"`)
      res.end(JSON.stringify({ name: 'a/b', tags: pages[Number(at)] }))
      return true
    }
    const list = async (query: string) => {
      const answer = await get(`up.example/a/b/tags/list${query}`)
      return { tags: answer.json<{ tags: string[] }>().tags, headers: answer.headers }
    }
    assert.deepEqual((await list('')).tags, ['1', '10', '3', '5', '9'])
    const page = await list('?n=2&last=10')
    assert.deepEqual(page.tags, ['3', '5'])
    assert.match(String(page.headers.link), /last=5/)
    there.fault = (_, res) => {
      res.destroy()
      return true
    }
    const stale = await list('')
    assert.equal(stale.tags.length, 5)
    assert.match(String(stale.headers['warning']), /^110/)
  })

  it('that was pushed here stays what it is', async () => {
    await start({}, 0)
    there.image('a/b', '1', ['theirs'])
    await pull('up.example/a/b', '1')
    const own = await client.image('up.example/a/b', '1', 'ours')
    const answer = await get('up.example/a/b/manifests/1')
    assert.equal(answer.headers['docker-content-digest'], own.digest)
    assert.equal(there.count(/^HEAD .*manifests/), 0)
    assert.deepEqual((await get('up.example/a/b/tags/list')).json<{ tags: string[] }>().tags, ['1'])
  })

  it('that nobody has is asked for once in a while', async () => {
    await start()
    for (let i = 0; i < 3; i++) await get('up.example/a/b/manifests/none', 404)
    assert.equal(there.asked.length, 1)
  })

  it('is listed with all that the upstream has', async () => {
    await start()
    for (const tag of ['1', '2', '3']) there.image('a/b', tag, [tag])
    await client.image('up.example/a/b', '2-own')
    const list = async (query: string) =>
      (await get(`up.example/a/b/tags/list${query}`)).json<{ tags: string[] }>().tags
    assert.deepEqual(await list(''), ['1', '2', '2-own', '3'])
    assert.deepEqual(await list('?n=2&last=1'), ['2', '2-own'])
    assert.equal(there.count(/tags/), 1, 'as fresh as a tag')
  })
})

interface Respond {
  writeHead(status: number, headers?: Record<string, string>): { end(): void }
}
