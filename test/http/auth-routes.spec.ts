/** Every route with every kind of credentials: a table that is made from the route table, asked over real HTTP. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { SignJWT } from 'jose'
import { createBearer } from '../../src/auth/bearer.ts'
import { openTokens } from '../../src/auth/index.ts'
import { openSigningKeys } from '../../src/auth/signing-keys.ts'
import { registryRoutes } from '../../src/http/app.ts'
import type { Route } from '../../src/http/routes.ts'
import { createLog } from '../../src/log.ts'
import { rawCid } from '../../src/store/index.ts'
import { type AuthServer, basic, pushAs, startAuthServer } from '../support/auth.ts'
import { ANSWERS, KINDS, RIGHT, WRONG } from '../support/auth-table.ts'
import { digestOf } from '../support/oci-client.ts'

const NAME = 'example.com/app'
const OTHER = 'example.com/other'
const RULES = `
rules:
  - {who: alice, repositories: "**", can: admin}
  - {who: bob, repositories: example.com/nothing, can: pull}
`

const BEARER = /^Bearer realm="http:\/\/127\.0\.0\.1:\d+\/auth\/token",service="test"/
const BASIC = /^Basic realm="Seaway"/

/** A name that nobody has published anything under. */
const IPNS = 'k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8'

describe('every route and every kind of credentials', function () {
  this.timeout(60_000)
  let auth: AuthServer
  let blob: string
  let digest: string
  const headers: Record<string, string | undefined> = {}

  before(async () => {
    // a table of wrong passwords would be slowed down
    const throttle = {
      wait: () => 0,
      begin: () => () => undefined,
      failed: () => undefined,
      succeeded: () => undefined
    }
    auth = await startAuthServer({
      users: { alice: 'secret', bob: 'builder' },
      rules: RULES,
      settings: { throttle }
    })
    const alice = basic('alice', 'secret')
    ;({ blob, digest } = await pushAs(auth, alice, NAME, '1'))
    const scope = `repository:${NAME}:pull,push,delete`
    const log = createLog('silent')
    const keys = await openSigningKeys({ folder: join(auth.folder, 'keys'), rotateMs: 1e9, keepMs: 1e9, log })
    const foreign = await openSigningKeys({ folder: join(auth.folder, 'x'), rotateMs: 1e9, keepMs: 1e9, log })
    const ours = await keys.current()
    const theirs = await foreign.current()
    const access = [{ type: 'repository', name: NAME, actions: ['pull', 'push', 'delete'] }]
    const good = (await auth.bearer([scope], alice)).slice(7)
    const [head = '', payload = ''] = good.split('.')
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as { sea: never }
    const sign = (options: { key?: typeof ours; now?: number; service?: string }) =>
      createBearer({
        keys: { current: async () => options.key ?? ours, find: () => undefined },
        service: options.service ?? 'test',
        now: () => options.now ?? Date.now()
      }).sign('access', claims.sea, access, 60_000)
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const tokens = openTokens(join(auth.folder, 'tokens'))
    const machine = (repository: string, expires?: number) =>
      tokens.create({
        name: repository,
        repositories: [repository],
        can: ['push'],
        ...(expires && { expires })
      })
    const revoked = await machine('example.com/revoked')
    await tokens.revoke(revoked.id)
    const header = JSON.parse(Buffer.from(head, 'base64url').toString()) as Record<string, string>
    const hmac = new SignJWT(claims).setProtectedHeader({ ...header, alg: 'HS256' })
    const refresh = (await auth.as(alice, 'GET', '/auth/token?offline_token=true')).json<{
      refresh_token: string
    }>()
    Object.assign(headers, {
      'wrong password': basic('alice', 'wrong'),
      'unknown user': basic('mallory', 'secret'),
      'right user': alice,
      'right user without right': basic('bob', 'builder'),
      'right token': `Bearer ${good}`,
      'token without right': await auth.bearer([scope], basic('bob', 'builder')),
      'anonymous token': await auth.bearer([scope]),
      'token for lists': await auth.bearer(['registry:catalog:*'], alice),
      'expired token': `Bearer ${await sign({ now: Date.now() - 120_000 })}`,
      'token of another key': `Bearer ${await sign({ key: theirs })}`,
      'token signed by another key with the name of ours': `Bearer ${await sign({ key: { ...theirs, id: ours.id } })}`,
      'alg: none': `Bearer ${part({ ...header, alg: 'none' })}.${payload}.`,
      'HS256 with the public key': `Bearer ${await hmac.sign(new Uint8Array(ours.public.export({ type: 'spki', format: 'der' })))}`,
      'other audience': `Bearer ${await sign({ service: 'another' })}`,
      'refresh token': `Bearer ${refresh.refresh_token}`,
      "other repository's token": await auth.bearer([`repository:${OTHER}:pull,push,delete`], alice),
      'machine token': basic('token', (await machine(NAME)).secret),
      "other repository's machine token": `Bearer ${(await machine(OTHER)).secret}`,
      'expired machine token': `Bearer ${(await machine('example.com/late', Date.now() - 1)).secret}`,
      'revoked machine token': `Bearer ${revoked.secret}`,
      'another scheme': `Digest ${Buffer.from('alice:secret').toString('base64')}`,
      'no credentials as skopeo sends them': 'Basic Og=='
    })
  })
  after(() => auth?.stop())

  /** The routes over nothing: what they are is all that is wanted of them. */
  const routes = registryRoutes({ registry: { ipns: {} } as never, hosts: [], auth: { access: {} } as never })
  const methods = ({ method }: Route) => (method === 'GET' ? ['GET', 'HEAD'] : [method])

  function pathOf({ path }: Route): string {
    const repository = path.includes('_catalog') ? 'example.com' : NAME
    return path
      .replace('*name', repository)
      .replace(':reference', 'gone')
      .replace(':digest', path.includes('referrers') ? digest : blob)
      .replace(':id', '00000000-0000-4000-8000-000000000000')
      .replace(':domain', 'example.com')
      .replace(':cid', `${rawCid(Buffer.from(blob.slice(7), 'hex'))}?format=raw`)
      .replace('/seaway/blobs', `/seaway/blobs?digests=${blob}`)
      .replace('*path', 'docker')
      .replace(/^\/ipns\/:name/, `/ipns/${IPNS}?format=ipns-record`)
      .replace(':name', IPNS)
  }

  /** What is wanted of a route with each kind of credentials. */
  function wantedOf({ access }: Route, name: string, kind: string): number | 'in' | undefined {
    if (access !== 'open') return KINDS[kind]?.[access]
    return RIGHT.includes(kind) ? 'in' : (WRONG[name] ?? 'in')
  }

  it('has a kind of credentials for each column', () => {
    assert.deepEqual(
      Object.keys(KINDS).filter((kind) => kind !== 'no user' && headers[kind] === undefined),
      []
    )
  })

  for (const each of routes) {
    for (const method of methods(each)) {
      const name = `${method} ${each.path}`
      it(name, async () => {
        const letIn = ANSWERS[name]
        const rows: Record<string, string> = {}
        const wanted: Record<string, string> = {}
        // what deletes comes with rights last, so that there is something to refuse until then
        const order = Object.keys(KINDS).sort(
          (a, b) => Number(wantedOf(each, name, a) === 'in') - Number(wantedOf(each, name, b) === 'in')
        )
        for (const kind of order) {
          const answer = await auth.as(headers[kind], method, pathOf(each))
          const expected = wantedOf(each, name, kind)
          rows[kind] = String(answer.status)
          wanted[kind] = String(
            expected === 'in' ? (letIn?.find((one) => one === answer.status) ?? letIn) : expected
          )
          if (answer.status === 401) {
            const scheme = each.path === '/auth/token' || each.path === '/auth/whoami' ? BASIC : BEARER
            assert.match(String(answer.headers['www-authenticate']), scheme)
            if (method !== 'HEAD') assert.equal(answer.code, 'UNAUTHORIZED')
          }
          if (answer.status === 403 && method !== 'HEAD') assert.equal(answer.code, 'DENIED')
          assert.ok(answer.status < 500, `${kind}: ${answer.status}`)
        }
        assert.deepEqual(rows, wanted)
      })
    }
  }

  it('the table has no row of a route that is gone', () => {
    const names = routes.flatMap((each) => methods(each).map((method) => `${method} ${each.path}`))
    assert.deepEqual(Object.keys(ANSWERS).sort(), names.sort())
  })

  it('nothing that was refused has changed anything', async () => {
    const answer = await auth.as(basic('alice', 'secret'), 'GET', `/v2/${NAME}/manifests/1`)
    assert.equal(answer.status, 200)
    assert.equal(digestOf(answer.body), digest)
  })

  it('open are the trustless gateway, IPNS records and the way to tokens alone', () => {
    const open = routes.filter(({ access }) => access === 'open').map(({ path }) => path)
    assert.deepEqual(
      [...new Set(open)],
      [
        '/ipfs/:cid',
        '/ipfs/:cid/*path',
        '/ipns/:name',
        '/seaway/blobs',
        '/routing/v1/ipns/:name',
        '/auth/token',
        '/auth/whoami'
      ]
    )
  })
})
