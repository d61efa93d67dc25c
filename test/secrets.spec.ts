import assert from 'node:assert/strict'
import { chmod, mkdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readConfig } from '../src/config.ts'
import { openSecrets } from '../src/secrets.ts'
import { openStore } from '../src/store/index.ts'
import { tempFolder } from './support/temp.ts'

describe('files with secrets', function () {
  const folder = tempFolder()
  const data = join(folder.path, 'data')
  before(function () {
    if (process.platform === 'win32') this.skip()
  })
  after(() => folder.remove())

  async function file(path: string, mode: number): Promise<string> {
    await writeFile(path, 'secret')
    await chmod(path, mode)
    return path
  }

  it('are told of at the start where every user may read them', async () => {
    const acme = join(data, 'acme', 'ca.example-0123abcd')
    for (const path of [join(data, 'keys'), acme]) await mkdir(path, { recursive: true })
    const named = (name: string, mode: number) => file(join(folder.path, name), mode)
    const open = [
      await named('tsig.key', 0o644),
      await named('token', 0o604),
      await named('config.json', 0o644),
      await named('login', 0o644),
      await named('tls.key', 0o644),
      await file(join(data, 'keys', 'copied.example.key'), 0o644),
      await file(join(acme, 'account.key'), 0o644)
    ]
    const others = [await named('closed.key', 0o600), await named('shared', 0o640), join(folder.path, 'none')]
    await file(join(data, 'keys', 'made.example.key'), 0o600)
    const [tsig = '', token = '', docker = '', login = '', tls = ''] = open
    const [closed = '', shared = '', none = ''] = others
    const config = readConfig({
      flags: {},
      env: {
        SEAWAY_DATA: data,
        SEAWAY_UPSTREAMS: `u.example=https://u.example auth=${login},v.example=https://v.example auth=${closed}`,
        SEAWAY_UPSTREAM_AUTH: docker,
        SEAWAY_TLS_CERT: 'not looked at',
        SEAWAY_TLS_KEY: tls,
        SEAWAY_PUBLISHERS: [
          `a.example=rfc2136?key=${tsig}`,
          `b.example=cloudflare?token=${token}`,
          `c.example=rfc2136?key=${closed}`,
          `d.example=cloudflare?token=${shared}`,
          `e.example=cloudflare?token=${none}`,
          `f.example=rfc2136?key=${tsig}`
        ].join(',')
      }
    })
    assert.deepEqual(
      await openSecrets(config),
      open.map((path) => `every user of this machine can read ${path}, which holds a secret: chmod 600 it`)
    )
  })

  it('lie in folders of the data folder that nobody else can look into', async () => {
    const store = await openStore({ folder: join(folder.path, 'given'), reserve: 0 })
    await store.close()
    await chmod(join(folder.path, 'given'), 0o755)
    for (const part of ['index', 'datastore', 'blobs', 'incoming'])
      assert.equal((await stat(join(folder.path, 'given', part))).mode & 0o077, 0, part)
  })
})
