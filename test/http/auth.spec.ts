/** What clients see where users are asked for: rights that change, mounts, uploads, lists, the audit log. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { base36 } from 'multiformats/bases/base36'
import { CID } from 'multiformats/cid'
import {
  type AuthServer,
  alice,
  basic,
  bob,
  htpasswd,
  pushAs,
  RULES,
  startAuthServer,
  startTeam,
  type TokenAnswer,
  USERS
} from '../support/auth.ts'
import { digestOf, OCI_MANIFEST } from '../support/oci-client.ts'

describe('users over HTTP', function () {
  this.timeout(30_000)
  let auth: AuthServer
  before(async () => {
    auth = await startTeam()
  })
  after(() => auth?.stop())

  it('routes have one spelling, so that rules about paths in front of a gateway hold', async () => {
    for (const path of ['/METRICS', '/V2/', '/v2/_CATALOG', '/Auth/Token', '/IPFS/bafkqaaa'])
      assert.ok([400, 404].includes((await auth.as(alice, 'GET', path)).status), path)
  })

  it('who was made a moment ago is let in at once, with no guess counted', async () => {
    const server = await startAuthServer({ settings: { lookEveryMs: 60_000 } })
    try {
      assert.equal((await server.as(basic('alice', 'secret'), 'GET', '/v2/')).status, 200)
      writeFileSync(server.usersFile, htpasswd({ alice: 'another', dave: 'made now' }))
      assert.equal((await server.as(basic('dave', 'made now'), 'GET', '/v2/')).status, 200)
      assert.equal((await server.as(basic('alice', 'another'), 'GET', '/v2/')).status, 200)
      assert.deepEqual(
        server.audited().filter(({ event }) => event === 'refused'),
        []
      )
    } finally {
      await server.stop()
    }
  })

  describe('rights', () => {
    it('that anybody has need no login, and logging in takes none away', async () => {
      await pushAs(auth, alice, 'example.com/public/app', '1')
      const path = '/v2/example.com/public/app/manifests/1'
      const anonymous = await auth.bearer(['repository:example.com/public/app:pull'])
      for (const who of [undefined, anonymous, bob, basic('carol', 'pass')])
        assert.equal((await auth.as(who, 'GET', path)).status, 200)
      assert.equal((await auth.as(anonymous, 'PUT', path)).status, 401)
      assert.equal((await auth.as(bob, 'PUT', path)).status, 403)
    })

    it('of a root that is named by its CID are given in so many words', async () => {
      await pushAs(auth, alice, 'example.com/bob/app', '1')
      const root = String(await auth.server.registry.root('example.com'))
      const path = `/v2/ipfs/${root}/example.com/bob/app/manifests/1`
      assert.equal((await auth.as(alice, 'GET', path)).status, 200)
      assert.equal((await auth.as(bob, 'GET', path)).status, 403)
      assert.equal((await auth.as(undefined, 'GET', path)).status, 401)
      // a root has a name in each base; what is taken out of a rule is taken out by all of them
      const other = CID.parse(root).toString(base36)
      writeFileSync(
        auth.rulesFile,
        `${RULES}\n  - {who: bob, repositories: [ipfs/**, "!ipfs/${other}/**"], can: pull}`
      )
      for (const name of [root, other])
        assert.equal((await auth.as(bob, 'GET', path.replace(root, name))).status, 403)
      writeFileSync(auth.rulesFile, `${RULES}\n  - {who: bob, repositories: "ipfs/${other}/**", can: pull}`)
      for (const name of [root, other])
        assert.equal((await auth.as(bob, 'GET', path.replace(root, name))).status, 200)
      const list = await auth.as(bob, 'GET', `/v2/ipfs/${other}/_catalog`)
      assert.ok(list.json<{ repositories: string[] }>().repositories.length > 0)
      writeFileSync(auth.rulesFile, RULES)
    })

    it('are those of the moment: of rules, users and passwords', async () => {
      const server = await startAuthServer({ users: USERS, rules: RULES })
      try {
        const scope = 'repository:example.com/bob/app:pull,push'
        const path = '/v2/example.com/bob/app/blobs/uploads/'
        const token = await server.bearer([scope], bob)
        const refresh =
          (await server.as(bob, 'GET', '/auth/token?offline_token=true')).json<TokenAnswer>().refresh_token ??
          ''
        const status = async (who: string) => (await server.as(who, 'POST', path)).status
        assert.deepEqual([await status(token), await status(bob)], [202, 202])
        writeFileSync(server.rulesFile, RULES.replace('example.com/bob/**', 'example.com/robert/**'))
        assert.deepEqual([await status(token), await status(bob)], [403, 403])
        writeFileSync(server.rulesFile, 'rules: nonsense')
        assert.deepEqual([await status(token), await status(alice)], [403, 202])
        writeFileSync(server.rulesFile, RULES)
        assert.equal(await status(token), 202)
        writeFileSync(server.usersFile, htpasswd({ ...USERS, bob: 'another' }))
        assert.deepEqual(
          [await status(token), await status(bob), await status(basic('bob', 'another'))],
          [401, 401, 202]
        )
        const renewed = await server.as(undefined, 'POST', '/auth/token', {
          body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refresh }).toString(),
          headers: { 'content-type': 'application/x-www-form-urlencoded' }
        })
        assert.equal(renewed.status, 401)
        writeFileSync(server.usersFile, htpasswd({ alice: 'secret' }))
        assert.equal(await status(basic('bob', 'another')), 401)
      } finally {
        await server.stop()
      }
    })

    it('survive a restart, in tokens too', async () => {
      const token = await auth.bearer(['repository:example.com/bob/app:pull,push'], bob)
      await auth.server.restart()
      assert.equal((await auth.as(token, 'POST', '/v2/example.com/bob/app/blobs/uploads/')).status, 202)
    })
  })

  it('a token that was asked for with push alone is enough for a push', async () => {
    const name = 'example.com/bob/narrow'
    const token = await auth.bearer([`repository:${name}:push`], bob)
    await pushAs(auth, token, name, '1')
    assert.equal((await auth.as(token, 'HEAD', `/v2/${name}/manifests/1`)).status, 200)
    const pull = await auth.bearer([`repository:${name}:pull`], bob)
    const asked = await auth.as(pull, 'POST', `/v2/${name}/blobs/uploads/`)
    assert.equal(asked.status, 401)
    assert.match(
      String(asked.headers['www-authenticate']),
      /scope="repository:example\.com\/bob\/narrow:pull,push",error="insufficient_scope"$/
    )
  })

  it('a blob is mounted from where its client may read, and nowhere else', async () => {
    const { blob } = await pushAs(auth, alice, 'secret', '1')
    await pushAs(auth, alice, 'example.com/public/mounted', '1')
    const mount = async (who: string, query: string) =>
      (await auth.as(who, 'POST', `/v2/example.com/bob/m/blobs/uploads/?mount=${blob}${query}`)).status
    assert.equal(await mount(bob, '&from=secret'), 202)
    assert.equal(await mount(bob, ''), 202)
    assert.equal((await auth.as(bob, 'HEAD', `/v2/example.com/bob/m/blobs/${blob}`)).status, 404)
    const narrow = await auth.bearer(['repository:example.com/bob/m:pull,push'], alice)
    assert.equal(await mount(narrow, '&from=secret'), 202)
    assert.equal(await mount(narrow, ''), 202)
    const wide = await auth.bearer(
      ['repository:example.com/bob/m:pull,push', 'repository:secret:pull'],
      alice
    )
    assert.equal(await mount(wide, '&from=secret'), 201)
    assert.equal(await mount(alice, ''), 201)
  })

  it('the root that a push has made is told to who may read all that is below it', async () => {
    const root = async (who: string) => {
      const name = 'example.com/bob/rooted'
      const { digest } = await pushAs(auth, who, name, '1')
      const { body } = await auth.as(who, 'GET', `/v2/${name}/manifests/1`)
      const headers = { 'content-type': OCI_MANIFEST }
      const put = await auth.as(who, 'PUT', `/v2/${name}/manifests/${digest}`, { body, headers })
      assert.equal(put.status, 201)
      return put.headers['seaway-root']
    }
    assert.equal(await root(bob), undefined)
    const current = String(await auth.server.registry.root('example.com'))
    assert.equal(auth.audited().at(-1)?.['root'], current)
    assert.equal(await root(alice), current)
  })

  it('an upload is found again by who began it, also after a restart, and by nobody else', async () => {
    const begun = await auth.as(bob, 'POST', '/v2/example.com/bob/up/blobs/uploads/')
    const at = begun.headers.location ?? ''
    assert.equal((await auth.as(bob, 'PATCH', at, { body: 'first ' })).status, 202)
    for (const [method, path] of [
      ['GET', at],
      ['PATCH', at],
      ['PUT', `${at}?digest=${digestOf('first ')}`],
      ['DELETE', at]
    ] as const)
      assert.equal((await auth.as(alice, method, path)).code, 'BLOB_UPLOAD_UNKNOWN')
    await auth.server.restart()
    assert.equal((await auth.as(alice, 'GET', at)).status, 404)
    assert.equal((await auth.as(bob, 'GET', at)).headers.range, '0-5')
    const done = await auth.as(bob, 'PUT', `${at}?digest=${digestOf('first last')}`, { body: 'last' })
    assert.equal(done.status, 201)
  })

  it('lists hold what their reader may see, in whole pages', async () => {
    const names = [
      'example.com/public/app',
      'hidden.example/app',
      'example.com/bob/a',
      'example.com/bob/b',
      'example.com/public/z',
      'hidden/one',
      'hidden/two'
    ]
    for (const name of names) await pushAs(auth, alice, name, '1')
    const list = async (who: string, query = '', place = '') => {
      const answer = await auth.as(who, 'GET', `/v2/${place}_catalog${query}`)
      return { names: answer.json<{ repositories: string[] }>().repositories, link: answer.headers.link }
    }
    const anonymous = await auth.bearer(['registry:catalog:*'])
    assert.deepEqual((await list(anonymous)).names, [
      'example.com/public/app',
      'example.com/public/mounted',
      'example.com/public/z'
    ])
    const bobs = (await list(bob)).names
    assert.ok(
      bobs.includes('example.com/bob/a') &&
        bobs.includes('example.com/public/z') &&
        !bobs.includes('hidden/one')
    )
    assert.ok((await list(alice)).names.includes('hidden/two'))
    const first = await list(anonymous, '?n=2')
    assert.equal(first.names.length, 2)
    assert.match(String(first.link), /last=example.com%2Fpublic%2Fmounted/)
    const second = await list(anonymous, '?n=2&last=example.com/public/mounted')
    assert.deepEqual(second, { names: ['example.com/public/z'], link: undefined })
    assert.deepEqual((await list(anonymous, '', 'example.com/')).names, (await list(anonymous)).names)
    // who can see nothing of a place isn't told whether it is there
    for (const place of ['hidden.example', 'nothing.example']) {
      assert.equal((await auth.as(anonymous, 'GET', `/v2/${place}/_catalog`)).status, 401)
      assert.equal((await auth.as(bob, 'GET', `/v2/${place}/_catalog`)).status, 403)
    }
    assert.equal((await auth.as(bob, 'GET', '/v2/_catalog?ns=hidden.example')).status, 403)
    assert.deepEqual(
      auth.server.dns.queries.filter(({ name }) => name.startsWith('_dnslink.nothing')),
      []
    )
  })

  it('whoami says who somebody is, and what that gives', async () => {
    const ask = async (who?: string) =>
      (await auth.as(who, 'GET', '/auth/whoami')).json<{
        name: string
        kind: string
        rights: { can: string[] }[]
      }>()
    const { name, kind, rights } = await ask(bob)
    assert.deepEqual([name, kind, rights.map(({ can }) => can)], ['bob', 'user', [['push'], ['pull']]])
    assert.equal((await ask()).name, 'anonymous')
    assert.equal((await auth.as(basic('bob', 'x'), 'GET', '/auth/whoami')).status, 401)
  })

  it('publishing takes the right to all of a domain', async () => {
    const publish = async (who: string | undefined, domain: string) =>
      auth.as(who, 'POST', `/v2/_seaway/publish/${domain}`)
    assert.equal((await publish(bob, 'example.com')).status, 403)
    const answer = await publish(alice, 'example.com')
    assert.equal(answer.status, 200)
    assert.deepEqual(answer.json()['outcome'], 'printed')
    assert.equal((await publish(alice, 'nothing.example')).status, 404)
  })

  it('the audit log has who did what, once each, and nothing that proves it', async () => {
    const before = auth.audited().length
    const { digest } = await pushAs(auth, bob, 'example.com/bob/audited', '1')
    await auth.as(bob, 'DELETE', '/v2/example.com/bob/audited/manifests/1')
    await auth.as(alice, 'DELETE', '/v2/example.com/bob/audited/manifests/1')
    await auth.as(basic('mallory', 'guess'), 'GET', '/v2/')
    await auth.token([], basic('eve', 'guess'))
    await auth.as(undefined, 'GET', '/v2/')
    await auth.as(await auth.bearer(['repository:hidden/one:pull'], bob), 'GET', '/v2/hidden/one/manifests/1')
    const lines = auth.audited().slice(before)
    const short = lines.map(({ event, who, repository, reference, code }) =>
      [event, who, repository, reference, code]
        .flatMap((part) => (typeof part === 'string' ? part : []))
        .join(' ')
    )
    assert.deepEqual(
      short.filter((line) => !line.startsWith('login')),
      [
        'push bob example.com/bob/audited 1',
        'refused bob example.com/bob/audited 1 DENIED',
        'delete alice example.com/bob/audited 1',
        'refused mallory UNAUTHORIZED',
        'refused eve UNAUTHORIZED',
        'refused bob hidden/one 1 DENIED'
      ]
    )
    const push = lines.find(({ event }) => event === 'push')
    assert.equal(push?.['digest'], digest)
    assert.equal(push?.['client'], '127.0.0.1')
    assert.match(String(push?.['time']), /^20\d\d-/)
    assert.ok(auth.audited().some(({ event, who }) => event === 'login' && who === 'bob'))
    const text = JSON.stringify(auth.audited())
    for (const secret of ['builder', 'guess', 'eyJ', '$2', alice.slice(6)])
      assert.ok(!text.includes(secret), secret)
  })
})
