/** `push`, `copy`, `export` and `import` without a gateway that runs, and without an engine. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { dockerArchive } from '../support/docker-archive.ts'
import { runCommand } from '../support/seaway-command.ts'
import { tempFolder } from '../support/temp.ts'

const MAIN = join(import.meta.dirname, '../../src/main.js')

describe('moving images without a gateway that runs', function () {
  this.timeout(60_000)
  const temp = tempFolder()
  const settings = {
    SEAWAY_DATA: join(temp.path, 'data'),
    SEAWAY_DNS_SERVERS: '127.0.0.1:1',
    SEAWAY_LOG_LEVEL: 'silent'
  }
  const environment = () => ({
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SEAWAY_'))),
    ...settings
  })
  const file = (name: string) => join(temp.path, name)
  const run = async (...args: string[]) => {
    const { status, stdout, stderr } = await runCommand(args, settings)
    assert.equal(status, 0, `${args.join(' ')}: ${stderr}`)
    return stdout
  }
  after(() => temp.remove())

  it('an archive of docker save goes in, and out again as a layout, an archive and a CAR', async () => {
    const { bytes, id } = await dockerArchive('example.com/app:1')
    await writeFile(file('app.tar'), bytes)
    const first = JSON.parse(await run('push', `archive:${file('app.tar')}`, '--json')) as {
      version: number
      images: { to: string; digest: string }[]
      moved: { blobs: number }
      roots: Record<string, string>
    }
    assert.equal(first.version, 1)
    assert.equal(first.images[0]?.to, 'example.com/app:1')
    assert.equal(first.moved.blobs, 2)
    const digest = first.images[0]?.digest ?? ''

    await run('copy', 'example.com/app:1', `oci:${file('layout')}`)
    const index = JSON.parse(await readFile(file('layout/index.json'), 'utf8')) as {
      manifests: { digest: string }[]
    }
    assert.equal(index.manifests[0]?.digest, digest)
    const manifest = await readFile(file(`layout/blobs/${digest.replace(':', '/')}`), 'utf8')
    assert.equal((JSON.parse(manifest) as { config: { digest: string } }).config.digest, id)

    await run(
      'pull',
      'example.com/app:1',
      '--into',
      `archive:${file('back.tar')}`,
      '--platform',
      'linux/amd64'
    )
    const again = await run('push', `archive:${file('back.tar')}`, '--to', 'example.org', '--json')
    const [moved] = (JSON.parse(again) as { images: { to: string; digest: string }[] }).images
    assert.deepEqual([moved?.to, moved?.digest], ['example.org/app:1', digest])

    const car = JSON.parse(await run('export', 'example.com', file('all.car'), '--json')) as { root: string }
    assert.equal(car.root, first.roots['example.com'])
    const other = { ...settings, SEAWAY_DATA: join(temp.path, 'other') }
    const imported = await runCommand(['import', file('all.car')], other)
    assert.equal(imported.status, 0, imported.stderr)
    assert.match(imported.stdout, new RegExp(`example.com is now at root ${car.root}`))
  })

  it('layers that are packed already stay as they are, and are held against the config', async () => {
    const good = await dockerArchive('packed:1', { packed: true })
    await writeFile(file('packed.tar'), good.bytes)
    await run('push', `archive:${file('packed.tar')}`)
    for (const packed of [true, false]) {
      const wrong = await dockerArchive('wrong:1', { packed, wrong: true })
      await writeFile(file('wrong.tar'), wrong.bytes)
      const refused = await runCommand(['push', `archive:${file('wrong.tar')}`], settings)
      assert.equal(refused.status, 1)
      assert.match(refused.stderr, /is incomplete: the layer sha256:[0-9a-f]{64} of wrong:1 is not in it/)
    }
    const missing = await runCommand(['copy', 'wrong:1', `oci:${file('wrong')}`], settings)
    assert.equal(missing.status, 1)
    assert.deepEqual((await readdir(temp.path)).includes('wrong'), false)
  })

  it('an archive goes into another one under another name; stdout that nobody reads ends a command', async () => {
    const { bytes, id } = await dockerArchive('example.com/app:1')
    await writeFile(file('from.tar'), bytes)
    const target = `archive:${file('to.tar')}`
    const copied = await run('copy', `archive:${file('from.tar')}`, `${target}:team/other:2`, '--json')
    const { images } = JSON.parse(copied) as { images: object[] }
    assert.deepEqual(images, [{ image: 'example.com/app:1', to: target, digest: id }])

    const child = spawn(process.execPath, [MAIN, 'copy', target, 'archive:-'], {
      env: environment(),
      stdio: ['ignore', 'pipe', 'pipe']
    })
    child.stdout.destroy()
    const [said, [status]] = await Promise.all([text(child.stderr), once(child, 'close')])
    assert.match(said, /^seaway: nobody reads stdout any more[^\n]*\n$/)
    assert.equal(status, 1)
  })

  it('what comes from stdin and is interrupted leaves nothing', async () => {
    const { bytes } = await dockerArchive('interrupted:1')
    const child = spawn(process.execPath, [MAIN, 'push', '-'], {
      env: environment(),
      stdio: ['pipe', 'ignore', 'pipe']
    })
    let said = ''
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString()
    })
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
    child.stdin.on('error', () => undefined)
    child.stdin.write(bytes.subarray(0, 100_000))
    // once it owns the folder it is at work
    for (;;) {
      const names: string[] = await readdir(settings.SEAWAY_DATA).catch(() => [])
      if (names.includes('control.sock')) break
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    child.kill('SIGINT')
    assert.equal(await ended, 1)
    assert.match(said, /interrupted/)
    assert.equal((await runCommand(['copy', 'interrupted:1', `oci:${file('none')}`], settings)).status, 1)
    assert.deepEqual(await readdir(join(settings.SEAWAY_DATA, 'incoming')), [])
  })
})
