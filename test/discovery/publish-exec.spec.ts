import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { createExecPublisher } from '../../src/discovery/publish-exec.ts'
import { RegistryError } from '../../src/oci/errors.ts'
import { tempFolder } from '../support/temp.ts'

const facts = { domain: 'ships.example', root: 'bafy', previous: 'bafz' }

describe('publishing by a command', () => {
  const temp = tempFolder()
  after(() => temp.remove())
  const write = (command: string, timeoutMs: number, signal = new AbortController().signal): Promise<void> =>
    createExecPublisher(command, { folder: temp.path, timeoutMs }).write([], { seen: [], facts, signal })

  it('is killed at its deadline, with what it started', async () => {
    const late = join(temp.path, 'late')
    // the one in the background would outlive its shell
    const work = write(`echo begun; (sleep 3; touch ${late}) & sleep 60`, 300)
    await assert.rejects(work, (error: RegistryError) => {
      assert.equal(error.code, 'SOURCE_TIMEOUT')
      assert.match(error.message, /did not end within 300 ms; it said: begun/)
      return true
    })
    await new Promise((resolve) => setTimeout(resolve, 3500))
    assert.equal(existsSync(late), false)
  })

  it('ends when it is called off', async () => {
    const stop = new AbortController()
    const work = write('sleep 60', 60_000, stop.signal)
    stop.abort(new RegistryError('UNAVAILABLE', 'called off'))
    await assert.rejects(work, /called off/)
  })

  it('a command that is not there has the status of the shell', async () => {
    await assert.rejects(write('no-such-program-here', 10_000), /ended with status 127.*not found/)
  })
})
