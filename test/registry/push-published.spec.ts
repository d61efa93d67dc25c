import assert from 'node:assert/strict'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'
import { manifest, OCI_INDEX, ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

describe('a push to a domain that another gateway publishes', () => {
  let dns: DnsServer
  let publisher: RegistryServer
  let server: RegistryServer

  beforeEach(async () => {
    dns = await startDnsServer()
    publisher = await startRegistryServer({ dns })
    server = await startRegistryServer({ dns })
  })
  afterEach(async () => {
    await server.stop()
    await publisher.stop()
    await dns.stop()
  })

  const layersOf = (bytes: Buffer): { digest: string }[] => JSON.parse(bytes.toString()).layers

  it('may name blobs and manifests that its repository has there, since clients are told not to push them', async () => {
    const theirs = await ociClient(publisher).image('ships.test/app', '1')
    await publisher.publish('ships.test')
    const client = ociClient(server)
    const [layer] = layersOf(theirs.bytes)
    await client.expect(200, 'HEAD', `/v2/ships.test/app/blobs/${layer?.digest}`)
    // The same manifest under another tag, and an index over it: nothing else is pushed.
    await client.put('ships.test/app', theirs, '2')
    const { mediaType, digest, size } = theirs
    await client.put(
      'ships.test/app',
      manifest({ manifests: [{ mediaType, digest, size }] }, OCI_INDEX),
      'all'
    )
    const tags = await client.expect(200, 'GET', '/v2/ships.test/app/tags/list')
    assert.deepEqual(tags.json()['tags'], ['1', '2', 'all'])
    const answer = await client.expect(200, 'GET', `/v2/ships.test/app/blobs/${layer?.digest}`)
    assert.equal(answer.body.toString(), 'layer of 1')
  })

  it('may do so also when the domain has a local tree that lacks them', async () => {
    const client = ociClient(server)
    await client.image('ships.test/other', '1')
    const theirs = await ociClient(publisher).image('ships.test/app', '1')
    await publisher.publish('ships.test')
    // That nothing was published when it was asked first is remembered, but not over a restart.
    await server.restart()
    await client.put('ships.test/app', theirs, '2')
    const [layer] = layersOf(theirs.bytes)
    const answer = await client.expect(200, 'GET', `/v2/ships.test/app/blobs/${layer?.digest}`)
    assert.equal(answer.body.toString(), 'layer of 1')
  })

  it('is refused for what nobody has, also when no name server answers', async () => {
    const missing = { mediaType: 'x/y', digest: `sha256:${'0'.repeat(64)}`, size: 1 }
    const made = manifest({ config: missing, layers: [] })
    const path = '/v2/ships.test/app/manifests/1'
    const ask = { body: made.bytes, headers: { 'content-type': made.mediaType } }
    const refused = await ociClient(server).expect(404, 'PUT', path, ask)
    assert.equal(refused.code, 'MANIFEST_BLOB_UNKNOWN')
    await dns.stop()
    const again = await ociClient(server).expect(404, 'PUT', path.replace('ships', 'docks'), ask)
    assert.equal(again.code, 'MANIFEST_BLOB_UNKNOWN')
    dns = await startDnsServer()
  })
})
