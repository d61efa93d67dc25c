/** The token endpoint, as clients use it: who gets a token for what, and how they are told of it. */
import assert from 'node:assert/strict'
import { type AuthServer, basic, startAuthServer } from '../support/auth.ts'

const USERS = { alice: 'secret', bob: 'builder', carol: 'pass' }
const RULES = `
rules:
  - {who: alice, repositories: ["**", "ipfs/**"], can: admin}
  - {who: bob, repositories: [example.com/bob/**, registry.example.com/*], can: push}
  - {who: anonymous, repositories: example.com/public/*, can: pull}
`
const alice = basic('alice', 'secret')
const bob = basic('bob', 'builder')

interface Token {
  token: string
  access_token: string
  scope: string
  expires_in: number
  refresh_token?: string
}

describe('the token endpoint', function () {
  this.timeout(30_000)
  let auth: AuthServer
  before(async () => {
    auth = await startAuthServer({ users: USERS, rules: RULES, server: { hosts: ['registry.example.com'] } })
  })
  after(() => auth?.stop())

  const post = (form: Record<string, string>) =>
    auth.as(undefined, 'POST', '/auth/token', {
      body: new URLSearchParams(form).toString(),
      headers: { 'content-type': 'application/x-www-form-urlencoded' }
    })
  const shown = ({ token }: Token) => `Bearer ${token}`

  const scope = 'repository:example.com/public/app:pull,push'

  it('gives each what it has a right to, of several scopes', async () => {
    const scopes = [
      scope,
      'repository:example.com/bob/app:push,pull,delete repository:b:pull',
      'x:y:z',
      'registry:catalog:*'
    ]
    const got = async (who?: string) => (await auth.token(scopes, who)).json<Token>().scope
    assert.equal(await got(), 'repository:example.com/public/app:pull registry:catalog:*')
    assert.equal(
      await got(bob),
      'repository:example.com/public/app:pull repository:example.com/bob/app:pull,push registry:catalog:*'
    )
    assert.match(await got(alice), /repository:example.com\/bob\/app:pull,push,delete repository:b:pull/)
    const all = (await auth.token(['repository:a:*'], alice)).json<Token>()
    assert.equal(all.scope, 'repository:a:pull,push,delete')
    assert.equal(all.token, all.access_token)
    assert.equal(all.expires_in, 60)
    assert.equal(all.refresh_token, undefined)
  })

  it('takes the OAuth2 form, and gives tokens for refresh tokens', async () => {
    const login = await post({
      grant_type: 'password',
      username: 'bob',
      password: 'builder',
      service: 'test',
      access_type: 'offline',
      scope: 'repository:example.com/bob/x:pull'
    })
    assert.equal(login.status, 200)
    assert.equal(login.headers['cache-control'], 'no-store')
    const { refresh_token = '', scope } = login.json<Token>()
    assert.equal(scope, 'repository:example.com/bob/x:pull')
    const again = await post({
      grant_type: 'refresh_token',
      refresh_token,
      scope: 'repository:example.com/bob/y:push repository:c:pull'
    })
    assert.equal(again.json<Token>().scope, 'repository:example.com/bob/y:push')
    assert.equal(again.json<Token>().refresh_token, refresh_token)
    const docker = (await auth.as(bob, 'GET', '/auth/token?offline_token=true&account=bob')).json<Token>()
    assert.ok(docker.refresh_token)
  })

  it('refuses what is wrong', async () => {
    const access = (await auth.token([scope], alice)).json<Token>().token
    for (const [form, status] of [
      [{ grant_type: 'password', username: 'bob', password: 'wrong' }, 401],
      [{ grant_type: 'refresh_token', refresh_token: access }, 401],
      [{ grant_type: 'refresh_token', refresh_token: 'x' }, 401],
      [{ grant_type: 'authorization_code' }, 400],
      [{}, 400]
    ] as const)
      assert.equal((await post(form as Record<string, string>)).status, status, JSON.stringify(form))
    assert.equal((await auth.as(undefined, 'POST', '/auth/token', { body: '{}' })).status, 415)
    const wrong = await auth.token([scope], basic('alice', 'x'))
    assert.equal(wrong.status, 401)
    assert.equal(wrong.headers['www-authenticate'], 'Basic realm="Seaway", charset="UTF-8"')
  })

  it('reads names as requests do: with the host that clients use', async () => {
    const headers = { host: 'registry.example.com' }
    const answer = await auth.as(bob, 'GET', '/auth/token?scope=repository:app:pull,push', { headers })
    assert.equal(answer.json<Token>().scope, 'repository:registry.example.com/app:pull,push')
    const begun = await auth.as(shown(answer.json()), 'POST', '/v2/app/blobs/uploads/', { headers })
    assert.equal(begun.status, 202)
    const asked = await auth.as(undefined, 'POST', '/v2/app/blobs/uploads/', { headers })
    assert.match(
      String(asked.headers['www-authenticate']),
      /realm="http:\/\/registry\.example\.com\/auth\/token".*scope="repository:registry\.example\.com\/app:pull,push"/
    )
  })

  it('is told of in a challenge that a host name can not break out of', async () => {
    const answer = await auth.as(undefined, 'GET', '/v2/', { headers: { host: 'x",y="z' } })
    assert.ok([400, 401].includes(answer.status))
    assert.ok(!String(answer.headers['www-authenticate']).includes('y='))
  })
})
