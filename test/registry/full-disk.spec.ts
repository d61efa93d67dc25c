import assert from 'node:assert/strict'
import { manifest, OCI_CONFIG, ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'
import { seededBytes } from '../support/temp.ts'

const MB = 1_000_000
const NAME = 'full.example.com/app'
const signal = new AbortController().signal

describe('a registry on a full disk', () => {
  let server: RegistryServer
  let free = Number.MAX_SAFE_INTEGER

  const push = async (tag: string, seed: number) => {
    const client = ociClient(server)
    const config = await client.blob(NAME, `{"tag":"${tag}"}`, OCI_CONFIG)
    const layer = await client.blob(NAME, seededBytes(MB, seed))
    await client.put(NAME, manifest({ config, layers: [layer] }), tag)
    return layer.digest
  }

  before(async () => {
    server = await startRegistryServer({ reserve: 64 * MB, free: () => free, collect: { keepRoots: 0 } })
  })
  after(() => server.stop())

  it('removes and collects images, and says what is used, so that pushes have room again', async () => {
    await push('kept', 1)
    const old = await push('old', 2)
    server.registry.meters.add({ domain: 'full.example.com', repository: 'app' }, { fromPeers: 7 })
    free = 6 * MB
    // what was known of the disk goes out of date
    await new Promise((resolve) => setTimeout(resolve, 150))
    await assert.rejects(server.store.records.put('new', Buffer.from('x')), { code: 'STORAGE_FULL' })
    const before = await server.registry.usage(undefined, signal, () => {})
    assert.equal(before.store.today.fromPeers, 7)
    assert.equal(before.repositories[0]?.month.fromPeers, 7)
    await server.registry.images.remove({ images: [`${NAME}:old`], all: false, dryRun: false }, signal)
    const { freed } = await server.registry.collect({ dryRun: false, graceMs: 0, signal })
    assert.ok(freed.bytes > MB)
    const client = ociClient(server)
    assert.equal((await client.call('GET', `/v2/${NAME}/blobs/${old}`)).status, 404)
    assert.equal((await client.call('GET', `/v2/${NAME}/manifests/kept`)).status, 200)
    free = Number.MAX_SAFE_INTEGER
    await push('new', 3)
    const after = await server.registry.usage(undefined, signal, () => {})
    assert.equal(after.store.today.fromPeers, 7)
  })
})
