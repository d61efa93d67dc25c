import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { startSeaway } from '../support/seaway-process.ts'
import { tempFolder } from '../support/temp.ts'

const MAIN = join(import.meta.dirname, '../../src/main.js')

interface Outcome {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs one command line with no settings but those given. */
function seaway(args: readonly string[], settings: Record<string, string> = {}): Promise<Outcome> {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('SEAWAY_'))
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [MAIN, ...args],
      { env: { ...Object.fromEntries(inherited), ...settings }, timeout: 20_000 },
      (error, stdout, stderr) => {
        resolve({ status: error === null ? 0 : Number(error.code ?? -1), stdout, stderr })
      }
    )
  })
}

/** Pushes an artifact of one small blob, which is enough to make a root. */
async function push(url: string, name: string): Promise<void> {
  const blob = Buffer.from('{}')
  const digest = `sha256:${createHash('sha256').update(blob).digest('hex')}`
  const upload = await fetch(`${url}/v2/${name}/blobs/uploads/?digest=${digest}`, {
    method: 'POST',
    body: blob
  })
  assert.equal(upload.status, 201)
  const mediaType = 'application/vnd.oci.image.manifest.v1+json'
  const config = { mediaType: 'application/vnd.oci.empty.v1+json', digest, size: 2 }
  const body = JSON.stringify({ schemaVersion: 2, mediaType, config, layers: [config] })
  const manifest = await fetch(`${url}/v2/${name}/manifests/1`, {
    method: 'PUT',
    headers: { 'content-type': mediaType },
    body
  })
  assert.equal(manifest.status, 201, await manifest.text())
}

describe('command line', function () {
  this.timeout(60_000)
  const folder = tempFolder()
  const data = join(folder.path, 'data')
  after(() => folder.remove())

  it('says of which version it is', async () => {
    for (const flag of ['--version', '-V']) assert.match((await seaway([flag])).stdout, /^\d+\.\d+\.\d+\n$/)
  })

  it('prints help with examples on every command, and exits 0', async () => {
    const all = await seaway(['--help'])
    assert.equal(all.status, 0)
    for (const command of ['serve', 'root']) {
      assert.match(all.stdout, new RegExp(`^  ${command} `, 'm'))
      const help = await seaway([command, '--help'])
      assert.equal(help.status, 0)
      assert.match(help.stdout, /Examples:/)
      assert.match(help.stdout, /SEAWAY_DNS_SERVERS/)
    }
  })

  it('bad usage and bad settings exit 2 and say what is wrong', async () => {
    for (const [args, settings, message] of [
      [[], {}, /Usage/],
      [['nonsense'], {}, /unknown command/],
      [['root'], {}, /missing required argument/],
      [['root', 'x', '--nonsense'], {}, /unknown option/],
      [['serve'], { SEAWAY_LISTEN: 'here' }, /SEAWAY_LISTEN is 'here'/],
      [['serve', '--routing', 'some'], {}, /--routing is 'some'/],
      [['serve'], { SEAWAY_LISTN: '127.0.0.1:0' }, /SEAWAY_LISTN is not a setting/],
      [['serve'], { SEAWAY_LISTEN: '0.0.0.0:0' }, /SEAWAY_ALLOW_ANONYMOUS_PUSH/]
    ] as [string[], Record<string, string>, RegExp][]) {
      const { status, stderr, stdout } = await seaway(args, { SEAWAY_DATA: data, ...settings })
      assert.equal(status, 2, `${args}: ${stderr}`)
      assert.match(stderr, message)
      assert.equal(stdout, '')
    }
  })

  it('a failure is one line that says what to do, without a stack, and exits 1', async () => {
    const unknown = await seaway(['root', 'nobody.example'], { SEAWAY_DATA: data })
    assert.deepEqual([unknown.status, unknown.stdout], [1, ''])
    assert.match(unknown.stderr, /^seaway: nobody\.example has no registry tree here: push[^\n]*\n$/)
    const folderless = await seaway(['serve'], { SEAWAY_DATA: '/proc/nowhere' })
    assert.equal(folderless.status, 1)
    assert.match(folderless.stderr, /^seaway: the folder \/proc\/nowhere[^\n]*SEAWAY_DATA[^\n]*\n$/)
  })

  it('prints the root of a domain, with the gateway running and without', async () => {
    const gateway = await startSeaway({ data, env: { SEAWAY_PUSH_BASE: 'empty' } })
    await push(gateway.url, 'ships.example/app')
    const settings = { SEAWAY_DATA: data }
    const running = await seaway(['root', 'ships.example'], settings)
    assert.match(running.stdout, /^bafy[a-z2-7]+\n$/)
    assert.ok(
      gateway.output().includes(`now at root ${running.stdout.trim()}`) ||
        (await gateway.records('ships.example', running.stdout.trim())).length > 0
    )
    const json = await seaway(['root', 'ships.example', '--json'], settings)
    assert.deepEqual(JSON.parse(json.stdout), { domain: 'ships.example', root: running.stdout.trim() })

    const second = await seaway(['serve'], {
      ...settings,
      SEAWAY_LISTEN: '127.0.0.1:0',
      SEAWAY_SWARM_LISTEN: '/ip4/127.0.0.1/tcp/0'
    })
    assert.equal(second.status, 1)
    assert.match(second.stderr, /another seaway process is using this data folder/)
    const taken = await seaway(['serve'], {
      SEAWAY_DATA: join(folder.path, 'other'),
      SEAWAY_LISTEN: new URL(gateway.url).host,
      SEAWAY_SWARM_LISTEN: '/ip4/127.0.0.1/tcp/0'
    })
    assert.equal(taken.status, 1)
    assert.match(taken.stderr, /is in use already.*SEAWAY_LISTEN/)

    await gateway.stop()
    assert.deepEqual(await seaway(['root', 'ships.example'], settings), {
      status: 0,
      stdout: running.stdout,
      stderr: ''
    })
  })

  it('works with a data folder whose path is too long for a socket', async () => {
    const deep = join(folder.path, 'a'.repeat(120))
    const gateway = await startSeaway({ data: deep })
    await push(gateway.url, 'app')
    const { stdout } = await seaway(['root', 'local'], { SEAWAY_DATA: deep })
    assert.match(stdout, /^bafy/)
    await gateway.stop()
  })

  it('a stopped gateway ends cleanly and leaves no socket behind', async () => {
    const gateway = await startSeaway({ data })
    await gateway.stop()
    const again = await startSeaway({ data })
    await again.kill()
    // A killed one leaves its socket file, which must not be taken for a running gateway.
    const { status, stdout } = await seaway(['root', 'ships.example'], { SEAWAY_DATA: data })
    assert.equal(status, 0)
    assert.match(stdout, /^bafy/)
  })
})
