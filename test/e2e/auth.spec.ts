/** The clients that people use, logging in, refused, and pulling without a login: by tokens, and by passwords. */
import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Client } from './support/client.ts'
import { buildah, crane, ctr, docker, oras, podman, skopeo } from './support/clients.ts'
import { startContainerd } from './support/containerd.ts'
import { startDocker } from './support/docker.ts'
import { type SeawayGateway, startGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available, tempDir } from './support/process.ts'

const RULES = `rules:
  - {who: alice, repositories: "**", can: admin}
  - {who: bob, repositories: private.test/**, can: pull}
  - {who: anonymous, repositories: example.com/**, can: pull}
`

const PASSWORDS = { alice: 'correct horse', bob: 'battery:staple' } as const
type User = keyof typeof PASSWORDS

/** How a client logs in and out; the password comes on stdin. */
type Words = Record<'login' | 'logout', (host: string, user: string) => string[]>

const containers: Words = {
  login: (host, user) => ['login', '--tls-verify=false', '-u', user, '--password-stdin', host],
  logout: (host) => ['logout', host]
}

const WORDS: Record<string, Words> = {
  docker: {
    login: (host, user) => ['login', '-u', user, '--password-stdin', host],
    logout: (host) => ['logout', host]
  },
  podman: containers,
  skopeo: containers,
  buildah: containers,
  crane: {
    login: (host, user) => ['auth', 'login', host, '-u', user, '--password-stdin'],
    logout: (host) => ['auth', 'logout', host]
  },
  oras: {
    login: (host, user) => ['login', '--plain-http', '-u', user, '--password-stdin', host],
    logout: (host) => ['logout', host]
  }
}

/** What clients say of a 401 and of a 403. */
const REFUSED =
  /unauthorized|authentication (?:is )?required|no basic auth|invalid username|credential not found|401|denied|forbidden|403/i

describe('clients and users', function () {
  this.timeout(180_000)
  const temp = tempDir('auth')
  const folder = (name: string) => join(temp.path, name)
  const running: { stop(): Promise<void> }[] = []
  const keep = <T extends { stop(): Promise<void> }>(handle: T): T => {
    running.push(handle)
    return handle
  }
  let bearer: SeawayGateway
  let passwords: SeawayGateway
  let image: Image

  async function gateway(name: string, env: Record<string, string>): Promise<SeawayGateway> {
    const dir = folder(name)
    await mkdir(dir)
    const rules = join(dir, 'rules.yaml')
    await writeFile(rules, RULES)
    const settings = {
      SEAWAY_AUTH_USERS: join(dir, 'users'),
      SEAWAY_AUTH_RULES: rules,
      SEAWAY_AUDIT_LOG: join(dir, 'audit.log'),
      SEAWAY_LOG_LEVEL: 'debug',
      ...env
    }
    // before there is a gateway: it needs the file
    await writeFile(settings.SEAWAY_AUTH_USERS, '')
    const started = keep(await startGateway({ dir, env: settings }))
    for (const [user, password] of Object.entries(PASSWORDS))
      await started.seaway(['login-user', user], { input: `${password}\n` })
    return started
  }

  before(async () => {
    image = await makeImage({ dir: folder('i'), name: 'base:1', layers: [{ size: 200_000, seed: 'auth' }] })
    bearer = await gateway('b', {})
    passwords = await gateway('p', { SEAWAY_AUTH_SCHEME: 'basic' })
    const client = await skopeo({ dir: folder('seed') })
    if (!available(...client.needs)) return
    for (const { host } of [bearer, passwords]) {
      await login(client, host, 'alice')
      for (const name of ['example.com/base:1', 'private.test/base:1'])
        await client.push(image, `${host}/${name}`)
    }
  })
  after(async () => {
    for (const handle of running.toReversed()) await handle.stop()
    await temp.remove()
  })

  const login = (client: Client, host: string, user: User, password: string = PASSWORDS[user]) =>
    client.run(WORDS[client.name]?.login(host, user) ?? [], { input: password })

  const refused = (work: Promise<unknown>, what: string) =>
    assert.rejects(
      work,
      (error: Error) => REFUSED.test(error.message) || assert.fail(`${what}: ${error.message}`)
    )

  /** What every client must be able to do, and what it must not. */
  async function logsIn(client: Client): Promise<void> {
    const { host } = bearer
    const own = `${host}/example.com/${client.name}:1`
    const hidden = `${host}/private.test/base:1`
    assert.deepEqual((await client.pull(`${host}/example.com/base:1`)).diffIds, image.diffIds)
    await refused(client.push(image, own), 'a push without a login')
    await refused(client.pull(hidden), 'a pull of what is private without a login')
    // crane keeps what it is told, and finds out when it uses it
    if (client.name !== 'crane') await refused(login(client, host, 'alice', 'wrong'), 'a wrong password')
    else {
      await login(client, host, 'alice', 'wrong')
      await refused(client.pull(hidden), 'a wrong password')
    }

    await login(client, host, 'bob')
    assert.deepEqual((await client.pull(hidden)).diffIds, image.diffIds)
    await refused(client.push(image, own), 'a push without the right')
    await client.run(WORDS[client.name]?.logout(host, 'bob') ?? [])

    await login(client, host, 'alice')
    await client.push(image, own)
    assert.deepEqual((await client.pull(own)).diffIds, image.diffIds)
    await client.run(WORDS[client.name]?.logout(host, 'alice') ?? [])
    // another tag: some clients send nothing where the image is there already
    await refused(client.push(image, own.replace(/1$/, '2')), 'a push after the logout')

    const at = passwords.host
    await refused(client.pull(`${at}/private.test/base:1`), 'a pull without a password')
    await login(client, at, 'alice')
    await client.push(image, `${at}/example.com/${client.name}:1`)
    assert.deepEqual((await client.pull(`${at}/example.com/${client.name}:1`)).diffIds, image.diffIds)
  }

  for (const make of [podman, skopeo, buildah, crane, oras]) {
    it(`${make.name} logs in, is refused, and pulls without a login`, async function () {
      const client = await make({ dir: folder(make.name) })
      if (!available(...client.needs, 'skopeo')) this.skip()
      await logsIn(client)
    })
  }

  it('docker logs in, is refused, and pulls without a login', async function () {
    if (!available('docker', 'dockerd', 'containerd', 'runc', 'skopeo')) this.skip()
    await logsIn(docker(keep(await startDocker({ dir: folder('d') }))))
  })

  it('containerd shows its user with each transfer, is refused, and pulls without one', async function () {
    if (!available('ctr', 'containerd', 'runc', 'skopeo')) this.skip()
    const { ctr: run } = keep(await startContainerd({ dir: folder('c') }))
    const client = ctr({ dir: folder('c'), ctr: run } as Parameters<typeof ctr>[0])
    const pull = (host: string, name: string, user?: User) =>
      run(['images', 'pull', '--plain-http', ...shown(user), `${host}/${name}`])
    const push = (host: string, name: string, user?: User) =>
      run(['images', 'push', '--plain-http', ...shown(user), `${host}/${name}`, `${host}/example.com/base:1`])
    const shown = (user?: User) => (user === undefined ? [] : ['--user', `${user}:${PASSWORDS[user]}`])

    const { host } = bearer
    assert.deepEqual((await client.pull(`${host}/example.com/base:1`)).diffIds, image.diffIds)
    await refused(push(host, 'example.com/ctr:1'), 'a push without a user')
    await refused(pull(host, 'private.test/base:1'), 'a pull of what is private')
    await pull(host, 'private.test/base:1', 'bob')
    await refused(push(host, 'example.com/ctr:1', 'bob'), 'a push without the right')
    await push(host, 'example.com/ctr:1', 'alice')
    await pull(host, 'example.com/ctr:1')
    // it asks for what it wants at once, so that it gets what everybody may have over Basic too
    await pull(passwords.host, 'example.com/base:1')
    await refused(pull(passwords.host, 'private.test/base:1'), 'a pull without a password')
    await pull(passwords.host, 'private.test/base:1', 'alice')
  })

  it('a machine token pushes to its repository, with any client, and nowhere else', async function () {
    const client = await crane({ dir: folder('machine') })
    if (!available(...client.needs)) this.skip()
    const { host } = bearer
    const made = await bearer.seaway([
      'token',
      'create',
      '--repo',
      'example.com/ci',
      '--can',
      'push',
      '--json'
    ])
    const { secret, id } = JSON.parse(made.stdout) as { secret: string; id: string }
    await client.run(['auth', 'login', host, '-u', 'token', '--password-stdin'], { input: secret })
    await client.push(image, `${host}/example.com/ci:1`)
    await refused(client.push(image, `${host}/example.com/other:1`), 'another repository')
    const answer = await bearer.seaway(['whoami', bearer.url, '--token'], { input: secret })
    assert.match(
      answer.stdout,
      /^token:example\.com\/ci \(token\) at [^]*push +example\.com\/ci\npull +example\.com\/\*\*\n$/
    )
    await bearer.seaway(['token', 'revoke', id])
    await refused(client.push(image, `${host}/example.com/ci:2`), 'a token that was revoked')
  })

  it('what is private is not had by its CID either', async () => {
    const root = await bearer.root('private.test')
    for (const format of ['raw', 'car'])
      assert.equal((await fetch(`${bearer.url}/ipfs/${root}?format=${format}`)).status, 404)
  })

  it('neither log has anything that proves an identity, and the audit log has who did what', async () => {
    await bearer.seaway(['rm', 'example.com/ci:1'])
    for (const name of ['b', 'p']) {
      const log = await readFile(join(folder(name), 'seaway.log'), 'utf8')
      const audit = await readFile(join(folder(name), 'audit.log'), 'utf8')
      for (const secret of [...Object.values(PASSWORDS), 'eyJ', 'seaway_', '$2b$']) {
        assert.ok(!log.includes(secret), `${secret} is in the log`)
        assert.ok(!audit.includes(secret), `${secret} is in the audit log`)
        const encoded = Buffer.from(`alice:${secret}`).toString('base64').slice(8, 24)
        assert.ok(!log.includes(encoded) && !audit.includes(encoded), `${secret} is in a log, encoded`)
      }
      const events = audit
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { event: string; who: string; repository?: string })
      const has = (event: string, who: string) =>
        events.some((each) => each.event === event && each.who === who)
      assert.ok(has('login', 'alice') && has('push', 'alice'), audit.slice(0, 2000))
      if (name === 'b')
        assert.ok(has('refused', 'bob') && has('push', 'token:example.com/ci') && has('delete', 'operator'))
    }
  })
})
