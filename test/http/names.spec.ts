/** How a request finds its repository, and which names are refused before any tree is looked at. */
import assert from 'node:assert/strict'
import { digestOf, type OciClient, ociClient, rawConnection } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

describe('names over HTTP', () => {
  let server: RegistryServer
  let client: OciClient

  before(async () => {
    server = await startRegistryServer({ hosts: ['registry.example.com'] })
    client = ociClient(server)
  })
  after(() => server.stop())

  it('of every allowed form are kept as they are', async () => {
    const names = ['a', 'a/b/c/d', 'a.b', 'a_b', 'a__b', 'a-b', 'a---b', '0/1', 'manifests', 'blobs/uploads']
    names.push(
      'tags/list',
      'a/manifests/b',
      'v2',
      'ipfs',
      'ipfs/app',
      'a'.repeat(200),
      `${'a/'.repeat(127)}a`
    )
    for (const name of names) {
      const made = await client.image(name, '1', name)
      const got = await client.expect(200, 'GET', `/v2/${name}/manifests/1`)
      assert.equal(got.headers['docker-content-digest'], made.digest)
      const list = await client.expect(200, 'GET', `/v2/${name}/tags/list`)
      assert.deepEqual(list.json(), { name, tags: ['1'] })
    }
  })

  const bad = [
    'A',
    'App',
    'a..b',
    'a._b',
    'a___b',
    '-a',
    'a-',
    '.a',
    'a.',
    '_a',
    'a//b',
    '/a',
    'a/',
    'a/../b',
    '..',
    '.',
    'a/./b',
    '%2e%2e',
    'a%2fb',
    'a%2Fb',
    'a%5cb',
    'a%00b',
    'a%0ab',
    'a%20b',
    'a%25b',
    'a%252fb',
    'ä',
    '%C3%A4',
    'a\u2215b',
    'a:b',
    'a@b',
    'a+b',
    'a~b',
    'a*b',
    'a;b',
    'a=b',
    '%ff',
    '%',
    '%zz',
    'a'.repeat(256),
    `${'a/'.repeat(128)}a`,
    '_catalog',
    'a/_manifests',
    'ipfs/QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn/app',
    'ipfs/nonsense/app',
    'ipfs/../app',
    'con\u0000',
    'a\u200bb'
  ]
  for (const name of bad) {
    it(`refuse ${JSON.stringify(name.slice(0, 40))} everywhere, and make nothing`, async () => {
      const before = await server.registry.root('local')
      const digest = digestOf('x')
      // Written by hand, since a client would mend or refuse some of these itself.
      const ask = async (method: string, path: string): Promise<string> => {
        const bytes = Buffer.from(
          `${method} /v2/${name}/${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`
        )
        return rawConnection(server, bytes).closed
      }
      const requests: [string, string][] = [
        ['GET', 'tags/list'],
        ['GET', 'manifests/1'],
        ['GET', `blobs/${digest}`],
        ['GET', `referrers/${digest}`],
        ['PUT', 'manifests/1'],
        ['DELETE', 'manifests/1'],
        ['POST', 'blobs/uploads/'],
        ['POST', `blobs/uploads/?mount=${digest}&from=a`]
      ]
      for (const [method, path] of requests) {
        const text = await ask(method, path)
        assert.match(text, /^HTTP\/1.1 40[0345] /, `${method} ${path}`)
        if (text.startsWith('HTTP/1.1 400')) assert.match(text, /"code":"[A-Z_]+"/)
      }
      assert.equal(String(await server.registry.root('local')), String(before))
    })
  }

  it('with a domain in front go into that domain’s tree', async () => {
    const made = await client.image('example.org/team/app', '1')
    assert.ok(await server.registry.root('example.org'))
    const got = await client.expect(200, 'GET', '/v2/team/app/manifests/1?ns=example.org')
    assert.equal(got.headers['docker-content-digest'], made.digest)
  })

  it('take their domain from ?ns=, which is given back, and Locations keep it', async () => {
    const begun = await client.expect(202, 'POST', '/v2/app/blobs/uploads/?ns=ns.example.org')
    assert.equal(begun.headers['oci-namespace'], 'ns.example.org')
    assert.match(String(begun.headers.location), /\?ns=ns\.example\.org$/)
    await client.image('ns.example.org/app', '1')
    for (const path of [
      'manifests/1',
      'tags/list',
      `blobs/${digestOf('layer of 1')}`,
      `referrers/${digestOf('x')}`
    ]) {
      const got = await client.expect(200, 'GET', `/v2/app/${path}?ns=ns.example.org`)
      assert.equal(got.headers['oci-namespace'], 'ns.example.org')
    }
    const plain = await client.expect(404, 'GET', '/v2/app/manifests/1')
    assert.equal(plain.headers['oci-namespace'], undefined)
    await client.expect(200, 'GET', '/v2/ns.example.org/app/manifests/1?ns=ns.example.org')
  })

  it('carry ?ns= and Host through an upload, a mount and the pages of a list', async () => {
    const ask = { headers: { host: 'registry.example.com' } }
    const digest = digestOf('hosted')
    const begun = await client.expect(202, 'POST', '/v2/one/blobs/uploads/', ask)
    await client.expect(201, 'PUT', `${begun.headers.location}?digest=${digest}`, { ...ask, body: 'hosted' })
    await client.expect(404, 'HEAD', `/v2/one/blobs/${digest}`)
    await client.expect(200, 'HEAD', `/v2/registry.example.com/one/blobs/${digest}`)
    await client.expect(201, 'POST', `/v2/two/blobs/uploads/?mount=${digest}&from=one`, ask)
    await client.expect(200, 'HEAD', `/v2/registry.example.com/two/blobs/${digest}`)
    const made = await client.image('ns.example.org/paged', 'a')
    await client.put('ns.example.org/paged', made, 'b')
    const page = await client.expect(200, 'GET', '/v2/paged/tags/list?n=1&ns=ns.example.org')
    const next = /^<([^>]+)>/.exec(String(page.headers.link))?.[1] ?? ''
    assert.deepEqual((await client.expect(200, 'GET', next)).json<{ tags: string[] }>().tags, ['b'])
  })

  it('are those of the registry that ?ns= names, with its port, and of no other', async () => {
    await client.image('mirrored', '1', 'here')
    const made = await client.image('corp.example.org/mirrored', '1', 'there')
    const got = await client.expect(200, 'GET', '/v2/mirrored/manifests/1?ns=corp.example.org:5000')
    assert.equal(got.headers['docker-content-digest'], made.digest)
    assert.equal(got.headers['oci-namespace'], 'corp.example.org:5000')
    for (const ns of ['other.example.org:5000', 'nodots', 'nodots:5000']) {
      const refused = await client.expect(404, 'GET', `/v2/mirrored/manifests/1?ns=${ns}`)
      assert.equal(refused.code, 'NAME_UNKNOWN')
    }
  })

  it('are the same however a Host header writes its name', async () => {
    await client.image('cased', '1', 'here')
    const made = await client.image('registry.example.com/cased', '1', 'there')
    for (const host of ['Registry.Example.COM', 'registry.example.com.', 'REGISTRY.example.com.:5000']) {
      const got = await client.expect(200, 'GET', '/v2/cased/manifests/1', { headers: { host } })
      assert.equal(got.headers['docker-content-digest'], made.digest, host)
    }
  })

  it('that begin with their domain are not those that do not', async () => {
    for (const [domain, short] of [
      ['local', 'doubled'],
      ['double.example.org', 'double.example.org/doubled']
    ] as const) {
      const one = await client.image(short, '1', 'one')
      const two = await client.image(`${domain}/${short}`, '1', 'two')
      for (const [name, made] of [
        [short, one],
        [`${domain}/${short}`, two]
      ] as const) {
        const got = await client.expect(200, 'GET', `/v2/${name}/manifests/1`)
        assert.equal(got.headers['docker-content-digest'], made.digest, name)
      }
      await client.expect(202, 'DELETE', `/v2/${domain}/${short}/manifests/1`)
      await client.expect(200, 'GET', `/v2/${short}/manifests/1`)
    }
  })

  it('of as many components as fit are in the catalogue', async () => {
    const name = `${'d/'.repeat(126)}e`
    await client.image(name, '1')
    const { repositories } = (await client.expect(200, 'GET', '/v2/_catalog?n=10000')).json<{
      repositories: string[]
    }>()
    assert.ok(repositories.includes(name))
  })

  it('of an IPNS name that is none are refused as such', async () => {
    const refused = await client.expect(400, 'GET', '/v2/ipns/notaname/img/manifests/1')
    assert.equal(refused.code, 'NAME_INVALID')
  })

  it('belong to the default domain when ?ns= or Host is none that counts', async () => {
    await client.image('plain', '1')
    for (const ns of ['', 'localhost:5000', '127.0.0.1:5000', '[::1]:5000', 'localhost']) {
      await client.expect(200, 'GET', `/v2/plain/manifests/1?ns=${encodeURIComponent(ns)}`)
    }
    await client.expect(200, 'GET', '/v2/plain/manifests/1', { headers: { host: 'unlisted.example.com' } })
    for (const ns of ['../x', 'a..b', '-.-', `${'a.'.repeat(200)}b`, 'a.b/c', 'é.com']) {
      const got = await client.call('GET', `/v2/plain/manifests/1?ns=${encodeURIComponent(ns)}`)
      assert.equal(got.code, 'NAME_INVALID', ns)
      assert.equal(got.status, 400)
    }
  })

  it('that differ in their domain only are different repositories', async () => {
    const [one, two] = [
      await client.image('one.example.org/app', '1', 'one'),
      await client.image('app', '1', 'two')
    ]
    assert.notEqual(one.digest, two.digest)
    await client.expect(404, 'GET', `/v2/app/manifests/${one.digest}`)
    await client.expect(404, 'GET', `/v2/one.example.org/app/manifests/${two.digest}`)
  })

  it('say what is allowed where a method is not', async () => {
    const cases: [string, string, string[]][] = [
      ['PATCH', '/v2/', ['GET', 'HEAD']],
      ['POST', '/v2/app/manifests/1', ['GET', 'HEAD', 'PUT', 'DELETE']],
      ['PUT', '/v2/app/tags/list', ['GET', 'HEAD']],
      ['PUT', `/v2/app/blobs/${digestOf('x')}`, ['GET', 'HEAD', 'DELETE']],
      ['OPTIONS', '/v2/app/blobs/uploads/', ['POST']]
    ]
    for (const [method, path, allowed] of cases) {
      const refused = await client.expect(405, method, path)
      assert.equal(refused.code, 'UNSUPPORTED')
      const said = String(refused.headers.allow).split(', ')
      for (const each of allowed) assert.ok(said.includes(each), `${method} ${path}: ${said.join()}`)
    }
  })

  it('are 404 where there is no endpoint at all', async () => {
    for (const path of [
      '/',
      '/v1/',
      '/v2/app',
      '/v2/app/tags',
      '/v3/app/tags/list',
      '/favicon.ico',
      '/v2/app/blobs'
    ]) {
      const refused = await client.call('GET', path)
      assert.equal(refused.status, 404, path)
      assert.ok(refused.code)
    }
  })
})
