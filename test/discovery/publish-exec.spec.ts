import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
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

  describe('what left its process group and holds its output', () => {
    // it outlives every test here, and says who it is before the command goes on
    const leaver = (name: string): string =>
      `setsid sh -c 'echo $$ > ${name}; exec sleep 600' & until [ -s ${name} ]; do sleep 0.05; done`
    const started = new Set<number>()
    const running = (name: string): boolean => {
      const pid = Number(readFileSync(join(temp.path, name), 'utf8'))
      assert.ok(pid > 1)
      started.add(pid)
      return process.kill(pid, 0)
    }
    after(() => {
      for (const pid of started) process.kill(pid)
    })

    it('is not waited for when the command ends', async () => {
      await write(`${leaver('ends')}; echo done`, 100_000)
      assert.ok(running('ends'))
      await assert.rejects(write(`${leaver('fails')}; echo no; exit 3`, 100_000), /status 3; it said: no$/)
      assert.ok(running('fails'))
    })

    it('is not waited for at the deadline', async () => {
      await assert.rejects(write(`${leaver('late')}; sleep 600`, 4000), /did not end within 4000 ms/)
      assert.ok(running('late'))
    })

    it('is not waited for when the command is called off', async () => {
      const stop = new AbortController()
      const work = write(`${leaver('off')}; sleep 600`, 100_000, stop.signal)
      const off = join(temp.path, 'off')
      while (!existsSync(off) || readFileSync(off, 'utf8') === '')
        await new Promise((resolve) => setTimeout(resolve, 20))
      stop.abort(new RegistryError('UNAVAILABLE', 'called off'))
      await assert.rejects(work, /called off/)
      assert.ok(running('off'))
    })
  })

  it('a command that is not there has the status of the shell', async () => {
    await assert.rejects(write('no-such-program-here', 10_000), /ended with status 127.*not found/)
  })
})
