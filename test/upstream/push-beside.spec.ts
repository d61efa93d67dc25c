/** Pushes to a domain that is pulled through. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { digestOf, manifest, OCI_CONFIG, OCI_LAYER } from '../support/oci-client.ts'
import { type PullThroughBed, startPullThrough } from '../support/pull-through-bed.ts'

describe('a push to a domain that is pulled through', function () {
  this.timeout(60_000)
  let bed: PullThroughBed
  beforeEach(async () => {
    bed = await startPullThrough()
  })
  afterEach(() => bed.stop())

  const down: PullThroughBed['there']['fault'] = (_, res) => {
    res.destroy()
    return true
  }
  const signal = new AbortController().signal

  it('needs nothing that the upstream has, as HEAD says', async () => {
    const { there, client } = bed
    const layer = randomBytes(2_500_000)
    const image = there.image('a/b', '1', [layer])
    await bed.get('up.example/a/b/manifests/1')
    const answer = await client.expect(200, 'HEAD', `/v2/up.example/a/b/blobs/${image.layers[0]}`)
    assert.equal(answer.headers['content-length'], String(layer.length))
    assert.equal(await bed.has(image.layers[0]), false, 'asking brings nothing')
    const config = await client.blob('up.example/a/b', '{}', OCI_CONFIG)
    const named = { mediaType: OCI_LAYER, digest: image.layers[0] as string, size: layer.length }
    const own = manifest({ config, layers: [named] })
    await client.put('up.example/a/b', own, 'own')
    there.fault = down
    await bed.restart()
    await bed.pull('up.example/a/b', 'own')
  })

  it('sends its blobs where the upstream cannot be asked, or has others', async () => {
    const { there, client } = bed
    const image = there.image('a/b', '1', ['a layer'])
    await bed.get('up.example/a/b/manifests/1')
    there.fault = down
    await client.expect(404, 'HEAD', `/v2/up.example/a/b/blobs/${image.layers[0]}`)
    await client.image('up.example/a/b', 'own', 'x')
    await bed.pull('up.example/a/b', 'own')
    there.fault = undefined
    const config = await client.blob('up.example/a/b', '{}', OCI_CONFIG)
    const wrong = { mediaType: OCI_LAYER, digest: digestOf('nobody has it'), size: 13 }
    const answer = await client.call('PUT', '/v2/up.example/a/b/manifests/2', {
      body: manifest({ config, layers: [wrong] }).bytes,
      headers: { 'content-type': 'application/vnd.oci.image.manifest.v1+json' }
    })
    assert.equal(answer.code, 'MANIFEST_BLOB_UNKNOWN')
  })

  it('keeps what it names, also where that came as a cached layer of another repository', async () => {
    await bed.restart({ server: { collect: { cacheLimit: 2_500_000, graceMs: 0 } } })
    const { there, client } = bed
    const layer = randomBytes(2_000_000)
    const image = there.image('library/base', '1', [layer])
    await bed.pull('up.example/library/base', '1')
    await bed.settled(image.layers[0] as string)
    const digest = image.layers[0] as string
    await client.expect(
      201,
      'POST',
      `/v2/up.example/me/app/blobs/uploads/?mount=${digest}&from=up.example/library/base`
    )
    const config = await client.blob('up.example/me/app', '{"own":true}', OCI_CONFIG)
    const own = manifest({ config, layers: [{ mediaType: OCI_LAYER, digest, size: layer.length }] })
    await client.put('up.example/me/app', own, '1')
    const other = there.image('a/b', '1', [randomBytes(2_000_000)])
    await bed.pull('up.example/a/b', '1')
    await bed.settled(other.layers[0] as string)
    await bed.server.registry.settled()
    await bed.server.registry.collect({ dryRun: false, graceMs: 0, signal })
    assert.equal(await bed.has(digest), true)
    there.fault = down
    await bed.pull('up.example/me/app', '1')
  })
})
