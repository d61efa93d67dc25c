/** Who may have what of other registries, where users are asked for. */
import assert from 'node:assert/strict'
import { createUpstreams, type Upstreams } from '../../src/upstream/index.ts'
import { type AuthServer, basic, startAuthServer } from '../support/auth.ts'
import { digestOf } from '../support/oci-client.ts'
import { startUpstreamRegistry, type UpstreamRegistry } from '../support/upstream-registry.ts'

const RULES = `
rules:
  - {who: alice, repositories: "**", can: admin}
  - {who: reader, repositories: "docker.io/**", can: pull}
  - {who: local, repositories: ["*", "team/**", "library/**"], can: [pull, push]}
  - {who: both, repositories: ["library/**", "docker.io/library/**"], can: pull}
`
const PASSWORD = 'secret'
const alice = basic('alice', PASSWORD)

describe('rights on what is pulled through', () => {
  let there: UpstreamRegistry
  let upstreams: Upstreams
  let auth: AuthServer

  before(async () => {
    there = await startUpstreamRegistry()
    upstreams = createUpstreams({
      settings: new Map([['docker.io', { off: false, urls: [there.url] }]]),
      auth: '',
      standard: 'docker.io',
      ttlMs: 3_600_000,
      timeoutMs: 5000,
      allowDial: 'any'
    })
    const names = ['alice', 'reader', 'local', 'both']
    auth = await startAuthServer({
      users: Object.fromEntries(names.map((name) => [name, PASSWORD])),
      rules: RULES,
      server: { upstreams, seed: 'none' }
    })
  })
  after(async () => {
    await auth?.stop()
    upstreams?.stop()
    await there?.stop()
  })

  const manifest = (user: string | undefined, path: string) =>
    auth.as(user && basic(user, PASSWORD), 'GET', `/v2/${path}`)

  it('to pull is enough: that it enters the tree is no push', async () => {
    const image = there.image('library/quiet', '1', ['of a reader'])
    const answer = await manifest('reader', 'docker.io/library/quiet/manifests/1')
    assert.equal(answer.status, 200)
    const blob = await manifest('reader', `docker.io/library/quiet/blobs/${image.layers[0]}`)
    assert.equal(digestOf(blob.body), image.layers[0])
    assert.equal((await auth.as(alice, 'GET', '/v2/docker.io/quiet/tags/list')).status, 200)
    const put = await auth.as(basic('reader', PASSWORD), 'PUT', '/v2/docker.io/library/quiet/manifests/2')
    assert.equal(put.status, 403)
  })

  it('are those on the one name that a repository has, whatever it is called', async () => {
    there.image('library/named', '1', ['by many names'])
    const ways = [
      'docker.io/library/named/manifests/1',
      'docker.io/named/manifests/1',
      'index.docker.io/library/named/manifests/1',
      'proxy/docker.io/library/named/manifests/1',
      'library/named/manifests/1?ns=docker.io'
    ]
    for (const way of ways) {
      assert.equal((await manifest('both', way)).status, 200, way)
      assert.equal((await manifest('local', way)).status, 403, way)
      assert.equal((await manifest(undefined, way)).status, 401, way)
    }
    const token = await auth.bearer(['repository:docker.io/named:pull'], basic('reader', PASSWORD))
    assert.equal((await auth.as(token, 'GET', '/v2/docker.io/library/named/manifests/1')).status, 200)
    assert.equal((await auth.as(token, 'GET', '/v2/docker.io/library/quiet/manifests/1')).status, 401)
  })

  it('are those on that name for lists, too', async () => {
    for (const domain of ['docker.io', 'index.docker.io']) {
      const list = await manifest('reader', `${domain}/_catalog`)
      assert.equal(list.status, 200, domain)
      const { repositories } = list.json<{ repositories: string[] }>()
      assert.ok(repositories.includes(`${domain}/library/named`), domain)
      assert.equal((await manifest('local', `${domain}/_catalog`)).status, 403)
    }
  })

  it('on a bare name open no other registry to who may not pull there', async () => {
    const image = there.image('library/bare', '1', ['bare'])
    there.image('team/secret', '1', ['secret'])
    const asked = there.asked.length
    for (const path of [
      'library/bare/manifests/1',
      `library/bare/blobs/${image.layers[0]}`,
      'team/secret/manifests/1'
    ]) {
      assert.equal((await manifest('local', path)).status, 404, path)
      assert.equal((await manifest('reader', path)).status, 403, path)
    }
    assert.equal(there.asked.length, asked, 'nobody was asked')
    assert.equal((await manifest('both', 'library/bare/manifests/1')).status, 200)
    const token = await auth.bearer(['repository:library/bare:pull'], basic('both', PASSWORD))
    assert.equal((await auth.as(token, 'GET', '/v2/library/bare/manifests/1')).status, 200)
    assert.equal((await manifest('local', 'library/bare/manifests/1')).status, 404, 'also when it is here')
  })

  it('keep peers from asking for blobs by digest', async () => {
    const image = there.image('library/hidden', '1', ['hidden from peers'])
    const [layer = ''] = image.layers
    assert.equal((await manifest('reader', 'docker.io/library/hidden/manifests/1')).status, 200)
    assert.equal((await manifest('reader', `docker.io/library/hidden/blobs/${layer}`)).status, 200)
    const answer = await auth.as(undefined, 'GET', `/seaway/blobs?digests=${image.digest},${layer}`)
    assert.deepEqual([answer.status, answer.json()], [200, { blobs: [] }])
  })

  it('to everything are what /metrics is for', async () => {
    const metrics = (authorization?: string) => auth.as(authorization, 'GET', '/metrics')
    assert.equal((await metrics()).status, 401)
    const refused = await metrics(basic('both', PASSWORD))
    assert.deepEqual([refused.status, refused.code], [403, 'DENIED'])
    const answer = await metrics(alice)
    assert.equal(answer.status, 200)
    assert.match(String(answer.body), /^seaway_upstream_up\{domain="docker\.io"/m)
    const token = await auth.bearer(['repository:docker.io/named:pull'], alice)
    const narrow = await metrics(token)
    assert.equal(narrow.status, 401)
    assert.match(narrow.body.toString(), /password|seaway token/)
  })
})
