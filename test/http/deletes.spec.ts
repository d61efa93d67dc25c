/** https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#content-management */
import assert from 'node:assert/strict'
import {
  descriptor,
  digestOf,
  manifest,
  OCI_INDEX,
  type OciClient,
  ociClient
} from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

describe('deletes over HTTP', () => {
  let server: RegistryServer
  let client: OciClient
  const tags = async (name = 'app') =>
    (await client.expect(200, 'GET', `/v2/${name}/tags/list`)).json<{ tags: string[] }>().tags

  before(async () => {
    server = await startRegistryServer()
    client = ociClient(server)
  })
  after(() => server.stop())

  it('of a tag leave the manifest and its other tags', async () => {
    const made = await client.image('app', 'one', 'shared')
    await client.put('app', made, 'two')
    await client.expect(202, 'DELETE', '/v2/app/manifests/one')
    for (const method of ['GET', 'HEAD']) await client.expect(404, method, '/v2/app/manifests/one')
    await client.expect(200, 'GET', '/v2/app/manifests/two')
    await client.expect(200, 'GET', `/v2/app/manifests/${made.digest}`)
    assert.deepEqual(await tags(), ['two'])
    assert.equal((await client.expect(404, 'DELETE', '/v2/app/manifests/one')).code, 'MANIFEST_UNKNOWN')
  })

  it('of a manifest take its tags along, and no others', async () => {
    const gone = await client.image('many', 'a', 'gone')
    await client.put('many', gone, 'b')
    const stays = await client.image('many', 'c', 'stays')
    await client.expect(202, 'DELETE', `/v2/many/manifests/${gone.digest}`)
    for (const reference of ['a', 'b', gone.digest]) {
      for (const method of ['GET', 'HEAD'])
        await client.expect(404, method, `/v2/many/manifests/${reference}`)
    }
    assert.deepEqual(await tags('many'), ['c'])
    await client.expect(200, 'GET', `/v2/many/manifests/${stays.digest}`)
    await client.expect(404, 'DELETE', `/v2/many/manifests/${gone.digest}`)
  })

  it('of an index leave its children', async () => {
    const child = await client.image('multi', 'child')
    const index = manifest({ manifests: [descriptor(child)] }, OCI_INDEX)
    await client.put('multi', index, 'all')
    await client.expect(202, 'DELETE', `/v2/multi/manifests/${index.digest}`)
    await client.expect(200, 'GET', `/v2/multi/manifests/${child.digest}`)
  })

  it('of a blob take it from that repository alone', async () => {
    const [one, two] = [await client.blob('first', 'shared'), await client.blob('second', 'shared')]
    await client.expect(202, 'DELETE', `/v2/first/blobs/${one.digest}`)
    for (const method of ['GET', 'HEAD']) await client.expect(404, method, `/v2/first/blobs/${one.digest}`)
    await client.expect(200, 'GET', `/v2/second/blobs/${two.digest}`)
    assert.equal((await client.expect(404, 'DELETE', `/v2/first/blobs/${one.digest}`)).code, 'BLOB_UNKNOWN')
  })

  it('of a blob that an image uses take that too, and the blob can be pushed again', async () => {
    const made = await client.image('used', '1')
    const [layer] = JSON.parse(made.bytes.toString()).layers
    await client.expect(202, 'DELETE', `/v2/used/blobs/${layer.digest}`)
    await client.expect(404, 'GET', `/v2/used/blobs/${layer.digest}`)
    await client.image('used', '1')
    await client.expect(200, 'GET', `/v2/used/blobs/${layer.digest}`)
  })

  it('of a manifest of another type take what it is called along', async () => {
    for (const body of ['{"foo":1}', '{"config":"x","layers":3}']) {
      const headers = { 'content-type': 'application/vnd.example.foo+json' }
      await client.expect(201, 'PUT', '/v2/typed/manifests/1', { body, headers })
      await client.expect(202, 'DELETE', `/v2/typed/manifests/${digestOf(body)}`)
      await client.expect(404, 'GET', '/v2/typed/manifests/1')
    }
  })

  it('survive a restart', async () => {
    await client.image('again', '1')
    await client.image('again', '2')
    await client.expect(202, 'DELETE', '/v2/again/manifests/1')
    await server.restart()
    await client.expect(404, 'GET', '/v2/again/manifests/1')
    await client.expect(200, 'GET', '/v2/again/manifests/2')
  })

  it('of what was never there are 404, whatever is missing', async () => {
    const digest = digestOf('never')
    for (const name of ['app', 'never/pushed', 'unknown.example.com/app']) {
      assert.equal((await client.expect(404, 'DELETE', `/v2/${name}/manifests/x`)).code, 'MANIFEST_UNKNOWN')
      assert.equal(
        (await client.expect(404, 'DELETE', `/v2/${name}/manifests/${digest}`)).code,
        'MANIFEST_UNKNOWN'
      )
      assert.equal((await client.expect(404, 'DELETE', `/v2/${name}/blobs/${digest}`)).code, 'BLOB_UNKNOWN')
    }
    assert.equal((await client.expect(400, 'DELETE', '/v2/app/blobs/sha256:x')).code, 'DIGEST_INVALID')
    await client.expect(404, 'DELETE', '/v2/app/manifests/-bad')
  })

  it('of all images leave an empty list of tags', async () => {
    const made = await client.image('emptied', '1')
    await client.expect(202, 'DELETE', `/v2/emptied/manifests/${made.digest}`)
    assert.deepEqual(await tags('emptied'), [])
  })

  it('are refused in a root that is named by its CID', async () => {
    const root = String(await server.registry.root('local'))
    for (const path of [`manifests/2`, `blobs/${digestOf('x')}`]) {
      assert.equal((await client.expect(403, 'DELETE', `/v2/ipfs/${root}/again/${path}`)).code, 'DENIED')
    }
  })
})
