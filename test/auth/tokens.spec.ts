import assert from 'node:assert/strict'
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createBearer } from '../../src/auth/bearer.ts'
import { openTokens } from '../../src/auth/index.ts'
import { formatScope, parseScopes } from '../../src/auth/scopes.ts'
import { openSigningKeys } from '../../src/auth/signing-keys.ts'
import { createLog } from '../../src/log.ts'
import { tempFolder } from '../support/temp.ts'

const HOUR = 3_600_000

describe('machine tokens', () => {
  const folder = tempFolder()
  let now = 1_000_000
  const tokens = openTokens(join(folder.path, 'tokens'), () => now)
  const grant = { repositories: ['example.com/app'], can: ['push'] as const }
  after(() => folder.remove())

  it('are listed and found, and kept without their secret', async () => {
    assert.deepEqual(await tokens.list(), [])
    const { secret, ...info } = await tokens.create({ name: 'ci', ...grant, expires: now + 10 })
    assert.match(secret, /^seaway_[0-9a-f]{16}_[\w-]{43}$/)
    assert.deepEqual(await tokens.list(), [info])
    assert.deepEqual(await tokens.find(secret), { kind: 'token', id: info.id, name: 'ci', grant })
    const [name = ''] = readdirSync(join(folder.path, 'tokens'))
    const path = join(folder.path, 'tokens', name)
    assert.equal(statSync(path).mode & 0o777, 0o600)
    assert.ok(!readFileSync(path, 'utf8').includes(secret.slice(-43)))
    now += 10
    assert.equal(await tokens.find(secret), undefined)
    assert.equal(await tokens.byId(info.id), undefined)
  })

  it('are nothing with another secret, or when they were revoked', async () => {
    const { secret, id } = await tokens.create({ name: 'other', ...grant })
    const { secret: another } = await tokens.create({ name: 'another', ...grant })
    for (const wrong of [
      `${secret.slice(0, -1)}${secret.endsWith('A') ? 'B' : 'A'}`,
      secret.slice(0, 24) + another.slice(24),
      secret.replace(id, '../../etc/passwd'),
      '',
      'seaway_'
    ])
      assert.equal(await tokens.find(wrong), undefined, wrong)
    assert.equal(await tokens.byId('../tokens/x'), undefined)
    assert.equal((await tokens.revoke('other')).id, id)
    assert.equal(await tokens.find(secret), undefined)
    await assert.rejects(tokens.revoke('other'), { code: 'NAME_UNKNOWN' })
  })

  it('are listed and revoked beside one whose file is damaged, which is nothing', async () => {
    const made = await tokens.create({ name: 'beside', repositories: ['app'], can: ['pull'] })
    const damaged = await tokens.create({ name: 'damaged', repositories: ['app'], can: ['pull'] })
    writeFileSync(join(folder.path, 'tokens', `${damaged.id}.json`), '{"id": "')
    const listed = await tokens.list()
    assert.ok(listed.some(({ id }) => id === made.id))
    assert.deepEqual(listed.find(({ id }) => id === damaged.id)?.can, [])
    await assert.rejects(tokens.find(damaged.secret), { code: 'UNKNOWN' })
    assert.equal((await tokens.revoke('beside')).id, made.id)
    assert.equal((await tokens.revoke(damaged.id)).id, damaged.id)
    assert.ok(!(await tokens.list()).some(({ id }) => id === damaged.id))
  })

  it('of one name are revoked by their ids', async () => {
    const made = await Promise.all([1, 2].map(() => tokens.create({ name: 'twice', ...grant })))
    await assert.rejects(tokens.revoke('twice'), { code: 'REQUEST_INVALID' })
    for (const { id } of made) await tokens.revoke(id)
  })
})

describe('keys that sign', () => {
  const folder = tempFolder()
  const log = createLog('silent')
  let now = 1_700_000_000_000
  const open = () =>
    openSigningKeys({ folder: folder.path, rotateMs: HOUR, keepMs: 2 * HOUR, now: () => now, log })
  after(() => folder.remove())

  it('stay over a restart, change in time, and go when nothing that they signed holds', async () => {
    const keys = await open()
    const first = await keys.current()
    assert.equal((await (await open()).current()).id, first.id)
    for (const name of readdirSync(folder.path))
      assert.equal(statSync(join(folder.path, name)).mode & 0o777, 0o600)
    now += HOUR
    const [second, same] = await Promise.all([keys.current(), keys.current()])
    assert.notEqual(second.id, first.id)
    assert.equal(second.id, same.id)
    assert.ok(keys.find(first.id))
    now += 2 * HOUR
    await keys.current()
    assert.equal(keys.find(first.id), undefined)
    assert.ok(keys.find(second.id))
    assert.ok(!readdirSync(folder.path).some((name) => name.includes(first.id)))
  })

  it('go on signing where another one can not be written, and then change', async () => {
    const keys = await open()
    const first = await keys.current()
    rmSync(folder.path, { recursive: true })
    writeFileSync(folder.path, '')
    now += HOUR
    assert.equal((await keys.current()).id, first.id)
    rmSync(folder.path)
    now += HOUR
    const second = await keys.current()
    assert.notEqual(second.id, first.id)
    assert.ok(keys.find(first.id))
  })

  it('made while the clock was wrong do not sign on for years, nor at the next start', async () => {
    const right = now
    now += 1000 * 24 * HOUR
    const early = await (await open()).current()
    now = right + 2 * HOUR
    const keys = await open()
    const key = await keys.current()
    assert.notEqual(key.id, early.id)
    assert.equal((await keys.current()).id, key.id)
    assert.equal((await (await open()).current()).id, key.id)
    assert.ok(keys.find(early.id), 'what it signed may be out there')
  })

  it('that cannot be read sign nothing', async () => {
    writeFileSync(join(folder.path, `${now + 1}-0123456789abcdef.pem`), 'nonsense')
    const keys = await open()
    assert.equal(keys.find('0123456789abcdef'), undefined)
    assert.ok(await keys.current())
  })

  it('sign tokens that are taken for their use, until they expire', async () => {
    const keys = await open()
    const bearer = createBearer({ keys, service: 'here', now: () => now })
    const subject = { kind: 'user', name: 'alice', password: 'mark' } as const
    const access = [{ type: 'repository', name: 'app', actions: ['pull'] }]
    const token = await bearer.sign('access', subject, access, 60_000)
    const claims = await bearer.verify('access', token)
    assert.deepEqual([claims.subject, claims.access], [subject, access])
    await assert.rejects(bearer.verify('refresh', token), { name: 'BadToken' })
    const elsewhere = createBearer({ keys, service: 'there', now: () => now })
    await assert.rejects(elsewhere.verify('access', token), { name: 'BadToken' })
    await assert.rejects(bearer.verify('access', `${token.slice(0, -4)}AAAA`), { name: 'BadToken' })
    now += 60_000
    await assert.rejects(bearer.verify('access', token), /has expired/)
  })
})

describe('scopes', () => {
  it('are read as clients send them', () => {
    const read = (...texts: string[]) => parseScopes(texts).map(formatScope)
    assert.deepEqual(read('repository:a/b:pull,push repository:c:pull', 'registry:catalog:*'), [
      'repository:a/b:pull,push',
      'repository:c:pull',
      'registry:catalog:*'
    ])
    assert.deepEqual(read('repository:a:pull', 'repository:a:push,pull'), ['repository:a:pull,push'])
    assert.deepEqual(read('repository(plugin):a:pull'), ['repository:a:pull'])
    assert.deepEqual(read('repository:host:5000/a:pull'), ['repository:host:5000/a:pull'])
    assert.deepEqual(read('', 'nonsense', 'repository::pull', 'repository:a:PULL'), [])
    assert.ok(
      parseScopes([Array.from({ length: 1000 }, (_, i) => `repository:r${i}:pull`).join(' ')]).length < 100
    )
  })
})
