/** The clients that people use, logging in, refused, and pulling without a login: by tokens, by passwords, over TLS. */
import assert from 'node:assert/strict'
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { LOGIN_CLIENTS, type LoginClientKind, loginImage, PASSWORDS } from './support/auth-clients.ts'
import { makeCertificate } from './support/authority.ts'
import { useBed } from './support/bed.ts'
import { crane, skopeo } from './support/clients.ts'
import type { SeawayGateway } from './support/gateway.ts'
import type { Image } from './support/images.ts'
import { available, run } from './support/process.ts'

/** An address of this machine that isn't a loopback one: for those docker takes any certificate, or none. */
const ADDRESS = '192.0.2.251'

/** Where docker looks for authorities, whatever it is told. */
const DOCKER_CERTS = '/etc/docker/certs.d'

const RULES = `rules:
  - {who: alice, repositories: "**", can: admin}
  - {who: bob, repositories: private.test/**, can: pull}
  - {who: anonymous, repositories: example.com/**, can: pull}
`

/** How gateways ask for users. */
const WAYS = ['Bearer', 'Basic', 'Bearer over TLS with an authority of one’s own'] as const
type Way = (typeof WAYS)[number]

/** What clients say of a 401 and of a 403. */
const REFUSED =
  /unauthorized|authentication (?:is )?required|no basic auth|invalid username|credential not found|\b401\b|denied|forbidden|\b403\b/i

describe('clients and users', function () {
  this.timeout(180_000)
  const { folder, keep, gateway: start } = useBed('auth')
  const gateways = {} as Record<Way, SeawayGateway>
  let certs: string
  let image: Image

  before(async function () {
    if (!available('skopeo', 'openssl')) this.skip()
    await run('ip', ['address', 'replace', `${ADDRESS}/32`, 'dev', 'lo'])
    image = await loginImage(folder('i'))
    const made = await makeCertificate(folder('ca'), `IP:${ADDRESS}`)
    certs = folder('certs')
    await mkdir(certs)
    await copyFile(made.ca, join(certs, 'ca.crt'))
    await writeFile(folder('rules.yaml'), RULES)
    await writeFile(folder('users'), '', { mode: 0o600 }) // before there is a gateway: it needs the file
    const tls = {
      SEAWAY_LISTEN: `${ADDRESS}:0`,
      SEAWAY_TLS_CERT: made.cert,
      SEAWAY_TLS_KEY: made.key
    }
    for (const [way, more] of [
      ['Bearer', {}],
      ['Basic', { SEAWAY_AUTH_SCHEME: 'basic' }],
      [WAYS[2], tls]
    ] as const) {
      const env = {
        SEAWAY_AUTH_USERS: folder('users'),
        SEAWAY_AUTH_RULES: folder('rules.yaml'),
        SEAWAY_AUDIT_LOG: auditOf(way),
        SEAWAY_LOG_LEVEL: 'debug',
        ...more
      }
      gateways[way] = await start(way.replace(/ .*/, 't'), { env })
    }
    for (const [user, password] of Object.entries(PASSWORDS))
      await gateways.Bearer.seaway(['login-user', user], { input: `${password}\n` })
    for (const way of WAYS) {
      const { host } = gateways[way]
      const client = await skopeo({ dir: folder('seed'), ...(way === WAYS[2] && { certs }) })
      const credentials = `--dest-creds=alice:${PASSWORDS.alice}`
      const flag = way === WAYS[2] ? `--dest-cert-dir=${certs}` : '--dest-tls-verify=false'
      for (const name of ['example.com/base:1', 'private.test/base:1'])
        await client.run(['copy', flag, credentials, `oci:${image.layout}`, `docker://${host}/${name}`])
    }
  })
  after(async () => {
    await run('ip', ['address', 'delete', `${ADDRESS}/32`, 'dev', 'lo'], { allowFailure: true })
    const host = gateways[WAYS[2]]?.host
    if (host !== undefined) await rm(join(DOCKER_CERTS, host), { recursive: true, force: true })
  })

  const auditOf = (way: Way) => folder(`audit-${WAYS.indexOf(way)}.log`)
  const auditText = (way: Way) => readFile(auditOf(way), 'utf8')
  const eventsOf = async (way: Way) =>
    (await auditText(way))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { event: string; who: string; repository?: string; client: string })

  const refused = (work: Promise<unknown>, what: string) =>
    assert.rejects(
      work,
      (error: Error) => REFUSED.test(error.message) || assert.fail(`${what}: ${error.message}`)
    )

  /** What every client must be able to do, and what it must not. */
  async function logsIn(kind: LoginClientKind, way: Way): Promise<void> {
    const { host } = gateways[way]
    const options = { dir: folder(kind.name.slice(0, 2)), ...(way === WAYS[2] && { certs }) }
    if (way === WAYS[2] && kind.name === 'docker') {
      await mkdir(join(DOCKER_CERTS, host), { recursive: true })
      await copyFile(join(certs, 'ca.crt'), join(DOCKER_CERTS, host, 'ca.crt'))
    }
    const client = await kind.open(options, keep)
    const own = `${host}/example.com/${kind.name}:1`
    const hidden = `${host}/private.test/base:1`
    const pulls = async (reference: string) =>
      assert.deepEqual((await client.pull(reference)).diffIds, image.diffIds)

    if (way === 'Basic' && !kind.anonymousOverBasic)
      await refused(client.pull(`${host}/example.com/base:1`), 'a pull without a login')
    else await pulls(`${host}/example.com/base:1`)
    await refused(client.push(image, own), 'a push without a login')
    await refused(client.pull(hidden), 'a pull of what is private without a login')

    const wrong = client.login(host, 'alice', 'wrong')
    if (kind.asks) await refused(wrong, 'a wrong password')
    else {
      await wrong
      await refused(client.pull(hidden), 'a wrong password')
    }

    await client.login(host, 'bob')
    await pulls(hidden)
    await refused(client.push(image, own), 'a push without the right')
    await client.logout(host)

    await client.login(host, 'alice')
    await client.push(image, own)
    await client.logout(host)
    // another repository: some clients send nothing where the image is there already, and containerd 1.6 hangs over
    // HTTP/2 where only its manifest is refused
    await refused(client.push(image, `${host}/example.com/${kind.name}-more:1`), 'a push after the logout')

    const events = (await eventsOf(way)).filter(({ repository }) => repository === `example.com/${kind.name}`)
    assert.deepEqual(
      events.filter(({ event }) => event === 'push').map(({ who }) => who),
      ['alice']
    )
    assert.ok(events.some(({ event, who }) => event === 'refused' && who === 'bob'))
  }

  for (const kind of LOGIN_CLIENTS) {
    for (const way of WAYS) {
      it(`${kind.name} logs in, is refused, and pulls without a login: ${way}`, async function () {
        if (!available(...kind.needs, 'skopeo', 'openssl')) this.skip()
        await logsIn(kind, way)
      })
    }
  }

  it('a machine token pushes to its repository, with any client, and nowhere else', async function () {
    const client = await crane({ dir: folder('machine') })
    if (!available(...client.needs)) this.skip()
    const bearer = gateways.Bearer
    const { host } = bearer
    const create = ['token', 'create', '--repo', 'example.com/ci', '--can', 'push', '--json']
    const { secret, id } = JSON.parse((await bearer.seaway(create)).stdout) as { secret: string; id: string }
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
    const { url, root } = gateways.Bearer
    const cid = await root('private.test')
    for (const format of ['raw', 'car'])
      assert.equal((await fetch(`${url}/ipfs/${cid}?format=${format}`)).status, 404)
  })

  it('no log has anything that proves an identity, and the audit log has who did what', async () => {
    await gateways.Bearer.seaway(['rm', 'example.com/ci:1'])
    for (const way of WAYS) {
      const log = JSON.stringify(await gateways[way].logged())
      assert.ok(log.includes('"request"'), 'the log is looked at')
      const audit = await auditText(way)
      const secrets: readonly string[] = [...Object.values(PASSWORDS), 'eyJ', 'seaway_', '$2b$']
      for (const secret of secrets) {
        for (const text of [secret, encodeURIComponent(secret)])
          assert.ok(!log.includes(text) && !audit.includes(text), `${secret} is in a log of ${way}`)
      }
      for (const [user, password] of Object.entries(PASSWORDS)) {
        const encoded = Buffer.from(`${user}:${password}`).toString('base64').slice(8, 24)
        assert.ok(
          !log.includes(encoded) && !audit.includes(encoded),
          `${user}'s password is in a log, encoded`
        )
      }
      const events = await eventsOf(way)
      const has = (event: string, who: string) =>
        events.some((each) => each.event === event && each.who === who)
      assert.ok(has('login', 'alice') && has('push', 'alice') && has('refused', 'bob'), audit.slice(0, 2000))
      if (way === 'Bearer') assert.ok(has('push', 'token:example.com/ci') && has('delete', 'operator'))
    }
  })
})
