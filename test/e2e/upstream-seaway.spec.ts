/** A gateway behind a gateway: the one that has the images asks for tokens. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { useBed } from './support/bed.ts'
import { crane, skopeo } from './support/clients.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available, run } from './support/process.ts'
import { refusalOf, repository } from './support/wire.ts'

const USER = { name: 'me', password: 'a:secret' }

describe('a gateway with users, behind a gateway', function () {
  this.timeout(120_000)
  const { folder, gateway } = useBed('upsea')
  let origin: SeawayGateway
  let image: Image

  /** A gateway in front of it, with what `config.json` says that it may show. */
  async function front(name: string, entry: Record<string, string>): Promise<SeawayGateway> {
    const login = folder(`${name}.json`)
    await writeFile(login, JSON.stringify({ auths: { [origin.host]: entry } }), { mode: 0o600 })
    const upstream = { SEAWAY_UPSTREAMS: `up.example=${origin.url}`, SEAWAY_UPSTREAM_TTL: '0s' }
    return gateway(name, { env: { ...upstream, SEAWAY_UPSTREAM_AUTH: login } })
  }

  before(async function () {
    if (!available('crane', 'skopeo', 'htpasswd')) this.skip()
    const { stdout } = await run('htpasswd', ['-Bin', USER.name], { input: USER.password })
    await writeFile(folder('users'), stdout)
    const rules = [
      { who: USER.name, repositories: '**', can: ['pull', 'push'] },
      { who: 'anonymous', repositories: 'public/*', can: 'pull' }
    ]
    await writeFile(folder('rules'), JSON.stringify({ rules })) // YAML contains JSON
    origin = await gateway('origin', {
      env: { SEAWAY_AUTH_USERS: folder('users'), SEAWAY_AUTH_RULES: folder('rules') }
    })
    image = await makeImage({
      dir: folder('image'),
      name: 'app:1',
      layers: [1, 2, 3].map((i) => ({ size: 1_000_000 + i, seed: `behind ${i}` }))
    })
    const publisher = await skopeo({ dir: folder('publisher') })
    const login = ['--tls-verify=false', '--authfile', folder('publisher/auth.json'), '-u', USER.name]
    await publisher.run(['login', ...login, '--password-stdin', origin.host], { input: USER.password })
    for (const name of ['public/app', 'private/app']) await publisher.push(image, `${origin.host}/${name}:1`)
  })

  async function pulls(through: SeawayGateway, name: string): Promise<void> {
    const client = await crane({ dir: folder(`crane-${name.replace('/', '-')}`) })
    const reference = `${through.host}/up.example/${name}`
    assert.deepEqual((await client.pull(`${reference}:1`)).diffIds, image.diffIds)
    assert.equal((await client.run(['ls', reference])).stdout, '1\n')
  }

  it('gives what is private for a password', async () => {
    const auth = Buffer.from(`${USER.name}:${USER.password}`).toString('base64')
    await pulls(await front('password', { auth }), 'private/app')
  })

  it('gives it for an identity token, as docker login gets one', async () => {
    const answer = await fetch(`${origin.url}/v2/`)
    const [, realm = ''] = /realm="([^"]+)"/.exec(answer.headers.get('www-authenticate') ?? '') ?? []
    const form = { grant_type: 'password', username: USER.name, password: USER.password }
    const given = await fetch(realm, {
      method: 'POST',
      body: new URLSearchParams({ ...form, access_type: 'offline', client_id: 'test', service: 'seaway' })
    })
    const { refresh_token: identitytoken } = (await given.json()) as { refresh_token: string }
    await pulls(await front('identity', { identitytoken }), 'private/app')
  })

  it('gives nobody in particular what is public, and nothing else', async () => {
    const stranger = await front('stranger', {})
    await pulls(stranger, 'public/app')
    const refused = await refusalOf(await repository(stranger.url, 'up.example/private/app').getManifest('1'))
    assert.deepEqual([refused.status, refused.code], [404, 'MANIFEST_UNKNOWN'])
    assert.match(refused.message, /SEAWAY_UPSTREAM_AUTH/)
  })
})
