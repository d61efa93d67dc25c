import assert from 'node:assert/strict'
import { createDomainRules } from '../../src/registry/domain-rules.ts'
import { type OciClient, ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

const rules = (allow: string[], deny: string[] = []) =>
  createDomainRules({ allow, deny, refusal: (domain) => `no ${domain} here` })

describe('which domains are served', () => {
  let publisher: RegistryServer
  let server: RegistryServer
  let client: OciClient

  before(async () => {
    publisher = await startRegistryServer()
    const other = ociClient(publisher)
    for (const domain of ['good.example', 'a.good.example', 'bad.example', 'secret.good.example'])
      await other.image(`${domain}/app`, '1')
    for (const domain of ['good.example', 'a.good.example', 'bad.example', 'secret.good.example'])
      await publisher.publish(domain)
    publisher.dns.setTxt('_dnslink.way.good.example', ['dnslink=/ipns/bad.example'])
    server = await startRegistryServer({
      dns: publisher.dns,
      resolveRules: rules(['good.example', '*.good.example', 'own.example'], ['secret.*']),
      pushRules: rules(['local', 'bad.example', '*.example.net'])
    })
    client = ociClient(server)
  })
  after(async () => {
    await server.stop()
    await publisher.stop()
  })

  const asked = async (method: string, domain: string): Promise<[number, string | undefined]> => {
    publisher.dns.forget()
    const { status, code } = await client.call(method, `/v2/${domain}/app/manifests/1`)
    return [status, code]
  }

  it('looks up those that are allowed, by name and by glob', async () => {
    for (const domain of ['good.example', 'a.good.example'])
      assert.deepEqual(await asked('GET', domain), [200, undefined])
  })

  it('asks DNS nothing about others, and says so', async () => {
    for (const domain of ['bad.example', 'secret.good.example', 'notgood.example']) {
      assert.deepEqual(await asked('GET', domain), [403, 'DENIED'], domain)
      assert.deepEqual(publisher.dns.queries, [])
    }
    const { body } = await client.call('GET', '/v2/bad.example/app/manifests/1')
    assert.match(body.toString(), /no bad\.example here/)
  })

  it('not where another domain leads to it, nor as an IPNS name', async () => {
    assert.deepEqual(await asked('GET', 'way.good.example'), [403, 'DENIED'])
    assert.deepEqual(await asked('GET', 'ipns/bad.example'), [403, 'DENIED'])
    assert.deepEqual(publisher.dns.queries, [])
  })

  it('a HEAD hears 404, as of all that is not here: clients ask before they push', async () => {
    assert.equal((await asked('HEAD', 'bad.example'))[0], 404)
  })

  it('takes pushes to those that are allowed, which a lookup need not be', async () => {
    for (const name of ['app', 'bad.example/app', 'x.example.net/app']) await client.image(name, '2')
    assert.equal((await client.call('GET', '/v2/bad.example/app/manifests/2')).status, 200)
  })

  it('refuses to write anything else, before anything is sent', async () => {
    const { digest, bytes } = await client.image('app', '3')
    for (const [method, path] of [
      ['POST', 'blobs/uploads/'],
      ['POST', `blobs/uploads/?mount=${digest}&from=app`],
      ['PUT', 'manifests/1'],
      ['DELETE', 'manifests/1'],
      ['DELETE', `blobs/${digest}`]
    ] as const) {
      const body = method === 'PUT' ? { body: bytes } : {}
      const { status, code } = await client.call(method, `/v2/good.example/app/${path}`, body)
      assert.deepEqual([status, code], [403, 'DENIED'], `${method} ${path}`)
    }
    assert.equal(await server.registry.root('good.example'), undefined)
  })
})
