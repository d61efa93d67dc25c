import assert from 'node:assert/strict'
import {
  chmodSync,
  lstatSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { dirname, join } from 'node:path'
import { hashSync } from 'bcryptjs'
import { checkUserName, createPasswords, decoyOf, parseUsers, writeUser } from '../../src/auth/index.ts'
import { watchFile } from '../../src/auth/watched-file.ts'
import { createLog } from '../../src/log.ts'
import { tempFolder } from '../support/temp.ts'

const HASH = hashSync('secret', 4)

describe('users file', () => {
  const folder = tempFolder()
  const file = join(folder.path, 'new/users')
  after(() => folder.remove())

  it('is read, comments and all', () => {
    const users = parseUsers(`# people\n\nalice:${HASH}\r\n bob:${HASH.replace('$2b$', '$2y$')}\n`)
    assert.deepEqual([...users.keys()], ['alice', 'bob'])
  })

  for (const [text, message] of [
    ['alice', /line 1 does not begin with NAME:/],
    [`:${HASH}`, /line 1/],
    ['\nalice:secret', /line 2, alice: the password is not hashed with bcrypt/],
    ['alice:$apr1$x$y', /bcrypt/],
    [`alice:${HASH.replace('$04$', '$31$')}`, /cost 4 to 15/],
    [`alice:${HASH}\nalice:${HASH}`, /two lines for alice/],
    [`anonymous:${HASH}`, /line 1/],
    [`a b:${HASH}`, /line 1/]
  ] as const)
    it(`is refused with ${JSON.stringify(text.slice(0, 30))}`, () =>
      assert.throws(() => parseUsers(text), message))

  it('is made for its owner alone, and keeps what else it has', async () => {
    assert.equal(await writeUser(file, 'alice', HASH), false)
    assert.equal(statSync(file).mode & 0o777, 0o600)
    writeFileSync(file, `# staff\n${readFileSync(file, 'utf8')}`)
    chmodSync(file, 0o640)
    assert.equal(await writeUser(file, 'bob', HASH), false)
    assert.equal(await writeUser(file, 'alice', HASH.replace('$2b$', '$2y$')), true)
    assert.equal(statSync(file).mode & 0o777, 0o640)
    assert.deepEqual([...parseUsers(readFileSync(file, 'utf8')).keys()], ['bob', 'alice'])
    assert.match(readFileSync(file, 'utf8'), /^# staff\nbob:/)
    assert.equal(await writeUser(file, 'bob', undefined), true)
    assert.equal(await writeUser(file, 'bob', undefined), false)
    writeFileSync(file, 'nonsense\n')
    await assert.rejects(writeUser(file, 'bob', HASH), { code: 'REQUEST_INVALID' })
  })

  it('stays where it is behind a symbolic link', async () => {
    const link = join(folder.path, 'link')
    writeFileSync(file, `alice:${HASH}\n`)
    symlinkSync(file, link)
    await writeUser(link, 'bob', HASH)
    assert.ok(lstatSync(link).isSymbolicLink())
    assert.deepEqual([...parseUsers(readFileSync(file, 'utf8')).keys()], ['alice', 'bob'])
  })

  it('has everybody whom several commands wrote at the same time', async () => {
    rmSync(file)
    const names = Array.from({ length: 12 }, (_, i) => `user${i}`)
    await Promise.all(names.map((name) => writeUser(file, name, HASH)))
    assert.deepEqual(new Set(parseUsers(readFileSync(file, 'utf8')).keys()), new Set(names))
    assert.deepEqual(readdirSync(dirname(file)), ['users'])
  })

  it('takes no names that mean something else', () => {
    for (const name of ['anonymous', 'token', '', 'a:b', 'a b', '*', '-x', 'x'.repeat(65), 'ä'])
      assert.throws(() => checkUserName(name), { code: 'REQUEST_INVALID' }, name)
    assert.equal(checkUserName('alice@example.com'), 'alice@example.com')
  })
})

describe('a file that is read again when it changes', () => {
  const folder = tempFolder()
  const path = join(folder.path, 'file')
  const log = createLog('silent')
  const watch = (more: object = {}) =>
    watchFile({
      path,
      maxBytes: 100,
      lookEveryMs: 0,
      log,
      parse: (text) => {
        if (text.includes('bad')) throw new Error('it is bad')
        return text
      },
      ...more
    })
  after(() => folder.remove())

  it('has the last thing that was right', async () => {
    writeFileSync(path, 'one')
    const file = await watch()
    assert.equal(await file.current(), 'one')
    for (const [text, now] of [
      ['two', 'two'],
      ['bad', 'two'],
      ['x'.repeat(200), 'two'],
      ['three', 'three']
    ] as const) {
      writeFileSync(path, text)
      assert.equal(await file.current(), now)
    }
    rmSync(path)
    assert.equal(await file.current(), 'three')
    writeFileSync(path, 'four')
    assert.equal(await file.current(), 'four')
  })

  it('is looked at now and then, or at once', async () => {
    writeFileSync(path, 'one')
    const file = await watch({ lookEveryMs: 60_000 })
    writeFileSync(path, 'two')
    assert.equal(await file.current(), 'one')
    assert.equal(await file.latest(), 'two')
    assert.equal(await file.current(), 'two')
  })

  it('must be right at first', async () => {
    writeFileSync(path, 'bad')
    await assert.rejects(watch(), (error: Error) => error.message === `${path}: it is bad`)
    rmSync(path)
    await assert.rejects(watch(), /ENOENT/)
  })
})

describe('passwords', () => {
  const passwords = createPasswords()
  after(() => passwords.stop())

  it('are checked in a thread, and remembered, right or wrong', async () => {
    assert.equal(passwords.known('secret', HASH), undefined)
    assert.equal(await passwords.check('secret', HASH), true)
    assert.equal(passwords.known('secret', HASH), true)
    assert.equal(passwords.known('secret', hashSync('secret', 4)), undefined)
    assert.equal(passwords.known('wrong', HASH), undefined)
    let wrong = 0
    const check = () => passwords.check('wrong', HASH, () => wrong++)
    assert.deepEqual(await Promise.all([check(), check(), check()]), [false, false, false])
    assert.equal(await check(), false)
    assert.equal(wrong, 1)
    assert.equal(passwords.known('wrong', HASH), false)
    assert.equal(passwords.known('wrong', hashSync('secret', 4)), undefined)
    assert.equal(await passwords.check('secret', HASH.replace('$2b$', '$2y$')), true)
  })

  it('of somebody who is not there are never right', async () => {
    for (const users of [new Map(), new Map([['alice', HASH]])])
      assert.equal(await passwords.check('secret', decoyOf('nobody', users)), false)
  })

  it('cost of one who is not there what they cost of some user, always the same one', () => {
    const costs = { '04': 3, '10': 1 }
    const hashes = Object.entries(costs).flatMap(([cost, times]) =>
      Array.from({ length: times }, () => HASH.replace('$04$', `$${cost}$`))
    )
    const users = new Map(hashes.map((hash, i) => [`user${i}`, hash]))
    const names = Array.from({ length: 400 }, (_, i) => `nobody${i}`)
    const cheap = names.filter((name) => decoyOf(name, users).startsWith('$2b$04$')).length
    assert.ok(cheap > 240 && cheap < 360, `${cheap} of 400, where 300 are to be expected`)
    for (const name of names) assert.equal(decoyOf(name, users), decoyOf(name, new Map(users)))
    assert.equal(new Set(names.map((name) => decoyOf(name, users))).size, names.length)
    assert.equal(decoyOf('nobody', new Map()).slice(0, 7), '$2b$10$')
  })

  it('of one who is not there are checked as often as of one who is, where many ask together', async () => {
    const costly = hashSync('another', 8)
    const users = new Map([['alice', costly]])
    for (const hash of [costly, decoyOf('nobody', users)]) {
      const all = await Promise.all(Array.from({ length: 500 }, () => passwords.check('the same', hash)))
      assert.ok(all.every((right) => !right))
    }
  })

  it('that are asked for together are checked once', async () => {
    const hash = hashSync('together', 8)
    const all = await Promise.all(Array.from({ length: 500 }, () => passwords.check('together', hash)))
    assert.ok(all.every((right) => right))
  })

  it('are refused where too many wait', async () => {
    const all = await Promise.allSettled(
      Array.from({ length: 200 }, (_, i) => passwords.check(`guess ${i}`, HASH))
    )
    assert.ok(
      all.some(
        (each) => each.status === 'rejected' && (each.reason as { code: string }).code === 'UNAVAILABLE'
      )
    )
    assert.equal(await passwords.check('secret', HASH), true)
  })

  it('are hashed with bcrypt, and refused where bcrypt would not tell them apart', async () => {
    const hash = await passwords.hash('new password')
    assert.ok(parseUsers(`a:${hash}`).has('a'))
    assert.equal(await passwords.check('new password', hash), true)
    for (const bad of ['', 'x'.repeat(73), 'ü'.repeat(37), 'a\0b'])
      await assert.rejects(passwords.hash(bad), { code: 'REQUEST_INVALID' })
  })
})
