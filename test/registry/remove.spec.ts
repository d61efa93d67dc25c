/** `seaway rm`: names, and all or nothing. */
import assert from 'node:assert/strict'
import { parseImage } from '../../src/registry/remove-images.ts'
import { type OciClient, ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

describe('removing images', function () {
  this.timeout(60_000)
  let server: RegistryServer
  let client: OciClient
  const signal = new AbortController().signal

  beforeEach(async () => {
    server = await startRegistryServer()
    client = ociClient(server)
  })
  afterEach(() => server.stop())

  const remove = (images: string[], all = false, dryRun = false) =>
    server.registry.images.remove({ images, all, dryRun }, signal)
  const status = async (path: string) => (await client.call('GET', `/v2/${path}`)).status

  it('reads names with and without a gateway in front', () => {
    const digest = `sha256:${'a'.repeat(64)}`
    const read = (text: string) => {
      const { name, reference } = parseImage(text)
      return [name.asked, reference?.kind === 'tag' ? reference.tag : reference?.digest]
    }
    assert.deepEqual(read('app'), ['app', undefined])
    assert.deepEqual(read('app:1'), ['app', '1'])
    assert.deepEqual(read('127.0.0.1:5000/example.com/a/b:1.0'), ['example.com/a/b', '1.0'])
    assert.deepEqual(read(`localhost:5000/app@${digest}`), ['app', digest])
    assert.deepEqual(read(`example.com/app:1@${digest}`), ['example.com/app', digest])
    for (const bad of ['App:1', 'app:', 'app@sha256:1', 'app:a b', ''])
      assert.throws(() => parseImage(bad), bad)
  })

  it('removes tags, manifests and repositories', async () => {
    const made = await client.image('example.com/app', '1')
    await client.put('example.com/app', made, '2')
    const two = await client.image('example.com/app', 'x')
    await client.image('example.com/app/sub', '1', 'sub')
    await client.image('other', '1', 'other')
    await remove(['example.com/app:1', `example.com/app@${two.digest}`])
    assert.equal(await status('example.com/app/manifests/1'), 404)
    assert.equal(await status('example.com/app/manifests/2'), 200)
    assert.equal(await status('example.com/app/manifests/x'), 404)
    await remove(['example.com/app'], true)
    assert.equal(await status('example.com/app/tags/list'), 404)
    assert.equal(await status('example.com/app/sub/manifests/1'), 200)
    assert.equal(await status('other/manifests/1'), 200)
  })

  it('removes nothing if one of several is not there, or in a dry run', async () => {
    await client.image('app', '1')
    await assert.rejects(remove(['app:1', 'app:2']), /no tag '2'/)
    await assert.rejects(remove(['app:1', 'nothing:2']), /no repository nothing/)
    await assert.rejects(remove(['app']), /--all/)
    assert.deepEqual((await remove(['app:1'], false, true)).removed, ['app:1'])
    assert.equal(await status('app/manifests/1'), 200)
  })

  it('does not leave uploads behind in a repository that is gone', async () => {
    await client.image('app', '1')
    const blob = await client.blob('app', 'uploaded, named by no manifest')
    await remove(['app'], true)
    assert.equal(await status(`app/blobs/${blob.digest}`), 404)
  })
})
