import assert from 'node:assert/strict'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'
import { ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

const ROOT = 'bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'

describe('a published tree whose peers the records do not tell', () => {
  let dns: DnsServer
  let server: RegistryServer

  before(async () => {
    dns = await startDnsServer()
    server = await startRegistryServer({ dns })
  })
  after(async () => {
    await server.stop()
    await dns.stop()
  })

  async function message(domain: string): Promise<string> {
    const answer = await ociClient(server).expect(502, 'GET', `/v2/${domain}/app/manifests/1`)
    return answer.json<{ errors: { message: string }[] }>().errors[0]?.message ?? ''
  }

  it('is refused with the record that was not understood', async () => {
    dns.setTxt('_dnslink.broken.test', [`dnslink=/ipfs/${ROOT}`])
    dns.setTxt('broken.test', ['ipfsnode=["/ip4/127.0.0.1/tcp/'])
    assert.match(await message('broken.test'), /broken\.test.*ipfsnode=.*not valid JSON/)
  })

  it('is refused with the record that is missing', async () => {
    dns.setTxt('_dnslink.nobody.test', [`dnslink=/ipfs/${ROOT}`])
    assert.match(await message('nobody.test'), /nobody\.test.*no.*ipfsnode=/)
  })
})
