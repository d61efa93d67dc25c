/** `seaway verify` at a terminal: its progress, its rate, Ctrl-C, going on, and repair from a second gateway. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { useBed } from './support/bed.ts'
import { waitFor } from './support/daemon.ts'
import { gatewayEnv, type SeawayGateway } from './support/gateway.ts'
import { available } from './support/process.ts'
import { randomBytes } from './support/tar.ts'
import { repository } from './support/wire.ts'

const MiB = 1024 * 1024
const MAIN = join(import.meta.dirname, '../../src/main.js')
const bytesOf = (size: number, seed: string): Buffer => Buffer.concat([...randomBytes(size, seed)])

interface Report {
  resumed: boolean
  blobs: number
  bytes: number
  damaged: number
  bad: number
  found: { state: string; id: string }[]
}

describe('seaway verify at a terminal', function () {
  this.timeout(120_000)
  const { gateway } = useBed('verify-command')
  let source: SeawayGateway
  let one: SeawayGateway
  let layers: string[]

  before(async function () {
    if (!available('script')) this.skip()
    source = await gateway('source')
    one = await gateway('one', { env: { SEAWAY_PEERS: source.peers.join(',') } })
    layers = []
    for (const each of [source, one]) {
      for (let i = 0; i < 6; i++) {
        const { layer } = await repository(each.url, 'app').putImage(`${i}`, bytesOf(4 * MiB, `layer ${i}`))
        if (each === one) layers.push(layer)
      }
    }
  })

  const ctrlC = async (child: ChildProcess) => void child.stdin?.write('\u0003')

  /** Runs a command on a terminal of its own; when what it shows matches `until`, `end` ends it. */
  async function interrupted(
    args: string,
    until: RegExp,
    end: (child: ChildProcess) => Promise<void>
  ): Promise<{ shown: string; status: number }> {
    const env = { ...process.env, ...gatewayEnv(one.data), TERM: 'xterm' }
    // exec: a shell that stays between them would answer Ctrl-C with a status of its own
    const command = `exec ${process.execPath} ${MAIN} ${args}`
    const child = spawn('script', ['-qec', command, '/dev/null'], { env })
    let shown = ''
    child.stdout.on('data', (chunk: Buffer) => {
      shown += chunk.toString()
    })
    const ended = new Promise<number>((resolve) => child.once('exit', (code) => resolve(code ?? -1)))
    try {
      await waitFor(`${until} on the terminal`, async () => until.test(shown), {
        deadline: 60_000,
        giveUp: () => (child.exitCode === null ? undefined : `it ended, showing ${shown}`)
      })
      await end(child)
      return { status: await ended, shown }
    } finally {
      child.kill('SIGKILL')
    }
  }

  /** One that is told to end may take a moment for it, in which another is refused. */
  async function verify(...args: string[]): Promise<Report> {
    for (;;) {
      const options = { timeout: 60_000, allowFailure: true }
      const { stdout, stderr } = await one.seaway(['verify', '--json', ...args], options)
      if (!stderr.includes('running already')) return JSON.parse(stdout || assert.fail(stderr)) as Report
    }
  }

  const BAR = /blobs {2}\[=+ *\] {2}[\d.]+ MB of 25\.2 MB {2}[\d.]+ MB\/s {2}\S+ left/

  for (const alone of [false, true]) {
    it(`shows a bar, ends at Ctrl-C and goes on where it was, ${alone ? 'alone' : 'through the gateway'}`, async () => {
      if (alone) await one.stop()
      // At this rate it takes half a minute: that the bar is met in its middle shows that the rate is kept.
      const { shown, status } = await interrupted('verify --restart --rate 1MB', BAR, ctrlC)
      assert.equal(status, 1)
      assert.match(shown, /seaway: (the command was )?interrupted/)
      const rest = await verify('--rate', 'none')
      // the config is one for all
      assert.deepEqual([rest.resumed, rest.blobs, rest.damaged], [true, 6 + 6 + 1, 0])
      if (!alone) assert.equal((await verify('--rate', 'none')).resumed, false)
    })
  }

  it('goes on after a crash, and fetches what it finds damaged from a peer', async () => {
    one = await gateway('one', { env: { SEAWAY_PEERS: source.peers.join(',') } })
    const [digest = ''] = layers.toSorted().slice(-1)
    const file = await open(join(one.data, 'blobs', digest.slice(7, 9), digest.slice(7)), 'r+')
    await file.write(Buffer.from('damaged'), 0, 7, 2 * MiB)
    await file.close()
    // where it is, is written down every five seconds
    const { shown } = await interrupted('verify --restart --rate 2MB', / 1[5-9]\.\d MB of/, () => one.kill())
    assert.match(shown, /seaway: .*broke off/)
    one = await gateway('one', { env: { SEAWAY_PEERS: source.peers.join(',') } })
    const report = await verify('--rate', 'none')
    assert.deepEqual([report.resumed, report.damaged, report.bad], [true, 1, 0])
    assert.deepEqual(
      report.found.map(({ id, state }) => ({ id, state })),
      [{ id: digest, state: 'repaired' }]
    )
    assert.equal(await repository(one.url, 'app').blobDigest(digest), digest)
  })
})
