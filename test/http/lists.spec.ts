/** https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#content-discovery */
import assert from 'node:assert/strict'
import { type Made, manifest, type OciClient, ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

/** Follows Link headers from `path` to the end, and gives the pages. */
async function pages<T>(
  client: OciClient,
  path: string,
  items: (json: Record<string, T[]>) => T[] | undefined
): Promise<T[][]> {
  const found: T[][] = []
  for (let next: string | undefined = path; next !== undefined; ) {
    const { headers, json } = await client.expect(200, 'GET', next)
    found.push(items(json()) ?? [])
    next = headers.link === undefined ? undefined : /^<([^>]+)>; rel="next"$/.exec(String(headers.link))?.[1]
    assert.equal(next === undefined, headers.link === undefined)
    assert.ok(found.length < 1000)
  }
  return found
}

describe('tag lists over HTTP', () => {
  let server: RegistryServer
  let client: OciClient
  let made: Made
  const tags = ['10', '9', 'B', '_x', 'a', 'a-b', 'a.b', 'b', 'latest', 'v1.10', 'v1.9'].sort()
  const list = (query = '', name = 'app') => `/v2/${name}/tags/list${query}`
  const read = async (query: string) =>
    (await client.expect(200, 'GET', list(query))).json<{ tags: string[] }>().tags

  before(async () => {
    server = await startRegistryServer()
    client = ociClient(server)
    made = await client.image('app', 'a')
    for (const tag of tags.toReversed()) await client.put('app', made, tag)
  })
  after(() => server.stop())

  it('has all tags in byte order, with the name that was asked for', async () => {
    const answer = await client.expect(200, 'GET', list())
    assert.deepEqual(answer.json(), { name: 'app', tags })
    assert.equal(answer.headers.link, undefined)
    assert.match(String(answer.headers['content-type']), /^application\/json/)
    assert.equal((await client.expect(200, 'HEAD', list())).body.length, 0)
  })

  for (const n of [1, 2, 3, 10, 11, 12, 999_999_999_999]) {
    it(`pages by ${n} over Link headers`, async () => {
      const all = await pages<string>(client, list(`?n=${n}`), (json) => json['tags'])
      assert.deepEqual(all.flat(), tags)
      assert.equal(all.length, Math.ceil(tags.length / n))
    })
  }

  it('begins after last, whether that tag is there or not', async () => {
    assert.deepEqual(await read('?last=a'), tags.slice(tags.indexOf('a') + 1))
    assert.deepEqual(await read('?n=2&last=a'), tags.slice(tags.indexOf('a') + 1).slice(0, 2))
    assert.deepEqual(await read('?last=a-a'), tags.slice(tags.indexOf('a') + 1))
    assert.deepEqual(await read('?n=2&last=zzz'), [])
  })

  it('is empty for n=0, without a Link', async () => {
    const answer = await client.expect(200, 'GET', list('?n=0'))
    assert.deepEqual(answer.json<{ tags: string[] }>().tags, [])
    assert.equal(answer.headers.link, undefined)
  })

  it('refuses a page size that is no number', async () => {
    for (const n of ['-1', 'x', '1.5', '', '1e3']) {
      assert.equal((await client.expect(400, 'GET', list(`?n=${n}`))).code, 'PAGINATION_NUMBER_INVALID')
    }
  })

  it('is 404 for a repository that nobody knows', async () => {
    assert.equal((await client.expect(404, 'GET', list('', 'unknown/app'))).code, 'NAME_UNKNOWN')
  })

  it('pages thousands of tags', async () => {
    const many = Array.from({ length: 3000 }, (_, i) => `t${i}`)
    await client.image('many', 'x')
    const { bytes } = await client.image('many', 'y', 'x')
    const other: Made = { ...manifest({}), ...made, bytes, digest: made.digest }
    assert.ok(other.bytes.equals(bytes))
    const query = (part: string[]) => part.map((tag) => `tag=${tag}`).join('&')
    const { digest, mediaType } = { ...(await client.image('many', 'z', 'x')) }
    for (let i = 0; i < many.length; i += 500) {
      await client.expect(201, 'PUT', `/v2/many/manifests/${digest}?${query(many.slice(i, i + 500))}`, {
        body: bytes,
        headers: { 'content-type': mediaType }
      })
    }
    const all = await pages<string>(client, '/v2/many/tags/list', (json) => json['tags'])
    assert.deepEqual(all.flat(), [...many, 'x', 'y', 'z'].sort())
    assert.equal(all[0]?.length, 1000)
  })
})

describe('the catalogue over HTTP', () => {
  let server: RegistryServer
  let client: OciClient
  const names = [
    'a',
    'a-b',
    'a/b',
    'a/b/c',
    'a.example.com/app',
    'b',
    'example.com/app',
    'example.com/app/deep',
    'example.com/zed',
    'example.com-2.org/app',
    'zed'
  ].sort()
  const catalogue = async (path: string) =>
    (await pages<string>(client, path, (json) => json['repositories'])).flat()

  before(async () => {
    server = await startRegistryServer({ hosts: ['example.com'] })
    client = ociClient(server)
    for (const name of names) await client.image(name, '1', 'the same')
  })
  after(() => server.stop())

  it('has every repository of the local trees, in byte order', async () => {
    assert.deepEqual(await catalogue('/v2/_catalog'), names)
  })

  for (const n of [1, 2, 3, 5, 11]) {
    it(`pages by ${n} over Link headers`, async () => {
      assert.deepEqual(await catalogue(`/v2/_catalog?n=${n}`), names)
    })
  }

  it('begins after last', async () => {
    for (const last of [...names, 'a/', 'example.com/b', 'zzz', '0']) {
      assert.deepEqual(
        await catalogue(`/v2/_catalog?last=${encodeURIComponent(last)}`),
        names.filter((name) => name > last),
        last
      )
    }
  })

  it('is that of one domain where the path, ?ns= or the Host header names it', async () => {
    const inside = ['app', 'app/deep', 'zed']
    const prefixed = inside.map((name) => `example.com/${name}`)
    assert.deepEqual(await catalogue('/v2/example.com/_catalog'), prefixed)
    assert.deepEqual(await catalogue('/v2/example.com/_catalog?n=1'), prefixed)
    assert.deepEqual(await catalogue('/v2/_catalog?ns=example.com&n=2'), inside)
    const byHost = await client.expect(200, 'GET', '/v2/_catalog', { headers: { host: 'example.com' } })
    assert.deepEqual(byHost.json(), { repositories: inside })
  })

  it('is that of one root where the path names its CID', async () => {
    const root = String(await server.registry.root('example.com'))
    const expected = ['app', 'app/deep', 'zed'].map((name) => `ipfs/${root}/example.com/${name}`)
    assert.deepEqual(await catalogue(`/v2/ipfs/${root}/_catalog`), expected)
    assert.deepEqual(await catalogue(`/v2/ipfs/${root}/_catalog?n=1`), expected)
    for (const name of expected) await client.expect(200, 'GET', `/v2/${name}/tags/list`)
  })

  it('is 404 for a domain that nobody knows, and 400 for what is none', async () => {
    assert.equal((await client.call('GET', '/v2/unknown.example.org/_catalog')).status, 404)
    assert.equal((await client.call('GET', '/v2/NOT_A_NAME/_catalog')).status, 400)
  })
})
