/** `seaway whoami` with what `docker login` leaves behind, however it keeps it, and over TLS. */
import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type AuthServer, basic, startAuthServer } from '../support/auth.ts'
import { AUTHORITY } from '../support/certificate.ts'
import { testIdentity } from '../support/identity.ts'
import { type Outcome, runCommandHere } from '../support/seaway-command.ts'
import { tempFolder } from '../support/temp.ts'

const inBase64 = (text: string): string => Buffer.from(text).toString('base64')

describe('whoami', () => {
  const folder = tempFolder()
  const docker = join(folder.path, 'docker')
  const ca = join(folder.path, 'ca.pem')
  let auth: AuthServer
  before(() => {
    mkdirSync(docker)
    writeFileSync(ca, AUTHORITY)
  })
  after(() => folder.remove())
  afterEach(() => auth.stop())

  const ask = (url: string, more: Record<string, string> = {}): Promise<Outcome> =>
    runCommandHere(['whoami', url], { SEAWAY_DATA: folder.path, DOCKER_CONFIG: docker, ...more })
  const keeps = (config: object) => writeFileSync(join(docker, 'config.json'), JSON.stringify(config))

  /** A helper of docker's, `docker-credential-<name>`, that prints this, on the PATH while `work` runs. */
  async function withHelper<T>(name: string, script: string, work: () => Promise<T>): Promise<T> {
    const path = join(folder.path, `docker-credential-${name}`)
    writeFileSync(path, `#!/bin/sh\n${script}\n`)
    chmodSync(path, 0o755)
    const before = process.env['PATH']
    process.env['PATH'] = `${folder.path}${delimiter}${before}`
    try {
      return await work()
    } finally {
      process.env['PATH'] = before
    }
  }

  describe('over plain HTTP', () => {
    let url: string
    let host: string
    beforeEach(async () => {
      auth = await startAuthServer()
      host = `127.0.0.1:${auth.server.port}`
      url = `http://${host}`
    })

    it('shows name and password', async () => {
      keeps({ auths: { [host]: { auth: inBase64('alice:secret') } } })
      assert.match((await ask(url)).stdout, /^alice \(user\) at 127/)
    })

    it('is somebody else where docker keeps nothing for it', async () => {
      keeps({ auths: { 'other.example': { auth: inBase64('alice:secret') } } })
      assert.match((await ask(url)).stdout, /^anonymous/)
    })

    it('asks the helper that keeps this gateway’s, or all', async () => {
      const says = `read host; [ "$host" = ${host} ] && echo '{"Username":"alice","Secret":"secret"}'`
      for (const config of [{ credHelpers: { [host]: 'seaway-test' } }, { credsStore: 'seaway-test' }]) {
        keeps({ auths: { [host]: {} }, ...config })
        assert.match((await withHelper('seaway-test', says, () => ask(url))).stdout, /^alice \(user\)/)
      }
    })

    it('says what is wrong with a helper, in one line', async () => {
      keeps({ credsStore: 'seaway-broken' })
      for (const work of [() => ask(url), () => withHelper('seaway-broken', 'exit 3', () => ask(url))]) {
        const { status, stdout, stderr } = await work()
        assert.deepEqual([status, stdout], [1, ''])
        assert.match(stderr, /^seaway: [^\n]*docker-credential-seaway-broken[^\n]*\n$/)
      }
    })

    it('shows the identity token that docker keeps instead of a password', async () => {
      const asked = await auth.as(basic('alice', 'secret'), 'GET', '/auth/token?offline_token=true')
      const { refresh_token: token } = asked.json<{ refresh_token: string }>()
      keeps({ auths: { [host]: { auth: inBase64('alice:'), identitytoken: token } } })
      assert.match((await ask(url)).stdout, /^alice \(user\)/)
      keeps({
        auths: { [host]: { auth: inBase64('alice:'), identitytoken: `${token.slice(0, -8)}AAAAAAAA` } }
      })
      const { status, stderr } = await ask(url)
      assert.equal(status, 1)
      assert.match(stderr, /^seaway: [^\n]*log in again[^\n]*\n$/)
    })
  })

  it('trusts an authority that it is told of, and nobody’s certificate otherwise', async () => {
    const files = await testIdentity()
    try {
      auth = await startAuthServer({ server: { identity: files.identity } })
      const host = `localhost:${auth.server.port}`
      keeps({ auths: { [host]: { auth: inBase64('alice:secret') } } })
      assert.match(
        (await ask(`https://${host}`, { SEAWAY_TRUSTED_CA: ca })).stdout,
        /^alice \(user\) at localhost/
      )
      const stranger = await ask(`https://${host}`)
      assert.deepEqual([stranger.status, stranger.stdout], [1, ''])
      assert.match(stranger.stderr, /^seaway: [^\n]*authority is not trusted[^\n]*SEAWAY_TRUSTED_CA[^\n]*\n$/)
      for (const file of [join(folder.path, 'none.pem'), join(docker, 'config.json')]) {
        const wrong = await ask(`https://${host}`, { SEAWAY_TRUSTED_CA: file })
        assert.equal(wrong.status, 1)
        assert.ok(wrong.stderr.includes(file), wrong.stderr)
      }
    } finally {
      await files.stop()
    }
  })
})
