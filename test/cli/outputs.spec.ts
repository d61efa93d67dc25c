/** What is printed where nobody reads it any more, or where it can't be written: closed pipes, a full disk. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setTimeout } from 'node:timers/promises'
import { connectControl, controlPath } from '../../src/cli/control.ts'
import { ociClient } from '../support/oci-client.ts'
import { tempFolder } from '../support/temp.ts'

const MAIN = join(import.meta.dirname, '../../src/main.js')

/** A device on which every write fails, because it is full. */
const FULL = '/dev/full'

describe('what is printed', function () {
  this.timeout(60_000)
  const folder = tempFolder()
  const settings = {
    SEAWAY_DATA: join(folder.path, 'data'),
    SEAWAY_LISTEN: '127.0.0.1:0',
    SEAWAY_SWARM_LISTEN: '/ip4/127.0.0.1/tcp/0',
    SEAWAY_ROUTING: 'none',
    SEAWAY_PUSH_BASE: 'empty',
    SEAWAY_LOG_LEVEL: 'info'
  }
  let running: ChildProcess | undefined
  let full: number

  before(() => {
    full = openSync(FULL, 'w')
  })
  afterEach(async () => {
    if (running?.exitCode !== null || running.signalCode !== null) return
    running.kill('SIGKILL')
    await once(running, 'exit')
  })
  after(() => {
    closeSync(full)
    return folder.remove()
  })

  /** Starts `seaway`; an output is a pipe, or a file that is open. */
  function start(args: readonly string[], stdout: 'pipe' | number, stderr: 'pipe' | number): ChildProcess {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('SEAWAY_'))
    const env = { ...Object.fromEntries(inherited), ...settings }
    running = spawn(process.execPath, [MAIN, ...args], { env, stdio: ['ignore', stdout, stderr] })
    return running
  }

  const pipe = (stream: Readable | null): Readable => stream ?? assert.fail('it is a pipe')

  /** The port that a gateway says it listens on. */
  async function portOf(gateway: ChildProcess): Promise<number> {
    let printed = ''
    for await (const chunk of pipe(gateway.stdout).iterator({ destroyOnReturn: false })) {
      printed += String(chunk)
      const port = /listens on http:\/\/[^:]+:(\d+)/.exec(printed)?.[1]
      if (port !== undefined) return Number(port)
    }
    return assert.fail(`it ended after printing '${printed}'`)
  }

  /** Pushes, and waits until the root that is printed then is noted, which is done before. */
  async function push(port: number, domain: string): Promise<void> {
    await ociClient({ port }).image(`${domain}/app`, '1')
    const gateway = (await connectControl(controlPath(settings.SEAWAY_DATA))) ?? assert.fail('it is gone')
    const call = { signal: AbortSignal.timeout(30_000), progress: () => undefined }
    while ((await gateway.history({ domain }, call)).length === 0) await setTimeout(20)
  }

  async function ends(gateway: ChildProcess): Promise<void> {
    const ended = once(gateway, 'exit')
    gateway.kill('SIGTERM')
    assert.deepEqual(await ended, [0, null])
  }

  it('by a gateway may go unread, and what it logs: it serves on', async () => {
    const gateway = start(['serve'], 'pipe', 'pipe')
    const port = await portOf(gateway)
    for (const output of [gateway.stdout, gateway.stderr]) pipe(output).destroy()
    for (const domain of ['a.example', 'b.example']) await push(port, domain)
    await ociClient({ port }).expect(200, 'GET', '/v2/a.example/app/manifests/1')
    await ends(gateway)
  })

  it('in the log of a gateway may find no room: it serves on', async () => {
    const gateway = start(['serve'], 'pipe', full)
    const port = await portOf(gateway)
    await push(port, 'c.example')
    await ends(gateway)
  })

  for (const args of [['--help'], ['usage'], ['history', 'a.example']]) {
    it(`by \`seaway ${args.join(' ')}\` may go unread: it ends without a word`, async () => {
      const command = start(args, 'pipe', 'pipe')
      pipe(command.stdout).destroy()
      const [errors, ended] = await Promise.all([text(pipe(command.stderr)), once(command, 'exit')])
      assert.deepEqual([errors, ended], ['', [0, null]])
    })
  }

  it('by a command is needed: where it finds no room, the command has failed', async () => {
    const command = start(['root', 'a.example'], full, 'pipe')
    const [errors, ended] = await Promise.all([text(pipe(command.stderr)), once(command, 'exit')])
    assert.match(errors, /^seaway: .*ENOSPC.*\n$/)
    assert.deepEqual(ended, [1, null])
  })

  it('by a command about what is wrong may go unread too', async () => {
    const command = start(['root', 'none.example'], 'pipe', full)
    assert.deepEqual(await once(command, 'exit'), [1, null])
  })
})
