/** `seaway push` of images that have no name of their own, and of archives, whose names come late. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Image, makeImage } from '../e2e/support/images.ts'
import { type AuthServer, startAuthServer } from '../support/auth.ts'
import { dockerArchive } from '../support/docker-archive.ts'
import { ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'
import { runCommand, runCommandHere } from '../support/seaway-command.ts'
import { tempFolder } from '../support/temp.ts'

describe('push of an image without a name', function () {
  this.timeout(30_000)
  const temp = tempFolder()
  const file = (name: string) => join(temp.path, name)
  const settings = { SEAWAY_DATA: file('data'), SEAWAY_LOG_LEVEL: 'silent' }
  let server: RegistryServer
  let image: Image
  before(async () => {
    server = await startRegistryServer()
    await writeFile(file('saved.tar'), (await dockerArchive('')).bytes)
    image = await makeImage({ dir: file('layout'), name: 'app:1', layers: [{ files: { a: 'b' } }] })
    for (const name of ['tagged', 'nameless']) {
      execFileSync('tar', ['-C', image.dir, '-cf', file(`${name}.tar`), 'oci-layout', 'index.json', 'blobs'])
      const index = await readFile(file('layout/index.json'), 'utf8')
      await writeFile(file('layout/index.json'), index.replace(/,"annotations":\{[^}]*\}/, ''))
    }
  })
  after(async () => {
    await server.stop()
    await temp.remove()
  })

  const refused = async (place: string, status: number, says: RegExp, input?: Uint8Array) => {
    const args = ['push', place, '--gateway', `http://${server.host}`]
    const before = await repositories()
    const ended = await (input === undefined
      ? runCommandHere(args, settings)
      : runCommand(args, settings, input))
    assert.match(ended.stderr, says)
    assert.match(ended.stderr, /^seaway: [^\n]+--name[^\n]*\n$/)
    assert.equal(ended.status, status)
    assert.deepEqual(await repositories(), before)
  }
  const repositories = async () =>
    (await ociClient(server).expect(200, 'GET', '/v2/_catalog')).json<{ repositories: string[] }>()
      .repositories
  const pushed = async (place: string, name: string) => {
    const args = ['push', place, '--name', name, '--gateway', `http://${server.host}`, '--json']
    const { stderr, stdout } = await runCommandHere(args, settings)
    assert.equal(stderr, '')
    return (JSON.parse(stdout) as { images: { to: string; digest: string }[] }).images
  }

  for (const kind of ['saved', 'nameless']) {
    it(`in a file (${kind}) is refused before anything is sent, and taken with --name`, async () => {
      const place = `archive:${file(`${kind}.tar`)}`
      await refused(place, 1, /has an image without a name: say what it is called, --name NAME/)
      const to = `${kind}.example/app:2`
      assert.deepEqual(
        (await pushed(place, to)).map((each) => each.to),
        [to]
      )
    })

    it(`on stdin (${kind}) is refused`, async () => {
      const says = /stdin has an image without a name: say what it is called, --name NAME/
      await refused('-', 1, says, await readFile(file(`${kind}.tar`)))
    })
  }

  it('of which stdin knows no more than a tag is refused; a file has a name for it', async () => {
    const bytes = await readFile(file('tagged.tar'))
    await refused('-', 1, /stdin has an image without a name, only with the tag 1: .*--name NAME/, bytes)
    const args = ['push', `archive:${file('tagged.tar')}`, '--gateway', `http://${server.host}`]
    const { stdout } = await runCommandHere(args, settings)
    assert.match(stdout, /tagged:1/)
  })

  it('in a layout, or an engine that knows it by its id', async () => {
    await refused(`oci:${image.dir}`, 1, /has no image with a name/)
    const [{ digest } = { digest: '' }] = await pushed(
      `oci:${image.dir}:${image.top.digest}`,
      'by.example/digest'
    )
    assert.equal(digest, image.top.digest)
    const id = image.configs[0]?.digest ?? ''
    for (const place of [id, `podman:${id}`, id.slice(7), id.slice(7, 19)])
      await refused(place, 2, /is the id of an image/)
  })
})

describe('push of an archive by somebody who may push to one repository', function () {
  this.timeout(30_000)
  const temp = tempFolder()
  const file = (name: string) => join(temp.path, name)
  let auth: AuthServer
  before(async () => {
    auth = await startAuthServer({
      users: { bob: 'secret' },
      rules: JSON.stringify({ rules: [{ who: 'bob', repositories: 'team.example/app', can: 'push' }] })
    })
    const login = { auth: Buffer.from('bob:secret').toString('base64') }
    await writeFile(file('config.json'), JSON.stringify({ auths: { [auth.server.host]: login } }))
    await writeFile(file('app.tar'), (await dockerArchive('team.example/app:1')).bytes)
  })
  after(async () => {
    await auth.stop()
    await temp.remove()
  })

  const settings = { SEAWAY_DATA: file('data'), SEAWAY_LOG_LEVEL: 'silent', DOCKER_CONFIG: temp.path }
  const words = () => ['--gateway', `http://${auth.server.host}`]

  it('asks for no right to another one', async () => {
    const { status, stderr } = await runCommandHere(
      ['push', `archive:${file('app.tar')}`, ...words()],
      settings
    )
    assert.equal(stderr, '')
    assert.equal(status, 0)
  })

  it('from stdin says how, as its names come last', async () => {
    const bytes = await readFile(file('app.tar'))
    const refused = await runCommand(['push', '-', ...words()], settings, bytes)
    assert.match(refused.stderr, /^seaway: [^\n]*--name[^\n]*\n$/)
    assert.equal(refused.status, 1)
    const named = ['push', '-', '--name', 'team.example/app:2', ...words()]
    const { status, stderr } = await runCommand(named, settings, bytes)
    assert.equal(status, 0, stderr)
  })
})
