/** Registries that ask for Bearer tokens: docker-registry with a token service that signs them. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { useBed } from './support/bed.ts'
import { crane, skopeo } from './support/clients.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available } from './support/process.ts'
import { type Registry, startRegistry } from './support/registry.ts'
import { startTokenService, type TokenService } from './support/token-service.ts'
import { refusalOf, repository } from './support/wire.ts'

const USER = { name: 'me', password: 'a:secret' }

describe('a registry with tokens, behind a gateway', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('uptoken')
  let tokens: TokenService
  let registry: Registry
  let image: Image
  let member: SeawayGateway
  let stranger: SeawayGateway

  before(async function () {
    if (!available('docker-registry', 'crane', 'skopeo', 'openssl')) this.skip()
    tokens = keep(await startTokenService({ dir: folder('tokens'), user: USER }))
    registry = keep(await startRegistry({ dir: folder('registry'), tokens: tokens.trust }))
    image = await makeImage({
      dir: folder('image'),
      name: 'app:1',
      layers: [1, 2, 3].map((i) => ({ size: 1_000_000 + i, seed: `tokens ${i}` }))
    })
    // what somebody has who logs in with a client of their own
    const publisher = await skopeo({ dir: folder('publisher') })
    const login = folder('publisher/auth.json')
    const insecure = ['--tls-verify=false', '--authfile', login]
    await publisher.run(['login', ...insecure, '-u', USER.name, '--password-stdin', registry.host], {
      input: USER.password
    })
    for (const name of ['public/app', 'private/app', 'private/other'])
      await publisher.push(image, `${registry.host}/${name}:1`)
    const upstream = { SEAWAY_UPSTREAMS: `up.example=${registry.url}`, SEAWAY_UPSTREAM_TTL: '0s' }
    const told = { SEAWAY_UPSTREAM_AUTH: login, SEAWAY_LOG_LEVEL: 'debug' }
    member = await gateway('member', { env: { ...upstream, ...told } })
    stranger = await gateway('stranger', { env: upstream })
  })

  it('gives nobody in particular what is public', async () => {
    const before = tokens.asked.length
    const client = await skopeo({ dir: folder('skopeo-public') })
    const { diffIds } = await client.pull(`${stranger.host}/up.example/public/app:1`)
    assert.deepEqual(diffIds, image.diffIds)
    assert.deepEqual(tokens.asked.slice(before), [{ user: '', scopes: ['repository:public/app:pull'] }])
  })

  it('gives what is private to a gateway with the login that a client has made, for one token', async () => {
    const before = tokens.asked.length
    const client = await crane({ dir: folder('crane') })
    for (let i = 0; i < 2; i++) {
      const { diffIds } = await client.pull(`${member.host}/up.example/private/app:1`)
      assert.deepEqual(diffIds, image.diffIds)
    }
    assert.deepEqual(tokens.asked.slice(before), [
      { user: USER.name, scopes: ['repository:private/app:pull'] }
    ])
    const { stdout } = await client.run(['ls', `${member.host}/up.example/private/app`])
    assert.equal(stdout, '1\n')
    assert.equal(tokens.asked.length, before + 1)
  })

  it('shows a repository the token of no other', async () => {
    const before = tokens.asked.length
    await repository(member.url, 'up.example/private/other').readImage('1')
    assert.deepEqual(tokens.asked.slice(before), [
      { user: USER.name, scopes: ['repository:private/other:pull'] }
    ])
  })

  it('gives what is private to no other gateway, which says what is missing', async () => {
    const there = repository(stranger.url, 'up.example/private/app')
    const refused = await refusalOf(await there.getManifest('1'))
    assert.deepEqual([refused.status, refused.code], [404, 'MANIFEST_UNKNOWN'])
    assert.match(refused.message, /SEAWAY_UPSTREAM_AUTH/)
    // its layers are here, but of another repository
    await repository(stranger.url, 'up.example/public/app').readImage('1')
    const blob = await refusalOf(await there.getBlob(image.layers[0]?.digest ?? ''))
    assert.deepEqual([blob.status, blob.code], [404, 'BLOB_UNKNOWN'])
  })

  it('says so when its login is wrong, and tells nobody what it is', async () => {
    const login = folder('wrong-login')
    await writeFile(login, `${USER.name}:not this\n`, { mode: 0o600 })
    const wrong = await gateway('wrong', {
      env: { SEAWAY_UPSTREAMS: `up.example=${registry.url} auth=${login}` }
    })
    const refused = await refusalOf(await repository(wrong.url, 'up.example/private/app').getManifest('1'))
    assert.deepEqual([refused.status, refused.code], [404, 'MANIFEST_UNKNOWN'])
    assert.match(refused.message, /token service.*401.*SEAWAY_UPSTREAM_AUTH/)
    assert.doesNotMatch(refused.message + JSON.stringify(await wrong.logged()), /not this/)
  })

  it('logs neither the login nor the tokens that it gets for it', async () => {
    const log = JSON.stringify(await member.logged())
    assert.ok(log.includes('private/app'), 'the log is looked at')
    const pair = Buffer.from(`${USER.name}:${USER.password}`).toString('base64')
    for (const secret of [USER.password, encodeURIComponent(USER.password), pair, 'eyJ'])
      assert.ok(!log.includes(secret), secret)
  })

  it('serves what is here while the token service is away, and says so', async () => {
    await tokens.stop()
    const again = repository(member.url, 'up.example/private/app')
    await again.readImage('1') // the token still holds
    await member.stop()
    const env = { SEAWAY_UPSTREAMS: `up.example=${registry.url}`, SEAWAY_UPSTREAM_TTL: '0s' }
    const restarted = await gateway('member', { env })
    const answer = await repository(restarted.url, 'up.example/private/app').getManifest('1')
    assert.equal(answer.headers.get('docker-content-digest'), image.top.digest)
    assert.match(answer.headers.get('warning') ?? '', /^110 .*connection refused/)
    await repository(restarted.url, 'up.example/private/app').readImage('1')
  })
})
