/** `seaway copy` into and out of real registries that ask for a login: passwords, tokens by scope, mounts, broken uploads. */
import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { useBed } from './support/bed.ts'
import { startCuttingProxy } from './support/cutting-proxy.ts'
import { gatewayEnv, runSeaway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available, run } from './support/process.ts'
import { type Registry, startRegistry } from './support/registry.ts'
import { startTokenService, type TokenService } from './support/token-service.ts'

const USER = { name: 'mate', password: 'secret' }

interface Report {
  images: { digest: string; to: string }[]
  moved: { blobs: number; skipped: number }
}

describe('moving images between registries', function () {
  this.timeout(60_000)
  const bed = useBed('registries')
  let locked: Registry
  let tokens: TokenService
  let scoped: Registry
  let image: Image

  const seaway = async (args: string[], login = true, input?: string) => {
    const config = bed.folder(login ? 'login' : 'nobody')
    return runSeaway([...args, '--docker-config', config], gatewayEnv(bed.folder('data')), {
      allowFailure: true,
      ...(input !== undefined && { input })
    })
  }
  const copy = async (from: string, to: string): Promise<Report> => {
    const { status, stdout, stderr } = await seaway(['copy', from, to, '--json'])
    assert.equal(status, 0, stderr)
    return JSON.parse(stdout) as Report
  }
  const has = async (registry: Registry, name: string) => {
    const login = `--creds=${USER.name}:${USER.password}`
    const { stdout } = await run('skopeo', [
      'inspect',
      '--raw',
      '--tls-verify=false',
      login,
      `docker://${registry.host}/${name}`
    ])
    return (JSON.parse(stdout) as { config: { digest: string } }).config.digest
  }

  before(async function () {
    if (!available('docker-registry', 'htpasswd', 'openssl', 'skopeo')) this.skip()
    locked = bed.keep(await startRegistry({ dir: bed.folder('locked'), user: USER }))
    tokens = bed.keep(await startTokenService({ dir: bed.folder('tokens'), user: USER }))
    scoped = bed.keep(await startRegistry({ dir: bed.folder('scoped'), tokens: tokens.trust }))
    const auth = Buffer.from(`${USER.name}:${USER.password}`).toString('base64')
    const auths = { [locked.host]: { auth }, [scoped.host]: { auth } }
    for (const [folder, config] of Object.entries({ login: { auths }, nobody: {} })) {
      await mkdir(bed.folder(folder), { recursive: true })
      await writeFile(join(bed.folder(folder), 'config.json'), JSON.stringify(config))
    }
    image = await makeImage({
      dir: bed.folder('image'),
      name: 'app:1',
      layers: [{ files: { a: 'a'.repeat(100_000) } }, { seed: 7, size: 3_000_000 }]
    })
  })

  it('with a password: in, out, and from one repository into another without moving a byte', async () => {
    const blobs = image.layers.length + 1
    const first = await copy(`oci:${image.layout}`, `${locked.host}/team/app:1`)
    assert.equal(first.moved.blobs, blobs)
    assert.equal(await has(locked, 'team/app:1'), image.configs[0]?.digest)
    const mounted = await copy(`docker://${locked.host}/team/app:1`, `registry:${locked.host}/other/app:2`)
    assert.deepEqual(mounted.moved.blobs, 0)
    assert.equal(await has(locked, 'other/app:2'), image.configs[0]?.digest)
    const layout = join(bed.folder('out'), 'app')
    await mkdir(bed.folder('out'), { recursive: true })
    const out = await copy(`http://${locked.host}/other/app:2`, `oci:${layout}:1`)
    assert.equal(out.images[0]?.digest, image.top.digest)
  })

  it('with tokens, which are asked for by what is done with them', async () => {
    await copy(`oci:${image.layout}`, `${scoped.host}/team/app:1`)
    const scopes = () => tokens.asked.map((one) => [...one.scopes].sort().join(' '))
    assert.ok(
      scopes().some((one) => /^repository:team\/app:(?:pull,push|push,pull)$/.test(one)),
      scopes().join('\n')
    )
    const { moved } = await copy(`${scoped.host}/team/app:1`, `${scoped.host}/other/app:1`)
    assert.equal(moved.blobs, 0)
    assert.ok(
      scopes().some((one) => /other\/app:\S*push.*team\/app:pull/.test(one)),
      scopes().join('\n')
    )
    assert.equal(await has(scoped, 'other/app:1'), image.configs[0]?.digest)
  })

  it('what breaks off on its way in is tried again, from where the registry has it', async () => {
    const open = bed.keep(await startRegistry({ dir: bed.folder('open') }))
    const gateway = await bed.gateway('far')
    for (const target of [open.host, gateway.host]) {
      const proxy = bed.keep(
        await startCuttingProxy({ target, after: 1_000_000, times: 2, of: 'requests', how: 'reset' })
      )
      const { images } = await copy(`oci:${image.layout}`, `${proxy.host}/team/app:1`)
      assert.equal(proxy.cuts, 2)
      assert.equal(images[0]?.digest, image.top.digest)
    }
  })

  it('so is what is compressed on its way, of which there is no second reading', async () => {
    const plain = await makeImage({
      dir: bed.folder('plain'),
      name: 'plain:1',
      layers: [{ seed: 8, size: 3_000_000 }],
      gzip: false
    })
    const gateway = await bed.gateway('near')
    const proxy = bed.keep(
      await startCuttingProxy({ target: gateway.host, after: 1_000_000, times: 2, of: 'requests' })
    )
    const archive = `archive:${await plain.archive()}`
    const { status, stderr } = await seaway(['push', archive, '--gateway', `http://${proxy.host}`])
    assert.equal(status, 0, stderr)
    assert.equal(proxy.cuts, 2)
    const { stdout } = await run('skopeo', [
      'inspect',
      '--raw',
      '--tls-verify=false',
      `docker://${gateway.host}/plain:1`
    ])
    assert.equal(
      (JSON.parse(stdout) as { config: { digest: string } }).config.digest,
      plain.configs[0]?.digest
    )
  })

  it('with --user, whose password comes on stdin, where docker has no login', async () => {
    const as = async (words: string[], password: string) => {
      const { status, stdout, stderr } = await seaway([...words, '--json'], false, `${password}\n`)
      return status === 0 ? (JSON.parse(stdout) as Report).images[0]?.digest : stderr
    }
    const into = ['copy', `oci:${image.layout}`]
    for (const registry of [locked, scoped])
      assert.equal(
        await as([...into, `${registry.host}/user/app:1`, '--user', USER.name], USER.password),
        image.top.digest
      )
    const from = ['copy', `${locked.host}/user/app:1`]
    const out = bed.folder('user-layout')
    assert.equal(await as([...from, `oci:${out}:1`, '--user', USER.name], USER.password), image.top.digest)

    const wrong = await as([...into, `${locked.host}/user/app:2`, '--user', USER.name], 'wrong')
    assert.match(wrong ?? '', /^seaway: [^\n]*docker login [^\n]*\n$/)
    const two = [...from, `${scoped.host}/user/app:2`, '--user']
    assert.match((await as([...two, USER.name], USER.password)) ?? '', /write --user mate@127\.0\.0\.1:\d+/)
    // the other one is asked as nobody
    const one = await as([...two, `${USER.name}@${locked.host}`], USER.password)
    assert.match(one ?? '', new RegExp(`docker login ${scoped.host}`))
  })

  it('without a login it says in one line how to get in', async () => {
    for (const [from, to] of [
      [`oci:${image.layout}`, `${locked.host}/team/app:3`],
      [`${locked.host}/team/app:1`, `oci:${bed.folder('none')}`],
      [`oci:${image.layout}`, `${scoped.host}/team/app:3`]
    ] as const) {
      const { status, stderr } = await seaway(['copy', from, to], false)
      assert.equal(status, 1, stderr)
      assert.match(
        stderr,
        new RegExp(`docker login ${from.startsWith('oci:') ? to.split('/')[0] : locked.host}`)
      )
      assert.equal(stderr.trim().split('\n').length, 1, stderr)
    }
  })
})
