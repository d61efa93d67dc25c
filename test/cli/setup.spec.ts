import assert from 'node:assert/strict'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse } from 'yaml'
import { CLIENTS } from '../../src/cli/setup-files.ts'
import { runCommand } from '../support/seaway-command.ts'
import { tempFolder } from '../support/temp.ts'
import { startUpstreamRegistry } from '../support/upstream-registry.ts'

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

  it('keeps what was there, and says whether the gateway is up', async function () {
    this.timeout(30_000)
    const temp = tempFolder()
    const there = await startUpstreamRegistry()
    there.fault = (_, res) => {
      res.writeHead(200, { 'docker-distribution-api-version': 'registry/2.0' }).end('{}')
      return true
    }
    try {
      const file = join(temp.path, 'daemon.json')
      await writeFile(file, '{"debug":true}')
      const at = `127.0.0.1:${there.port}`
      const done = await runCommand(['setup', 'docker', '--write', '--file', file, '--at', at], {})
      assert.equal(done.status, 0, done.stderr)
      assert.match(done.stdout, /daemon\.json is written; what was there is in .*before-seaway-/)
      assert.deepEqual(JSON.parse(await readFile(file, 'utf8')), {
        debug: true,
        'registry-mirrors': [`http://${at}`]
      })
      const backup = (await readdir(temp.path)).find((name) => name.includes('before')) ?? ''
      assert.equal(await readFile(join(temp.path, backup), 'utf8'), '{"debug":true}')
      await there.stop()
      const down = await runCommand(['setup', 'docker', '--write', '--file', file, '--at', at], {})
      assert.equal(down.status, 1)
      assert.match(down.stderr, /nobody answers at 127\.0\.0\.1/)
      const bad = await runCommand(['setup', 'emacs'], {})
      assert.equal(bad.status, 2)
    } finally {
      await there.stop().catch(() => undefined)
      await temp.remove()
    }
  })
})
