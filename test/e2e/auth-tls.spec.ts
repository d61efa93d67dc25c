/** Clients that log in over TLS, with an authority of the operator's own: refused, let in, and without a login. */
import assert from 'node:assert/strict'
import { copyFile, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeCertificate } from './support/authority.ts'
import { useBed } from './support/bed.ts'
import { home } from './support/client.ts'
import { startDocker } from './support/docker.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available, type RunResult, run } from './support/process.ts'

/** An address of this machine that isn't a loopback one: for those docker takes any certificate, or none. */
const ADDRESS = '192.0.2.251'

/** Where docker looks for authorities, whatever it is told. */
const DOCKER_CERTS = '/etc/docker/certs.d'

const PASSWORD = 'correct horse'
const REFUSED =
  /unauthorized|authentication required|no basic auth|invalid username|401|denied|basic credential/i

/** What a client does, as its command line has it. */
interface Words {
  readonly command: string
  readonly login: readonly string[]
  push(reference: string): readonly string[]
  pull(reference: string, to: string): readonly string[]
}

describe('clients that log in over TLS', function () {
  this.timeout(120_000)
  const { folder, keep, gateway: start } = useBed('auth-tls')
  let gateway: SeawayGateway
  let ca: string
  let certs: string
  let image: Image

  before(async function () {
    if (!available('htpasswd', 'openssl')) this.skip()
    await run('ip', ['address', 'replace', `${ADDRESS}/32`, 'dev', 'lo'])
    const made = await makeCertificate(folder('ca'), `IP:${ADDRESS}`)
    ca = made.ca
    const { stdout } = await run('htpasswd', ['-Bin', 'alice'], { input: PASSWORD })
    await writeFile(folder('users'), stdout, { mode: 0o600 })
    const rules = [
      { who: 'alice', repositories: '**', can: 'admin' },
      { who: 'anonymous', repositories: 'example.com/**', can: 'pull' }
    ]
    await writeFile(folder('rules'), JSON.stringify({ rules })) // YAML contains JSON
    gateway = await start('gateway', {
      env: {
        SEAWAY_LISTEN: `${ADDRESS}:0`,
        SEAWAY_AUTH_USERS: folder('users'),
        SEAWAY_AUTH_RULES: folder('rules'),
        SEAWAY_TLS_CERT: made.cert,
        SEAWAY_TLS_KEY: made.key
      }
    })
    certs = folder('certs')
    await mkdir(certs)
    await copyFile(ca, join(certs, 'ca.crt'))
    image = await makeImage({
      dir: folder('image'),
      name: 'app:1',
      layers: [{ size: 100_000, seed: 'auth-tls' }]
    })
  })

  after(async () => {
    await run('ip', ['address', 'delete', `${ADDRESS}/32`, 'dev', 'lo'], { allowFailure: true })
    if (gateway !== undefined) await rm(join(DOCKER_CERTS, gateway.host), { recursive: true, force: true })
  })

  const at = (name: string) => `${gateway.host}/example.com/${name}:1`
  const refused = ({ status, stdout, stderr }: RunResult, what: string) => {
    assert.notEqual(status, 0, what)
    assert.match(stdout + stderr, REFUSED, what)
  }

  async function logsIn({ command, login, push, pull }: Words): Promise<void> {
    const mine = { ...(await home(folder(command))), SSL_CERT_FILE: ca }
    const stranger = { ...(await home(folder(`${command}-stranger`))), SSL_CERT_FILE: ca }
    const reference = at(command)
    const secret = `${gateway.host}/private.test/${command}:1`
    refused(await run(command, [...push(reference)], { env: mine, allowFailure: true }), 'a push')
    await run(command, [...login], { env: mine, input: PASSWORD })
    for (const name of [reference, secret]) await run(command, [...push(name)], { env: mine })
    await run(command, [...pull(reference, folder(`${command}-public`))], { env: stranger })
    const hidden = await run(command, [...pull(secret, folder(`${command}-none`))], {
      env: stranger,
      allowFailure: true
    })
    refused(hidden, 'what is private')
    await run(command, [...pull(secret, folder(`${command}-secret`))], { env: mine })
  }

  it('skopeo', async function () {
    if (!available('skopeo')) this.skip()
    await logsIn({
      command: 'skopeo',
      login: ['login', `--cert-dir=${certs}`, '-u', 'alice', '--password-stdin', gateway.host],
      push: (name) => ['copy', `--dest-cert-dir=${certs}`, `oci:${image.layout}`, `docker://${name}`],
      pull: (name, to) => ['copy', `--src-cert-dir=${certs}`, `docker://${name}`, `oci:${to}:1`]
    })
  })

  it('crane, by HTTP/2', async function () {
    if (!available('crane')) this.skip()
    await logsIn({
      command: 'crane',
      login: ['auth', 'login', gateway.host, '-u', 'alice', '--password-stdin'],
      push: (name) => ['push', image.dir, name],
      pull: (name, to) => ['pull', '--format', 'oci', name, to]
    })
  })

  it('oras, by HTTP/2', async function () {
    if (!available('oras')) this.skip()
    await logsIn({
      command: 'oras',
      login: ['login', '-u', 'alice', '--password-stdin', gateway.host],
      push: (name) => ['cp', '--no-tty', '--from-oci-layout', image.layout, name],
      pull: (name, to) => ['cp', '--no-tty', name, '--to-oci-layout', `${to}:1`]
    })
  })

  it('docker', async function () {
    if (!available('docker', 'dockerd', 'containerd', 'runc')) this.skip()
    const engine = keep(await startDocker({ dir: folder('d') }))
    await mkdir(join(DOCKER_CERTS, gateway.host), { recursive: true })
    await copyFile(ca, join(DOCKER_CERTS, gateway.host, 'ca.crt'))
    await engine.docker(['load', '--quiet', '--input', await image.archive()])
    await engine.docker(['tag', image.name, at('docker')])
    const push = ['push', '--quiet', at('docker')]
    const login = ['login', '-u', 'alice', '--password-stdin', gateway.host]
    refused(await engine.docker(push, { allowFailure: true }), 'a push')
    refused(await engine.docker(login, { input: 'wrong', allowFailure: true }), 'a wrong password')
    await engine.docker(login, { input: PASSWORD })
    await engine.docker(push)
    await engine.docker(['logout', gateway.host])
    await engine.docker(['rmi', '--force', at('docker'), image.name])
    await engine.docker(['pull', '--quiet', at('docker')])
  })
})
