/** The audit log as a file: what others do to it, and what it does where it can't be written. */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { type AuditEvent, openAudit } from '../../src/auth/index.ts'
import { tempFolder } from '../support/temp.ts'

describe('the audit log', () => {
  const temp = tempFolder()
  const troubles: string[] = []
  const trouble = (error: Error) => troubles.push(error.message)
  after(() => temp.remove())
  beforeEach(() => troubles.splice(0))

  const event = (who: string): AuditEvent => ({ event: 'login', who, client: '192.0.2.1' })
  const names = (path: string) =>
    readFileSync(path, 'utf8')
      .split('\n')
      .flatMap((line) => (line === '' ? [] : (JSON.parse(line) as { who: string }).who))

  it('goes on in a new file where the old one was moved away, as log rotation does', () => {
    const path = join(temp.path, 'rotated.log')
    const audit = openAudit(path, { trouble, lookEveryMs: 0 })
    try {
      audit.write(event('before'))
      renameSync(path, `${path}.1`)
      audit.write(event('after'))
      rmSync(path)
      audit.write(event('later'))
      assert.deepEqual(names(`${path}.1`), ['before'])
      assert.deepEqual(names(path), ['later'])
      assert.equal(statSync(path).mode & 0o777, 0o600)
      assert.deepEqual(troubles, [])
    } finally {
      audit.stop()
    }
  })

  it('says so once where it can not be written, and keeps no more than a little of what it was told', async () => {
    const path = join(temp.path, 'full.log')
    symlinkSync('/dev/full', path)
    const audit = openAudit(path, { trouble, lookEveryMs: 0 })
    try {
      for (let i = 0; i < 10_000; i++) audit.write({ ...event(`${i}`), why: 'y'.repeat(200) })
      await turn()
      assert.equal(troubles.length, 1)
      assert.match(troubles[0] ?? '', /ENOSPC/)
      rmSync(path)
      audit.write(event('last'))
      await turn()
      assert.ok(statSync(path).size < 1_100_000)
      assert.deepEqual(names(path).slice(0, 3), ['0', '1', '2'])
      audit.write(event('room again'))
      assert.equal(names(path).at(-1), 'room again')
    } finally {
      audit.stop()
    }
  })

  it('goes on where its file comes back', async () => {
    const path = join(temp.path, 'folder', 'audit.log')
    const audit = openAudit(path, { trouble, lookEveryMs: 0 })
    try {
      renameSync(path, join(temp.path, 'moved.log'))
      mkdirSync(path)
      audit.write(event('lost'))
      await turn()
      assert.equal(troubles.length, 1)
      rmSync(path, { recursive: true })
      audit.write(event('kept'))
      await turn()
      assert.ok(names(path).includes('kept'))
    } finally {
      audit.stop()
    }
  })

  it('is one line whatever names hold, and none of it steers a terminal', () => {
    const path = join(temp.path, 'lines.log')
    const audit = openAudit(path, { trouble })
    audit.write({ ...event('a\n{"event":"push"}\r\u001b[2J\u009b2J\u2028\u202e'), repository: 'x\0y' })
    audit.stop()
    const text = readFileSync(path, 'utf8')
    assert.doesNotMatch(text.trimEnd(), /[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/u)
    assert.equal(names(path).length, 1)
  })
})
