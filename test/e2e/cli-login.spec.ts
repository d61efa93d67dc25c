/** `seaway` against a gateway that asks for users over TLS, by its URL; and its operator, who is asked for nothing. */
import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeCertificate } from './support/authority.ts'
import { useBed } from './support/bed.ts'
import { gatewayEnv, runSeaway, type SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available, run } from './support/process.ts'

const PASSWORD = 'correct horse'

describe('commands that log in', function () {
  this.timeout(120_000)
  const { folder, gateway: start } = useBed('cli-login')
  let gateway: SeawayGateway
  let ca: string
  let image: Image

  before(async function () {
    if (!available('htpasswd', 'openssl')) this.skip()
    const made = await makeCertificate(folder('ca'), 'IP:127.0.0.1')
    ca = made.ca
    const { stdout } = await run('htpasswd', ['-Bin', 'alice'], { input: PASSWORD })
    const mate = await run('htpasswd', ['-Bin', 'mate'], { input: 'secret' })
    await writeFile(folder('users'), `${stdout.trim()}\n${mate.stdout}`, { mode: 0o600 })
    const rules = [{ who: 'alice', repositories: '**', can: 'admin' }]
    await writeFile(folder('rules'), JSON.stringify({ rules })) // YAML contains JSON
    gateway = await start('gateway', {
      env: {
        SEAWAY_AUTH_USERS: folder('users'),
        SEAWAY_AUTH_RULES: folder('rules'),
        SEAWAY_AUDIT_LOG: folder('audit.log'),
        SEAWAY_TLS_CERT: made.cert,
        SEAWAY_TLS_KEY: made.key
      }
    })
    image = await makeImage({
      dir: folder('image'),
      name: 'app:1',
      layers: [{ size: 100_000, seed: 'cli-login' }]
    })
  })

  it('are let in by URL as docker login says; the operator is asked for nothing', async () => {
    const config = folder('seaway-login')
    await mkdir(config)
    const login = (pair: string) => ({
      auths: { [gateway.host]: { auth: Buffer.from(pair).toString('base64') } }
    })
    const seaway = async (args: string[], more: Record<string, string> = {}) =>
      runSeaway(
        args,
        gatewayEnv(folder('nobody'), undefined, { DOCKER_CONFIG: config, SEAWAY_TRUSTED_CA: ca, ...more }),
        { allowFailure: true }
      )
    const works = async (...args: string[]) => {
      const { status, stdout, stderr } = await seaway(args)
      assert.equal(status, 0, `${args.join(' ')}: ${stderr}`)
      return stdout
    }
    const archive = `archive:${await image.archive()}`
    const url = `https://${gateway.host}`
    const push = ['push', archive, '--name', 'private.test/seaway:1', '--gateway', url]
    for (const [pair, more, says] of [
      [undefined, {}, /docker login \S+ lets you in/],
      ['alice:wrong', {}, /refuses the user or password/],
      ['mate:secret', {}, /mate may not push private\.test\/seaway.*docker login \S+ as somebody who may/],
      [`alice:${PASSWORD}`, { SEAWAY_TRUSTED_CA: '' }, /authority is not trusted: .*SEAWAY_TRUSTED_CA/]
    ] as const) {
      await writeFile(join(config, 'config.json'), JSON.stringify(pair === undefined ? {} : login(pair)))
      const { status, stderr } = await seaway(push, more)
      assert.equal(status, 1, stderr)
      assert.match(stderr, says)
      assert.match(stderr, /^seaway: [^\n]+\n$/)
    }
    await works(...push)
    const name = `${url}/private.test/seaway`
    assert.equal(await works('tags', name, '-q'), '1\n')
    assert.match(
      await works('images', '--in', url, '-q'),
      /^private\.test\/seaway:1$|\/private\.test\/seaway:1$/m
    )
    assert.match(
      await works('inspect', `${name}:1`),
      new RegExp((image.configs[0]?.digest ?? 'none').slice(0, 19))
    )
    await works('copy', `${name}:1`, `${url}/private.test/again:2`)
    await works('pull', 'private.test/again:2', '--gateway', url, '--into', `oci:${folder('seaway-out')}`)
    assert.match(await works('whoami', url), /^alice \(user\)/)

    // on the gateway's own data folder nobody logs in, and the log says who it was
    await gateway.seaway(['push', archive, '--name', 'private.test/local:1'])
    const entries = (await readFile(folder('audit.log'), 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    const pushes = entries.filter(
      ({ event, repository }) => event === 'push' && repository === 'private.test/local'
    )
    assert.deepEqual(
      pushes.map(({ who, client, reference }) => [who, client, reference]),
      [['operator', 'local', '1']]
    )
    assert.ok(
      entries.some(
        ({ event, who, repository }) =>
          event === 'push' && who === 'alice' && repository === 'private.test/seaway'
      )
    )
  })
})
