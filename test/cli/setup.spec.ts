import assert from 'node:assert/strict'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'yaml'
import { CLIENTS } from '../../src/cli/setup-files.ts'
import { type PullThroughBed, startPullThrough } from '../support/pull-through-bed.ts'
import { runCommand } from '../support/seaway-command.ts'
import { tempFolder } from '../support/temp.ts'

const target = { at: '10.0.0.5:5000', domains: ['docker.io', 'quay.io'] }
const content = (client: string, before?: string) => CLIENTS[client]?.(target).content(before) ?? ''

describe('setup', () => {
  it("adds to docker's settings, once", () => {
    const once = content('docker', '{"debug": true, "registry-mirrors": ["https://other"]}')
    assert.deepEqual(JSON.parse(once), {
      debug: true,
      'registry-mirrors': ['http://10.0.0.5:5000', 'https://other'],
      'insecure-registries': ['10.0.0.5:5000']
    })
    assert.equal(content('docker', once), once)
    assert.throws(() => content('docker', '[]'), /no JSON object/)
  })

  it("adds to k3s's mirrors, and leaves comments where they are", () => {
    const text = content('k3s', '# ours\nmirrors:\n  "*":\n    endpoint: [https://other]\nconfigs: {}\n')
    assert.match(text, /^# ours\n/)
    assert.deepEqual(parse(text), {
      mirrors: { '*': { endpoint: ['http://10.0.0.5:5000', 'https://other'] } },
      configs: {}
    })
    assert.deepEqual(parse(content('k3s')), { mirrors: { '*': { endpoint: ['http://10.0.0.5:5000'] } } })
    assert.equal(content('k3s', text), text)
  })

  it('says https to all of them where the gateway speaks TLS', () => {
    for (const [name, make] of Object.entries(CLIENTS)) {
      const text = make({ at: 'registry.example.com', domains: ['quay.io'], tls: true }).content(undefined)
      assert.match(text, /registry\.example\.com/, name)
      assert.doesNotMatch(text, /http:|insecure|http =/, name)
    }
    assert.match(content('containerd'), /http:\/\/10\.0\.0\.5:5000/)
  })

  it('writes files of its own for the others, and nobody else out of theirs', () => {
    for (const client of ['containerd', 'podman', 'buildkit']) {
      const text = content(client)
      assert.match(text, /10\.0\.0\.5:5000/)
      assert.equal(content(client, text), text)
      assert.throws(() => content(client, 'debug = true\n'), /yourself/)
    }
    assert.match(
      content('podman'),
      /location = "quay\.io"\n\[\[registry\.mirror\]\]\nlocation = "10\.0\.0\.5:5000\/quay\.io"/
    )
    assert.match(
      content('buildkit'),
      /\[registry\."docker\.io"\]\n {2}mirrors = \["10\.0\.0\.5:5000\/docker\.io"\]/
    )
  })

  describe('with --write', function () {
    this.timeout(60_000)
    const temp = tempFolder()
    let bed: PullThroughBed
    let at: string
    before(async () => {
      bed = await startPullThrough({ standard: 'docker.io' })
      at = bed.server.host
      bed.there.image('library/hello-world', 'latest', ['x'])
    })
    after(async () => {
      await bed.stop()
      await temp.remove()
    })
    const run = (client: string, file: string, ...more: string[]) =>
      runCommand(['setup', client, '--write', '--file', file, '--at', at, ...more], {})

    it('keeps what was there, and tries an image as docker asks a mirror for it', async () => {
      const file = join(temp.path, 'daemon.json')
      await writeFile(file, '{"debug":true}')
      const done = await run('docker', file)
      assert.equal(done.status, 0, done.stderr)
      assert.match(done.stdout, /daemon\.json is written; what was there is in .*before-seaway-/)
      assert.match(done.stdout, /docker\.io\/library\/hello-world:latest comes through it \(sha256:/)
      assert.deepEqual(JSON.parse(await readFile(file, 'utf8')), {
        debug: true,
        'registry-mirrors': [`http://${at}`]
      })
      const backup = (await readdir(temp.path)).find((name) => name.includes('before')) ?? ''
      assert.equal(await readFile(join(temp.path, backup), 'utf8'), '{"debug":true}')
    })

    for (const client of ['containerd', 'podman', 'k3s', 'buildkit'])
      it(`tries an image as ${client} asks for it`, async () => {
        const { status, stdout, stderr } = await run(client, join(temp.path, client, 'file'), '--json')
        assert.equal(status, 0, stderr)
        const { tried } = JSON.parse(stdout) as { tried: { image: string; digest: string } }
        assert.match(tried.digest, /^sha256:/)
      })

    it('says what is wrong where nothing comes', async () => {
      const file = join(temp.path, 'wrong', 'file')
      const none = await run('podman', file, '--try', 'up.example/a/none:1')
      assert.equal(none.status, 1)
      assert.match(
        none.stderr,
        /the file is written, but up\.example\/a\/none:1 does not come .*hasn't got it/
      )
      await bed.restart({})
      at = bed.server.host
      const bare = await run('docker', join(temp.path, 'bare.json'))
      assert.match(bare.stderr, /must run with SEAWAY_DEFAULT_UPSTREAM=docker\.io/)
      const down = await runCommand(
        ['setup', 'podman', '--write', '--file', file, '--at', `127.0.0.1:${bed.there.port}`],
        {}
      )
      assert.equal(down.status, 1)
      assert.match(down.stderr, /is no registry/)
      const nobody = await runCommand(
        ['setup', 'podman', '--write', '--file', file, '--at', '127.0.0.1:1'],
        {}
      )
      assert.match(nobody.stderr, /nobody answers at 127\.0\.0\.1:1/)
      assert.equal((await run('emacs', file)).status, 2)
      assert.equal((await run('podman', file, '--try', 'app')).status, 2)
    })
  })
})
