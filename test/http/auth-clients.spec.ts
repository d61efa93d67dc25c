/** Users and what is known of their clients: behind proxies, over their limits, over TLS. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { type AuthServer, basic, htpasswd, startAuthServer } from '../support/auth.ts'
import { http2Client } from '../support/http2-client.ts'
import { testIdentity } from '../support/identity.ts'
import type { RegistryServerOptions } from '../support/registry-server.ts'

const PROXY = { trustedProxies: ['127.0.0.0/8'] }
const alice = basic('alice', 'secret')
const wrong = basic('alice', 'wrong')

describe('users and their clients', () => {
  let auth: AuthServer
  const start = async (server: RegistryServerOptions) => {
    auth = await startAuthServer({ server })
  }
  afterEach(() => auth.stop())

  const from = (address: string, authorization?: string, path = '/v2/') =>
    auth.as(authorization, 'GET', path, { headers: { 'x-forwarded-for': address } })

  /** Guesses until it has to wait, which is soon. */
  async function guess(address: (i: number) => string): Promise<void> {
    for (let i = 0; i < 40; i++) {
      const { status, code } = await from(address(i), basic('alice', `guess ${i}`))
      if (status === 429) {
        assert.ok(i > 10)
        assert.equal(code, 'TOOMANYREQUESTS')
        return
      }
      assert.equal(status, 401)
    }
    assert.fail('it never had to wait')
  }

  it('are told of the token endpoint by the name and the protocol that a trusted proxy says', async () => {
    const headers = { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'registry.example.com' }
    const realm = async () =>
      String((await auth.as(undefined, 'GET', '/v2/', { headers })).headers['www-authenticate'])
    await start({ admission: PROXY })
    assert.match(await realm(), /^Bearer realm="https:\/\/registry\.example\.com\/auth\/token"/)
    await auth.stop()
    await start({ admission: {} })
    assert.match(await realm(), /^Bearer realm="http:\/\/127\.0\.0\.1:\d+\/auth\/token"/)
  })

  it('behind one proxy are slowed down each for their own guesses', async () => {
    await start({ admission: PROXY })
    await guess(() => '203.0.113.5')
    assert.equal((await from('203.0.113.6', wrong)).status, 401)
    assert.equal((await from('203.0.113.7', alice)).status, 200)
    const clients = new Set(auth.audited().map(({ client }) => client))
    assert.deepEqual([...clients], ['203.0.113.5', '203.0.113.6', '203.0.113.7'])
  })

  it('that show one wrong password with each request have guessed once, whether the user is there or not', async () => {
    await start({ admission: PROXY })
    for (const user of ['alice', 'nobody']) {
      const shown = basic(user, 'wrong')
      for (let round = 0; round < 5; round++) {
        const all = await Promise.all(Array.from({ length: 8 }, () => from('203.0.113.5', shown)))
        for (const { status } of all) assert.equal(status, 401)
      }
    }
    // one that nobody remembers is looked at, and right
    assert.equal((await from('203.0.113.5', alice)).status, 200)
  })

  it('hear the same of a user who is there and of one who is not, however often they guess, and are shown as much', async () => {
    await start({ admission: PROXY })
    // the deadlines of Retry-After move on
    const told = async (address: string, user: string) => {
      const heard: unknown[] = []
      const note = ({ status, headers, body }: Awaited<ReturnType<typeof from>>) => {
        const text = body
          .toString()
          .replace(/in \d+ s/, 'in N s')
          .replaceAll(user, 'USER')
        heard.push([status, headers['www-authenticate'], 'retry-after' in headers, text])
      }
      for (let i = 0; i < 6; i++) {
        const shown = basic(user, `guess ${i}`)
        for (const path of ['/v2/', '/auth/token', '/auth/whoami']) note(await from(address, shown, path))
        const form = new URLSearchParams({ grant_type: 'password', username: user, password: `form ${i}` })
        const headers = {
          'content-type': 'application/x-www-form-urlencoded',
          'x-forwarded-for': address
        }
        note(await auth.as(undefined, 'POST', '/auth/token', { headers, body: form.toString() }))
      }
      return heard
    }
    const there = await told('203.0.113.5', 'alice')
    assert.deepEqual(await told('203.0.113.6', 'nobody'), there)
    const statuses = new Set(there.map((each) => (each as [number])[0]))
    assert.deepEqual([...statuses], [401, 429])
  })

  it('that guess one user from many addresses are slowed down; that user goes on where it is known, and others anywhere', async () => {
    auth = await startAuthServer({
      server: { admission: PROXY },
      users: { alice: 'secret', bob: 'builder' }
    })
    assert.equal((await from('198.51.100.1', alice)).status, 200)
    for (let i = 0; i < 52; i++) await from(`203.0.113.${i}`, basic('alice', `guess ${i}`))
    const late = await from('203.0.113.200', wrong)
    assert.deepEqual([late.status, late.code], [429, 'TOOMANYREQUESTS'])
    assert.ok(Number(late.headers['retry-after']) > 0)
    // a password that isn't remembered, so that it is judged anew
    writeFileSync(auth.usersFile, htpasswd({ alice: 'changed', bob: 'builder' }))
    assert.equal((await from('198.51.100.1', basic('alice', 'changed'))).status, 200)
    assert.equal((await from('203.0.113.201', basic('bob', 'builder'))).status, 200)
  })

  it('who show a token in the place of their name are refused without it being written down', async () => {
    await start({ admission: {} })
    const signed = (await auth.bearer(['repository:app:pull'], alice)).slice(7)
    const machine = `seaway_0123456789abcdef_${'Ab-_'.repeat(11)}`
    for (const token of [signed, machine]) {
      assert.equal((await auth.as(basic(token, 'x'), 'GET', '/v2/')).status, 401)
      assert.equal((await auth.as(basic(`x-${token}`, 'x'), 'GET', '/auth/token')).status, 401)
    }
    const text = JSON.stringify(auth.audited())
    assert.ok(text.includes('seaway_0123456789abcdef_[hidden]'))
    for (const secret of ['Ab-_', 'eyJ', signed.slice(-20)]) assert.ok(!text.includes(secret), secret)
  })

  it('cannot say that they are somebody else to go on guessing', async () => {
    await start({ admission: {} })
    await guess((i) => `203.0.113.${i}`)
    assert.deepEqual([...new Set(auth.audited().map(({ client }) => client))], ['127.0.0.1'])
  })

  it('beyond their rate are refused before anybody looks at what they show', async () => {
    // one request, and the next after ten seconds
    await start({ admission: { ...PROXY, requestRate: 0.1 } })
    assert.equal((await from('203.0.113.5', wrong)).status, 401)
    const told = auth.audited().length
    for (const path of ['/v2/', '/auth/token', '/auth/whoami', '/metrics', '/v2/app/manifests/1']) {
      const refused = await from('203.0.113.5', wrong, path)
      assert.deepEqual([refused.status, refused.code], [429, 'TOOMANYREQUESTS'], path)
      assert.equal(refused.headers['www-authenticate'], undefined)
    }
    assert.equal(auth.audited().length, told)
  })

  it('are told of https where the gateway speaks it, by HTTP/2 too', async () => {
    const files = await testIdentity()
    await start({ identity: files.identity })
    const client = http2Client(auth.server.port)
    try {
      const { status, headers } = await client.call('GET', '/v2/')
      const realm = `Bearer realm="https://localhost:${auth.server.port}/auth/token",service="test"`
      assert.deepEqual([status, headers['www-authenticate']], [401, realm])
      const scope = 'scope=repository:app:pull,push'
      const answer = await client.call('GET', `/auth/token?${scope}`, { headers: { authorization: alice } })
      const { token } = JSON.parse(answer.body.toString()) as { token: string }
      const asked = { headers: { authorization: `Bearer ${token}` } }
      assert.equal((await client.call('POST', '/v2/app/blobs/uploads/', asked)).status, 202)
      assert.equal((await client.call('POST', '/v2/other/blobs/uploads/', asked)).status, 401)
    } finally {
      await client.close()
      await files.stop()
    }
  })
})
