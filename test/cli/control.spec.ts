import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chownSync, statSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectControl, controlPath, serveControl } from '../../src/cli/control.ts'
import type { Call, Operations, Progress } from '../../src/cli/index.ts'
import { RegistryError } from '../../src/oci/errors.ts'

describe('the control socket', () => {
  let folder: string
  let stop: () => Promise<void>
  let ended: Promise<unknown>
  const stopping = new AbortController()
  const call = (signal = new AbortController().signal, reports: Progress[] = []): Call => ({
    signal,
    progress: (report) => void reports.push(report)
  })

  /** Operations of the shape of real ones, each ending in its own way. */
  const operations = {
    async root({ domain }: { domain: string }, { progress, signal }: Call) {
      if (domain === 'none.example') throw new RegistryError('NAME_UNKNOWN', 'there is none')
      if (domain === 'broken.example') throw new TypeError('a fault')
      if (domain === 'long.example') {
        progress({ what: 'waiting', done: 1, total: 2, unit: 'items' })
        ended = once(signal, 'abort')
        await ended
        throw signal.reason
      }
      for (let done = 0; done < 3; done++) progress({ what: 'counting', done, total: 3, unit: 'items' })
      return { domain, root: 'x'.repeat(300_000) }
    }
  } as Operations

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sw-control-'))
    ;({ stop } = await serveControl(controlPath(folder), operations, stopping.signal))
  })
  after(async () => {
    await stop()
    await rm(folder, { recursive: true })
  })

  async function connect(): Promise<Operations> {
    const found = await connectControl(controlPath(folder))
    assert.ok(found)
    return found
  }

  it('gives results, long ones too, and reports on the way', async () => {
    const reports: Progress[] = []
    const result = await (await connect()).root({ domain: 'a.example' }, call(undefined, reports))
    assert.deepEqual(result, { domain: 'a.example', root: 'x'.repeat(300_000) })
    assert.deepEqual(
      reports.map(({ done }) => done),
      [0, 1, 2]
    )
  })

  it('gives refusals with their code, and faults with their message', async () => {
    const running = await connect()
    await assert.rejects(running.root({ domain: 'none.example' }, call()), {
      code: 'NAME_UNKNOWN',
      message: 'there is none'
    })
    await assert.rejects(running.root({ domain: 'broken.example' }, call()), {
      code: 'UNKNOWN',
      message: 'a fault'
    })
  })

  it('says that an operation is not there', async () => {
    const running = (await connect()) as unknown as Record<string, Operations['root']>
    for (const name of ['other', 'toString', 'constructor'])
      await assert.rejects(running[name]!({ domain: 'a' }, call()), { code: 'UNSUPPORTED' })
  })

  it('refuses arguments that are no JSON', async () => {
    const answer = await new Promise<string>((resolve, reject) => {
      const req = request({ socketPath: controlPath(folder), path: '/root', method: 'POST' }, (res) => {
        res.setEncoding('utf8')
        let text = ''
        res.on('data', (chunk: string) => (text += chunk))
        res.on('end', () => resolve(text))
      })
      req.on('error', reject)
      req.end('{"domain":')
    })
    assert.match(answer, /"error":\{"code":"UNKNOWN","message":"[^"]*JSON/)
  })

  it('ends an operation whose command is interrupted', async () => {
    const interrupt = new AbortController()
    const running = await connect()
    const work = running.root(
      { domain: 'long.example' },
      { signal: interrupt.signal, progress: () => interrupt.abort(new Error('Ctrl-C')) }
    )
    await assert.rejects(work, { message: 'Ctrl-C' })
    await ended
  })

  it('tells that nobody is there', async () => {
    const empty = await mkdtemp(join(tmpdir(), 'sw-control-'))
    assert.equal(await connectControl(controlPath(empty)), undefined)
    await rm(empty, { recursive: true })
  })

  it('ends operations when the gateway stops', async () => {
    const running = await connect()
    const work = running.root(
      { domain: 'long.example' },
      {
        signal: new AbortController().signal,
        progress: () => stopping.abort(new RegistryError('UNAVAILABLE', 'the gateway is stopping'))
      }
    )
    await assert.rejects(work, { code: 'UNAVAILABLE', message: 'the gateway is stopping' })
  })

  it('is for nobody else, wherever it is and whatever new files are like', async () => {
    const deep = join(folder, 'x'.repeat(120))
    assert.ok(!controlPath(deep).startsWith(folder))
    const before = process.umask(0)
    try {
      for (const [path, others] of [
        [controlPath(deep), 0o077],
        [join(folder, 'other.sock'), 0o007]
      ] as const) {
        const control = await serveControl(path, operations, stopping.signal)
        assert.equal(statSync(path).mode & others, 0)
        assert.equal(process.umask(), 0)
        await control.stop()
      }
    } finally {
      process.umask(before)
    }
  })

  it('is not asked where somebody else has put one', async function () {
    if (process.getuid?.() !== 0) this.skip() // only root can give a file away
    const path = join(folder, 'theirs.sock')
    const control = await serveControl(path, operations, stopping.signal)
    try {
      chownSync(path, 65534, 65534)
      await assert.rejects(connectControl(path), /belongs to another user/)
    } finally {
      await control.stop()
    }
  })
})
