import assert from 'node:assert/strict'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'
import { type OciClient, ociClient } from '../support/oci-client.ts'
import { type SeawayGateway, startGateway } from './support/gateway.ts'
import { available, run, type TempDir, tempDir } from './support/process.ts'

const by = (address: string, more: Record<string, string> = {}) => ({
  headers: { 'x-forwarded-for': address, ...more }
})

describe('a gateway for others, as its settings say', () => {
  let dir: TempDir
  let dns: DnsServer
  let gateway: SeawayGateway
  let client: OciClient

  before(async () => {
    dir = tempDir('terms')
    dns = await startDnsServer()
    gateway = await startGateway({
      dir: dir.path,
      dns: dns.address,
      env: {
        SEAWAY_TRUSTED_PROXIES: '127.0.0.1',
        SEAWAY_REQUEST_RATE: '20',
        SEAWAY_PUSH_ALLOW: 'local,*.example.com',
        SEAWAY_RESOLVE_DENY: 'evil.example',
        SEAWAY_HOSTS: 'reg.example.com',
        SEAWAY_LOG_LEVEL: 'info'
      }
    })
    client = ociClient({ port: Number(new URL(gateway.url).port) })
  })
  after(async () => {
    await gateway?.stop()
    await dns?.stop()
    await dir?.remove()
  })

  it('says to every client what may not be pushed or pulled', async function () {
    if (!available('skopeo')) this.skip()
    await client.image('app', '1')
    const copy = (from: string, to: string) =>
      run(
        'skopeo',
        ['copy', '--src-tls-verify=false', '--dest-tls-verify=false', `docker://${from}`, `docker://${to}`],
        { allowFailure: true }
      )
    const { host } = gateway
    assert.equal((await copy(`${host}/app:1`, `${host}/team.example.com/app:1`)).status, 0)
    const pushed = await copy(`${host}/app:1`, `${host}/other.example/app:1`)
    assert.notEqual(pushed.status, 0)
    assert.match(pushed.stderr, /denied: nothing is pushed to other\.example .*SEAWAY_PUSH_ALLOW/)
    const pulled = await copy(`${host}/evil.example/app:1`, `${host}/app:2`)
    assert.notEqual(pulled.status, 0)
    assert.match(pulled.stderr, /denied: evil\.example is not looked up by this gateway/)
    assert.deepEqual(
      dns.queries.filter(({ name }) => name.includes('evil')),
      []
    )
  })

  it('knows its clients by the proxy that it trusts, for limits, hosts and the log', async () => {
    const mine = by('203.0.113.5')
    for (let i = 0; ; i++) {
      const { status } = await client.call('GET', '/v2/', mine)
      if (status === 429) break
      assert.equal(status, 200)
      assert.ok(i < 10_000)
    }
    const others = by('203.0.113.6', { 'x-forwarded-host': 'reg.example.com' })
    await client.image('reg.example.com/tool', '1')
    assert.equal((await client.call('GET', '/v2/tool/manifests/1', others)).status, 200)
    assert.equal((await client.call('GET', '/v2/tool/manifests/1', by('203.0.113.6'))).status, 404)
    const seen = new Set((await gateway.logged()).map(({ client: address }) => address))
    assert.ok(seen.has('203.0.113.5') && seen.has('203.0.113.6'))
  })
})
