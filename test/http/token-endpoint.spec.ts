/** The token endpoint, as clients use it: who gets a token for what, and how they are told of it. */
import assert from 'node:assert/strict'
import { type AuthServer, alice, basic, bob, startTeam, type TokenAnswer } from '../support/auth.ts'

describe('the token endpoint', function () {
  this.timeout(30_000)
  let auth: AuthServer
  before(async () => {
    auth = await startTeam()
  })
  after(() => auth?.stop())

  const post = (form: Record<string, string>) =>
    auth.as(undefined, 'POST', '/auth/token', {
      body: new URLSearchParams(form).toString(),
      headers: { 'content-type': 'application/x-www-form-urlencoded' }
    })
  const shown = ({ token }: TokenAnswer) => `Bearer ${token}`

  const scope = 'repository:example.com/public/app:pull,push'

  it('gives each what it has a right to, of several scopes', async () => {
    const scopes = [
      scope,
      'repository:example.com/bob/app:push,pull,delete repository:b:pull',
      'x:y:z',
      'registry:catalog:*'
    ]
    const got = async (who?: string) => (await auth.token(scopes, who)).json<TokenAnswer>().scope
    assert.equal(await got(), 'repository:example.com/public/app:pull registry:catalog:*')
    assert.equal(
      await got(bob),
      'repository:example.com/public/app:pull repository:example.com/bob/app:pull,push registry:catalog:*'
    )
    assert.match(await got(alice), /repository:example.com\/bob\/app:pull,push,delete repository:b:pull/)
    const all = (await auth.token(['repository:a:*'], alice)).json<TokenAnswer>()
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
    const { refresh_token = '', scope } = login.json<TokenAnswer>()
    assert.equal(scope, 'repository:example.com/bob/x:pull')
    const again = await post({
      grant_type: 'refresh_token',
      refresh_token,
      scope: 'repository:example.com/bob/y:push repository:c:pull'
    })
    assert.equal(again.json<TokenAnswer>().scope, 'repository:example.com/bob/y:push')
    assert.equal(again.json<TokenAnswer>().refresh_token, refresh_token)
    const docker = (
      await auth.as(bob, 'GET', '/auth/token?offline_token=true&account=bob')
    ).json<TokenAnswer>()
    assert.ok(docker.refresh_token)
  })

  it('refuses what is wrong', async () => {
    const access = (await auth.token([scope], alice)).json<TokenAnswer>().token
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
    assert.equal(answer.json<TokenAnswer>().scope, 'repository:registry.example.com/app:pull,push')
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
