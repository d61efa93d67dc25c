/** Every route with every kind of credentials: a table that is made from the route table, asked over real HTTP. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { SignJWT } from 'jose'
import { createBearer } from '../../src/auth/bearer.ts'
import { openTokens } from '../../src/auth/index.ts'
import { openSigningKeys } from '../../src/auth/signing-keys.ts'
import { registryRoutes } from '../../src/http/app.ts'
import type { Route, RouteAccess } from '../../src/http/routes.ts'
import { createLog } from '../../src/log.ts'
import { type AuthServer, basic, pushAs, startAuthServer } from '../support/auth.ts'
import { digestOf } from '../support/oci-client.ts'

const NAME = 'example.com/app'
const OTHER = 'example.com/other'
const RULES = `
rules:
  - {who: alice, repositories: "**", can: admin}
  - {who: bob, repositories: example.com/nothing, can: pull}
`

/** What each kind of credentials gets, by what a route asks for: the status, or `in` for whatever it is with rights. */
type Expected = Record<Exclude<RouteAccess, 'open'>, number | 'in'>

const none: Expected = { ping: 401, list: 401, pull: 401, push: 401, delete: 401, publish: 401, admin: 401 }

describe('every route and every kind of credentials', function () {
  this.timeout(60_000)
  let auth: AuthServer
  let blob: string
  let digest: string
  const headers: Record<string, string | undefined> = {}

  /** With the rights that it takes, a route answers this much or less: anything but a refusal. */
  const kinds: Record<string, Expected> = {
    'no user': none,
    'wrong password': none,
    'unknown user': none,
    'right user': {
      ping: 'in',
      list: 'in',
      pull: 'in',
      push: 'in',
      delete: 'in',
      publish: 'in',
      admin: 'in'
    },
    'right user without right': {
      ping: 'in',
      list: 'in',
      pull: 403,
      push: 403,
      delete: 403,
      publish: 403,
      admin: 403
    },
    'right token': { ping: 'in', list: 401, pull: 'in', push: 'in', delete: 'in', publish: 401, admin: 401 },
    'token without right': {
      ping: 'in',
      list: 401,
      pull: 403,
      push: 403,
      delete: 403,
      publish: 403,
      admin: 403
    },
    'anonymous token': { ping: 'in', list: 401, pull: 401, push: 401, delete: 401, publish: 401, admin: 401 },
    'token for lists': {
      ping: 'in',
      list: 'in',
      pull: 401,
      push: 401,
      delete: 401,
      publish: 401,
      admin: 401
    },
    'expired token': none,
    'token of another key': none,
    'token signed by another key with the name of ours': none,
    'alg: none': none,
    'HS256 with the public key': none,
    'other audience': none,
    'refresh token': none,
    "other repository's token": {
      ping: 'in',
      list: 401,
      pull: 401,
      push: 401,
      delete: 401,
      publish: 401,
      admin: 401
    },
    'machine token': {
      ping: 'in',
      list: 'in',
      pull: 'in',
      push: 'in',
      delete: 403,
      publish: 403,
      admin: 403
    },
    "other repository's machine token": {
      ping: 'in',
      list: 'in',
      pull: 403,
      push: 403,
      delete: 403,
      publish: 403,
      admin: 403
    },
    'expired machine token': none,
    'revoked machine token': none,
    'another scheme': none,
    'no credentials as skopeo sends them': none
  }

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
  }

  it('has a kind of credentials for each column', () => {
    assert.deepEqual(
      Object.keys(kinds).filter((kind) => kind !== 'no user' && headers[kind] === undefined),
      []
    )
  })

  for (const each of routes) {
    if (each.access === 'open') continue
    for (const method of methods(each)) {
      it(`${method} ${each.path}`, async () => {
        const rows: Record<string, string> = {}
        const wanted: Record<string, string> = {}
        // what deletes comes with rights last, so that there is something to refuse until then
        const order = Object.keys(kinds).sort(
          (a, b) =>
            Number(kinds[a]?.[each.access as 'pull'] === 'in') -
            Number(kinds[b]?.[each.access as 'pull'] === 'in')
        )
        for (const kind of order) {
          const answer = await auth.as(headers[kind], method, pathOf(each))
          const expected = kinds[kind]?.[each.access as 'pull']
          const refused = [401, 403, 429].includes(answer.status)
          rows[kind] = expected === 'in' ? (refused ? String(answer.status) : 'in') : String(answer.status)
          wanted[kind] = String(expected)
          if (answer.status === 401) {
            assert.match(
              String(answer.headers['www-authenticate']),
              /^Bearer realm="http:\/\/127\.0\.0\.1:\d+\/auth\/token",service="test"/
            )
            if (method !== 'HEAD') assert.equal(answer.code, 'UNAUTHORIZED')
          }
          if (answer.status === 403 && method !== 'HEAD') assert.equal(answer.code, 'DENIED')
          assert.ok(answer.status < 500, `${kind}: ${answer.status}`)
        }
        assert.deepEqual(rows, wanted)
      })
    }
  }

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
