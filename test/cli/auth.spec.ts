/** The commands about users and tokens, run as people run them; and a gateway that starts with what they made. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { basic, startAuthServer } from '../support/auth.ts'
import { misfits } from '../support/json-shapes.ts'
import { runCommand, runCommandHere } from '../support/seaway-command.ts'
import { startSeaway } from '../support/seaway-process.ts'
import { tempFolder } from '../support/temp.ts'

/** A blob of two bytes. */
const EMPTY = {
  mediaType: 'application/vnd.oci.empty.v1+json',
  digest: `sha256:${createHash('sha256').update('{}').digest('hex')}`,
  size: 2
}

describe('commands about users', function () {
  this.timeout(120_000)
  const folder = tempFolder()
  const data = join(folder.path, 'data')
  const rules = join(folder.path, 'rules.yaml')
  const settings = {
    SEAWAY_DATA: data,
    SEAWAY_LISTEN: '127.0.0.1:0',
    SEAWAY_SWARM_LISTEN: '/ip4/127.0.0.1/tcp/0'
  }
  const run = (line: string, input?: string, more: Record<string, string> = {}) =>
    runCommand(line.split(' '), { ...settings, ...more }, input)
  after(() => folder.remove())

  /** The same without a process of its own, for what reads nothing from stdin. */
  const here = (line: string, more: Record<string, string> = {}) =>
    runCommandHere(line.split(' '), { ...settings, ...more })

  it('access check says that anybody may do anything while nobody is asked for', async () => {
    const { status, stdout } = await here('access check anonymous app push')
    assert.equal(status, 0)
    assert.match(stdout, /nobody is asked who they are/)
  })

  it('login-user takes the password from stdin, and gateways ask for it from then on', async () => {
    const first = JSON.parse((await run('login-user alice --json', 'secret\n')).stdout) as { known: boolean }
    assert.deepEqual([first.known, misfits('login-user', first)], [false, []])
    assert.match((await run('login-user alice', 'another\nline')).stdout, /alice has a new password/)
    for (const [line, input, status] of [
      ['login-user bob', '', 2],
      ['login-user bob', `${'x'.repeat(73)}\n`, 1]
    ] as const) {
      const outcome = await run(line, input)
      assert.equal(outcome.status, status, line)
      assert.match(outcome.stderr, /^seaway: [^\n]+\n$|usage|missing/i, line)
    }
    const gateway = await startSeaway({ data, env: { SEAWAY_AUDIT_LOG: join(folder.path, 'audit.log') } })
    try {
      const status = async (authorization?: string) =>
        (await fetch(`${gateway.url}/v2/`, { headers: authorization === undefined ? {} : { authorization } }))
          .status
      assert.deepEqual(
        [await status(), await status(basic('alice', 'secret')), await status(basic('alice', 'another'))],
        [401, 401, 200]
      )
      const who = await run(`whoami ${gateway.url} --user alice`, 'another\n')
      assert.match(
        who.stdout,
        /^alice \(user\) at 127\.0\.0\.1:\d+\nMAY +REPOSITORIES\nadmin +\*\*, ipfs\/\*\*, ipns\/\*\*\n$/
      )
      // what docker keeps after a login: an identity token in place of the password
      const form = { grant_type: 'password', username: 'alice', password: 'another', access_type: 'offline' }
      const login = await fetch(`${gateway.url}/auth/token`, {
        method: 'POST',
        body: new URLSearchParams(form)
      })
      const { refresh_token: identitytoken } = (await login.json()) as { refresh_token: string }
      const auth = Buffer.from('alice:another').toString('base64')
      for (const kept of [{ auth }, { auth: Buffer.from('alice:').toString('base64'), identitytoken }]) {
        const file = { auths: { [new URL(gateway.url).host]: kept } }
        writeFileSync(join(folder.path, 'config.json'), JSON.stringify(file))
        const found = await run(`whoami ${gateway.url}`, '', { DOCKER_CONFIG: folder.path })
        assert.match(found.stdout, /^alice \(user\)/)
      }
      const wrong = await run(`whoami ${gateway.url} --user alice`, 'x\n')
      assert.deepEqual([wrong.status, wrong.stdout], [1, ''])
      assert.match(wrong.stderr, /password is wrong/)
    } finally {
      await gateway.stop()
    }
    assert.match(readFileSync(join(folder.path, 'audit.log'), 'utf8'), /"event":"refused","who":"alice"/)
  })

  it('what the operator does to trees and keys is in the audit log, and no key is', async () => {
    const log = join(folder.path, 'operator.log')
    const gateway = await startSeaway({ data, env: { SEAWAY_AUDIT_LOG: log } })
    try {
      const upload = `/v2/audited.test/app/blobs/uploads/?digest=${EMPTY.digest}`
      const headers = { authorization: basic('alice', 'another') }
      const asked = (path: string, method: string, body: string, type = 'application/octet-stream') =>
        fetch(`${gateway.url}${path}`, { method, body, headers: { ...headers, 'content-type': type } })
      assert.equal((await asked(upload, 'POST', '{}')).status, 201)
      const mediaType = 'application/vnd.oci.image.manifest.v1+json'
      const manifest = JSON.stringify({ schemaVersion: 2, mediaType, config: EMPTY, layers: [EMPTY] })
      assert.equal((await asked('/v2/audited.test/app/manifests/1', 'PUT', manifest, mediaType)).status, 201)
      const root = await gateway.root('audited.test')
      const key = join(folder.path, 'audited.key')
      for (const line of [
        'pin add audited.test',
        `pin rm ${root}`,
        'key create audited.test',
        `key export audited.test ${key}`,
        'key rotate audited.test',
        'rm audited.test/app:1'
      ]) {
        const { status, stderr } = await run(line)
        assert.equal(status, 0, stderr)
      }
      const text = readFileSync(log, 'utf8')
      const did = text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Record<string, string>)
        .filter(({ who }) => who === 'operator')
        .map(({ event, domain, root, reference }) => [event, domain ?? reference ?? root])
      assert.deepEqual(did, [
        ['pin', root],
        ['unpin', root],
        ['key create', 'audited.test'],
        ['key export', 'audited.test'],
        ['key rotate', 'audited.test'],
        ['delete', 'audited.test/app:1']
      ])
      assert.ok(!text.includes(readFileSync(key).toString('base64').slice(8, 40)))
    } finally {
      await gateway.stop()
    }
  })

  it('whoami shows what docker login has kept: a password, or the identity token of a gateway that gives one', async () => {
    const auth = await startAuthServer({ users: { alice: 'secret' } })
    try {
      const { host } = auth.server
      const { refresh_token: identitytoken } = (
        await auth.as(basic('alice', 'secret'), 'GET', '/auth/token?service=test&offline_token=true')
      ).json<{ refresh_token: string }>()
      const pair = (text: string) => Buffer.from(text).toString('base64')
      for (const [kept, name] of [
        [{ auth: pair('alice:secret') }, 'alice'],
        [{ auth: pair('alice:'), identitytoken }, 'alice'],
        [undefined, 'anonymous']
      ] as const) {
        const config = join(folder.path, 'docker')
        mkdirSync(config, { recursive: true })
        writeFileSync(join(config, 'config.json'), JSON.stringify({ auths: { [host]: kept } }))
        const { status, stdout, stderr } = await here(`whoami http://${host} --json`, {
          DOCKER_CONFIG: config
        })
        assert.equal(status, 0, stderr)
        assert.equal((JSON.parse(stdout) as { name: string }).name, name)
        assert.deepEqual(misfits('whoami', JSON.parse(stdout)), [])
      }
      const nobody = await here('whoami http://127.0.0.1:9')
      assert.match(nobody.stderr, /^seaway: 127\.0\.0\.1:9: nobody listens [^\n]+\n$/)
    } finally {
      await auth.stop()
    }
  })

  it('token makes, lists and revokes', async () => {
    const made = await here(
      'token create --repo example.com/app,!example.com/x --can push,delete --expires 12h --name ci'
    )
    assert.match(made.stdout, /^seaway_[0-9a-f]{16}_[\w-]{43}\n$/)
    const listed = JSON.parse((await here('token list --json')).stdout) as { id: string; expires: number }[]
    assert.equal(listed.length, 1)
    assert.deepEqual(misfits('token list', listed), [])
    assert.ok(!JSON.stringify(listed).includes('sha256'))
    assert.match((await here('token list')).stdout, /ci +push,delete +example\.com\/app,!example\.com\/x/)
    assert.equal((await here('access check token:ci example.com/app delete')).status, 0)
    assert.equal((await here('access check token:ci example.com/other push')).status, 1)
    const json = await here('token create --repo app --can pull --expires never --name other --json')
    assert.deepEqual(misfits('token create', JSON.parse(json.stdout)), [])
    const revoked = await here('token revoke other --json')
    assert.deepEqual(misfits('token revoke', JSON.parse(revoked.stdout)), [])
    assert.match((await here('token revoke ci')).stdout, /is revoked/)
    assert.equal((await here('token revoke ci')).status, 1)
    assert.match((await here('access check token:ci example.com/app pull')).stderr, /there is no token 'ci'/)
    for (const line of [
      'token create --repo a --can fly',
      'token create --can push',
      'token create --repo !a --can push',
      'token create --repo a --can push --expires soon',
      'token burn',
      'token revoke'
    ])
      assert.equal((await here(line)).status, 2, line)
  })

  it('access check explains itself by the rules', async () => {
    writeFileSync(
      rules,
      `rules:
  - {who: alice, repositories: example.com/**, can: [push, publish]}
  - {who: "ci:acme/*", claims: {ref: refs/heads/main}, repositories: app, can: push}
  - {who: "ci:hub", repositories: docker.io/library/**, can: pull}
issuers: {ci: {issuer: "https://ci.example", audience: x}}
`
    )
    const check = (line: string) => here(`access check ${line}`, { SEAWAY_AUTH_RULES: rules })
    const said = await check('alice example.com/app push')
    assert.deepEqual(
      [said.status, said.stdout],
      [0, 'alice may push example.com/app: rule 1 says push, publish on example.com/**\n']
    )
    assert.equal((await check('alice example.com publish')).status, 0)
    const not = await check('alice app pull')
    assert.deepEqual(
      [not.status, not.stderr],
      [1, 'seaway: alice may not pull app: rule 1 is for alice, but not for that\n']
    )
    assert.equal((await check('ci:acme/app app push --claim ref=refs/heads/main')).status, 0)
    assert.equal((await check('ci:acme/app app push')).status, 1)
    // by the one name that the gateway has for it
    assert.equal((await check('ci:hub docker.io/alpine pull')).status, 0)
    assert.equal((await check('ci:hub docker.io/other/alpine pull')).status, 1)
    assert.deepEqual(JSON.parse((await check('bob app pull --json')).stdout), {
      allowed: false,
      why: "there is no user 'bob'"
    })
    assert.deepEqual(misfits('access check', JSON.parse((await check('alice app pull --json')).stdout)), [])
    assert.equal((await check('alice app fly')).status, 2)
  })

  it('a gateway does not start with a file that is wrong or is not there, and says which', async () => {
    for (const [more, message] of [
      [
        { SEAWAY_AUTH_USERS: join(folder.path, 'none') },
        /there is no users file .*none: make it with 'seaway login-user/
      ],
      [{ SEAWAY_AUTH_RULES: join(data, 'auth/users') }, /auth\/users: the file: /]
    ] as const) {
      const { status, stderr } = await run('serve', '', more)
      assert.equal(status, 1)
      assert.match(stderr, message)
      assert.match(stderr, /^seaway: [^\n]+\n$/)
    }
  })

  it('a gateway whose users have gone does not start for everybody, unless that is said', async () => {
    const users = join(data, 'auth/users')
    renameSync(users, `${users}.away`)
    try {
      const { status, stderr } = await run('serve', '')
      assert.equal(status, 1)
      assert.match(
        stderr,
        /^seaway: users were asked for here before, .*auth\/users.* SEAWAY_ALLOW_ANONYMOUS_PUSH[^\n]+\n$/
      )
      await (await startSeaway({ data, env: { SEAWAY_ALLOW_ANONYMOUS_PUSH: 'yes' } })).stop()
    } finally {
      renameSync(`${users}.away`, users)
    }
  })
})
