/** Tokens of others: a provider over real HTTP, with its keys, its faults, and what is made of its claims. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, type GenerateKeyPairResult, generateKeyPair, type JWK, SignJWT } from 'jose'
import { createIssuers } from '../../src/auth/issuers.ts'
import type { IssuerSetting } from '../../src/auth/rules.ts'
import { basic, pushAs, startAuthServer } from '../support/auth.ts'

interface Provider {
  readonly url: string
  /** How often each path was asked for. */
  readonly asked: Record<string, number>
  /** Answers instead, where it is set. */
  instead: RequestListener | undefined
  keys: JWK[]
  sign(
    claims: Record<string, unknown>,
    options?: { alg?: string; kid?: string; expires?: string }
  ): Promise<string>
  rotate(kid: string): Promise<void>
  stop(): Promise<void>
}

async function startProvider(): Promise<Provider> {
  let pair: GenerateKeyPairResult
  let current = ''
  const asked: Record<string, number> = {}
  const server: Server = createServer((req, res) => {
    const path = req.url ?? ''
    asked[path] = (asked[path] ?? 0) + 1
    if (provider.instead !== undefined) {
      provider.instead(req, res)
      return
    }
    const body =
      path === '/keys' ? { keys: provider.keys } : { issuer: provider.url, jwks_uri: `${provider.url}/keys` }
    res.setHeader('content-type', 'application/json').end(JSON.stringify(body))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const provider: Provider = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    instead: undefined,
    keys: [],
    async rotate(kid) {
      pair = await generateKeyPair('RS256')
      current = kid
      provider.keys = [{ ...(await exportJWK(pair.publicKey)), kid, alg: 'RS256', use: 'sig' }]
    },
    sign: (claims, { alg = 'RS256', kid = current, expires = '5m' } = {}) =>
      new SignJWT({ iss: provider.url, aud: 'seaway', ...claims })
        .setProtectedHeader({ alg, kid })
        .setExpirationTime(expires)
        .sign(pair.privateKey),
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    }
  }
  await provider.rotate('one')
  return provider
}

describe('tokens of issuers', () => {
  let provider: Provider
  let known: IssuerSetting[]
  beforeEach(async () => {
    provider = await startProvider()
    known = [{ name: 'ci', issuer: provider.url, audience: ['seaway'], user: 'repository' }]
  })
  afterEach(() => provider.stop())
  const claims = {
    sub: 'job 1',
    repository: 'acme/app',
    ref: 'refs/heads/main',
    run: 12,
    big: 'x'.repeat(300),
    list: ['a']
  }

  it('say who it is, and what the rules may ask of it', async () => {
    const issuers = createIssuers({ timeoutMs: 2000 })
    const found = await issuers.verify(await provider.sign(claims), known)
    assert.deepEqual([found.kind, found.issuer, found.name], ['external', 'ci', 'acme/app'])
    assert.equal(found.claims['ref'], 'refs/heads/main')
    assert.equal(found.claims['run'], '12')
    assert.ok(!('big' in found.claims) && !('list' in found.claims))
    await issuers.verify(await provider.sign(claims), known)
    assert.deepEqual(provider.asked, { '/.well-known/openid-configuration': 1, '/keys': 1 })
  })

  it('need no discovery where it is said where the keys are', async () => {
    const issuers = createIssuers({ timeoutMs: 2000 })
    await issuers.verify(await provider.sign(claims), [
      { ...(known[0] as IssuerSetting), jwks: `${provider.url}/keys` }
    ])
    assert.deepEqual(provider.asked, { '/keys': 1 })
  })

  it('are refused where anything is wrong with them', async () => {
    const issuers = createIssuers({ timeoutMs: 2000 })
    const good = await provider.sign(claims)
    const [head = '', payload = '', signature = ''] = good.split('.')
    const none = Buffer.from('{"alg":"none"}').toString('base64url')
    for (const [token, message] of [
      [await provider.sign({ ...claims, aud: 'other' }), /claim 'aud'/],
      [await provider.sign({ ...claims, iss: 'https://other.example' }), /no issuer that is trusted/],
      [await provider.sign({ ...claims, repository: undefined }), /no claim 'repository'/],
      [await provider.sign(claims, { expires: '-5m' }), /has expired/],
      [await provider.sign(claims, { kid: 'unknown' }), /not one of its issuer/],
      [`${none}.${payload}.`, /not one of its issuer/],
      [`${head}.${payload}.${signature.slice(0, -6)}AAAAAA`, /not one of its issuer/],
      [`${good}${'x'.repeat(20_000)}`, /no issuer/],
      ['nonsense', /no issuer/]
    ] as const)
      await assert.rejects(
        issuers.verify(token, known),
        (error: Error) =>
          (error.name === 'BadToken' && message.test(error.message)) ||
          assert.fail(`${error.name} ${error.message} for ${message}`)
      )
  })

  for (const [what, instead] of [
    ['is silent', () => undefined],
    ['fails', (_, res) => res.writeHead(500).end()],
    ['leads elsewhere', (_, res) => res.writeHead(302, { location: 'http://169.254.169.254/' }).end()],
    ['sends too much', (_, res) => res.end(`{"issuer": "${'x'.repeat(400_000)}"}`)],
    [
      'is another',
      (_, res) => res.end('{"issuer": "https://other.example", "jwks_uri": "https://other.example/keys"}')
    ],
    ['sends no JSON', (_, res) => res.end('<html>')]
  ] as [string, RequestListener][]) {
    it(`can not be checked while the issuer ${what}, and can afterwards`, async () => {
      const issuers = createIssuers({ timeoutMs: 300 })
      const token = await provider.sign(claims)
      provider.instead = instead
      await assert.rejects(issuers.verify(token, known), { code: 'UNAVAILABLE' })
      await assert.rejects(
        issuers.verify(token, [{ ...(known[0] as IssuerSetting), jwks: `${provider.url}/keys` }]),
        { code: 'UNAVAILABLE' }
      )
      provider.instead = undefined
      assert.equal((await issuers.verify(token, known)).name, 'acme/app')
    })
  }

  it('may not have their keys where the gateway must not go, but for what the operator names', async () => {
    const beside = await startProvider()
    try {
      for (const name of ['127.0.0.1', 'localhost']) {
        const keys = `${beside.url.replace('127.0.0.1', name)}/keys`
        const setting = known[0] as IssuerSetting
        const token = await provider.sign(claims)
        provider.instead = (_, res) => res.end(JSON.stringify({ issuer: provider.url, jwks_uri: keys }))
        const careful = createIssuers({ timeoutMs: 3000, allowDial: 'public' })
        await assert.rejects(careful.verify(token, known), (error: Error) => {
          assert.match((error.cause as Error).message, /isn't a public address/)
          return true
        })
        assert.deepEqual(beside.asked, {})
        // their own server, and what the rules file says of it
        provider.instead = undefined
        assert.equal(
          (await createIssuers({ timeoutMs: 3000, allowDial: 'public' }).verify(token, known)).name,
          'acme/app'
        )
        beside.keys = provider.keys
        assert.equal((await careful.verify(token, [{ ...setting, jwks: keys }])).name, 'acme/app')
        delete beside.asked['/keys']
      }
    } finally {
      await beside.stop()
    }
  })

  it('push to the repository that a rule gives them, and to nothing else', async () => {
    const auth = await startAuthServer({
      rules: `
rules:
  - {who: "ci:acme/app", claims: {ref: refs/heads/main}, repositories: example.com/app, can: push}
issuers:
  ci: {issuer: "${provider.url}", audience: seaway, user: repository}
`
    })
    try {
      const token = await provider.sign(claims)
      for (const who of [`Bearer ${token}`, basic('anything', token)]) {
        await pushAs(auth, who, 'example.com/app', '1')
        assert.equal((await auth.as(who, 'POST', '/v2/example.com/other/blobs/uploads/')).status, 403)
      }
      const ours = await auth.bearer(
        ['repository:example.com/app:pull,push', 'repository:example.com/other:push'],
        basic('x', token)
      )
      await pushAs(auth, ours, 'example.com/app', '2')
      assert.equal((await auth.as(ours, 'POST', '/v2/example.com/other/blobs/uploads/')).status, 403)
      const tag = `Bearer ${await provider.sign({ ...claims, ref: 'refs/tags/1' })}`
      assert.equal((await auth.as(tag, 'POST', '/v2/example.com/app/blobs/uploads/')).status, 403)
      const late = await auth.as(`Bearer ${await provider.sign(claims, { expires: '-1h' })}`, 'GET', '/v2/')
      assert.equal(late.status, 401)
      assert.ok(auth.audited().some(({ event, who }) => event === 'push' && who === 'ci:acme/app'))
    } finally {
      await auth.stop()
    }
  })
})
