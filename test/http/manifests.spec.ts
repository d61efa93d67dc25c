/** https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-manifests */
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import {
  type Descriptor,
  DOCKER_LIST,
  DOCKER_MANIFEST,
  descriptor,
  digestOf,
  EMPTY,
  type Made,
  manifest,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_LAYER,
  OCI_MANIFEST,
  type OciClient,
  ociClient
} from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

const MAX = 4 * 1024 * 1024

describe('manifests over HTTP', () => {
  let server: RegistryServer
  let client: OciClient
  let config: Descriptor
  let layer: Descriptor

  before(async () => {
    server = await startRegistryServer()
    client = ociClient(server)
    config = await client.blob('app', '{"architecture":"amd64","os":"linux"}', OCI_CONFIG)
    layer = await client.blob('app', 'a layer')
  })
  after(() => server.stop())

  const url = (reference: string, name = 'app') => `/v2/${name}/manifests/${reference}`
  const push = (
    reference: string,
    bytes: Uint8Array | string,
    contentType: string | undefined = OCI_MANIFEST
  ) =>
    client.call('PUT', url(reference), {
      body: bytes,
      headers: contentType === '' ? {} : { 'content-type': contentType }
    })

  /** The manifest comes back byte for byte, by tag and by digest, by GET and by HEAD. */
  async function assertKept(made: Made, references: readonly string[]): Promise<void> {
    for (const reference of references) {
      for (const method of ['GET', 'HEAD']) {
        const got = await client.expect(200, method, url(reference))
        if (method === 'GET') assert.ok(got.body.equals(made.bytes))
        assert.equal(got.headers['content-type'], made.mediaType)
        assert.equal(got.headers['content-length'], String(made.bytes.length))
        assert.equal(got.headers['docker-content-digest'], made.digest)
        assert.equal(got.headers.etag, `"${made.digest}"`)
      }
    }
  }

  it('keeps an image under a tag and its digest, and says where', async () => {
    const made = manifest({ config, layers: [layer] })
    const put = await client.put('app', made, 'v1')
    assert.equal(put.headers.location, url(made.digest))
    assert.equal(put.headers['docker-content-digest'], made.digest)
    assert.match(String(put.headers['seaway-root']), /^bafy/)
    await assertKept(made, ['v1', made.digest])
  })

  it('moves a tag, and keeps what it pointed at', async () => {
    const [one, two] = [1, 2].map((mark) =>
      manifest({ config, layers: [layer], annotations: { mark: `${mark}` } })
    )
    assert.ok(one && two)
    await client.put('app', one, 'moving')
    await client.put('app', two, 'moving')
    await assertKept(two, ['moving', two.digest])
    await assertKept(one, [one.digest])
  })

  it('keeps what is pushed by digest without a tag, by sha256 and sha512', async () => {
    const made = manifest({ config, layers: [], annotations: { by: 'digest' } })
    await client.put('app', made)
    await assertKept(made, [made.digest])
    const sha512 = { ...made, digest: digestOf(made.bytes, 'sha512') }
    const put = await client.put('app', sha512)
    assert.equal(put.headers['docker-content-digest'], sha512.digest)
    await assertKept(sha512, [sha512.digest])
  })

  it('tags what is pushed by digest as the query says, and names each tag in OCI-Tag', async () => {
    const made = manifest({ config, layers: [layer], annotations: { many: 'tags' } })
    const tags = Array.from({ length: 12 }, (_, i) => `many-${i}`)
    const put = await client.expect(
      201,
      'PUT',
      `${url(made.digest)}?${tags.map((tag) => `tag=${tag}`).join('&')}`,
      {
        body: made.bytes,
        headers: { 'content-type': OCI_MANIFEST }
      }
    )
    assert.deepEqual(String(put.headers['oci-tag']).split(/, */), tags)
    await assertKept(made, [made.digest, ...tags])
    assert.equal((await client.call('PUT', `${url(made.digest)}?tag=-bad`, { body: made.bytes })).status, 400)
  })

  const kinds: Record<string, () => Promise<Made> | Made> = {
    'a Docker image': () => manifest({ config, layers: [layer] }, DOCKER_MANIFEST),
    'an image without a mediaType of its own': () => {
      const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, config, layers: [layer] }))
      return { mediaType: OCI_MANIFEST, digest: digestOf(bytes), size: bytes.length, bytes }
    },
    'an image without layers': () => manifest({ config, layers: [] }),
    'an image with odd spacing and unknown fields': () => {
      const bytes = Buffer.from(
        `\n {"schemaVersion" : 2,\t"mediaType":"${OCI_MANIFEST}", "config":${JSON.stringify(config)},
        "layers":[], "org.example.own": {"a": [1.50, "\\u00e9é"]}}\n\n`
      )
      return { mediaType: OCI_MANIFEST, digest: digestOf(bytes), size: bytes.length, bytes }
    },
    'an artifact with the empty config': async () => {
      const empty = await client.blob('app', '{}', EMPTY)
      return manifest({ artifactType: 'application/vnd.example.sbom', config: empty, layers: [empty] })
    },
    'descriptors with data fields': () =>
      manifest({
        config: { ...config, data: Buffer.from('{"architecture":"amd64","os":"linux"}').toString('base64') },
        layers: [layer]
      }),
    'non-distributable layers that nobody pushed': () =>
      manifest({
        config,
        layers: [
          layer,
          {
            mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
            digest: digestOf('elsewhere'),
            size: 9,
            urls: ['https://layers.example.com/elsewhere']
          },
          {
            mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
            digest: digestOf('foreign'),
            size: 7
          }
        ]
      }),
    'an empty index': () => manifest({ manifests: [] }, OCI_INDEX),
    'an index of images for platforms': async () => {
      const children = ['amd64', 'arm64'].map((architecture) =>
        manifest({ config, layers: [layer], annotations: { architecture } })
      )
      for (const child of children) await client.put('app', child)
      return manifest(
        {
          manifests: children.map((child, i) => ({
            ...descriptor(child),
            platform: { os: 'linux', architecture: ['amd64', 'arm64'][i] }
          }))
        },
        OCI_INDEX
      )
    },
    'a Docker list': async () => {
      const child = manifest({ config, layers: [layer] }, DOCKER_MANIFEST)
      await client.put('app', child)
      const platform = { os: 'linux', architecture: 'amd64' }
      return manifest({ manifests: [{ ...descriptor(child), platform }] }, DOCKER_LIST)
    },
    'an index of an index': async () => {
      const inner = manifest({ manifests: [], annotations: { inner: 'yes' } }, OCI_INDEX)
      await client.put('app', inner)
      return manifest({ manifests: [descriptor(inner)] }, OCI_INDEX)
    },
    'a type that nobody knows': () =>
      manifest({ anything: { goes: ['here'] } }, 'application/vnd.example.thing.v7+json')
  }
  for (const [what, make] of Object.entries(kinds)) {
    it(`keeps ${what} byte for byte`, async () => {
      const made = await make()
      await client.put('app', made, 'kind')
      await assertKept(made, ['kind', made.digest])
    })
  }

  it('gives the type of the push back, also where the document has another idea or none', async () => {
    const bytes = Buffer.from('{"schemaVersion":2,"layers":[]}')
    assert.equal((await push('typed', bytes, 'application/vnd.example.own+json; charset=utf-8')).status, 201)
    await server.restart()
    const got = await client.expect(200, 'GET', url('typed'))
    assert.equal(got.headers['content-type'], 'application/vnd.example.own+json')
  })

  it('gives each repository the type that was pushed there, and the last one', async () => {
    const own = 'application/vnd.example.mine+json'
    const bytes = JSON.stringify({ schemaVersion: 2, config, layers: [], note: 'of two types' })
    const put = async (name: string, type: string) => {
      await client.blob(name, '{"architecture":"amd64","os":"linux"}', OCI_CONFIG)
      await client.expect(201, 'PUT', url('1', name), { body: bytes, headers: { 'content-type': type } })
    }
    const typeOf = async (name: string) =>
      (await client.expect(200, 'GET', url('1', name))).headers['content-type']
    await put('typed/a', own)
    assert.equal(await typeOf('typed/a'), own)
    await put('typed/b', OCI_MANIFEST)
    assert.equal(await typeOf('typed/b'), OCI_MANIFEST)
    assert.equal(await typeOf('typed/a'), own)
    await put('typed/a', OCI_MANIFEST)
    assert.equal(await typeOf('typed/a'), OCI_MANIFEST)
    await server.restart()
    assert.equal(await typeOf('typed/a'), OCI_MANIFEST)
  })

  it('takes the type from the document when the push names none', async () => {
    const made = manifest({ config, layers: [layer] })
    assert.equal((await push('untyped', made.bytes, '')).status, 201)
    await assertKept(made, ['untyped'])
  })

  const refusals: [what: string, body: () => string | Buffer, type?: string][] = [
    ['null', () => 'null'],
    ['a list', () => '[]'],
    ['nothing', () => ''],
    ['no JSON', () => '{"schemaVersion":2,'],
    ['bytes that are no UTF-8', () => Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])],
    ['JSON that nests too deep', () => `{"a":${'['.repeat(5000)}${']'.repeat(5000)}}`],
    ['an image without a config', () => JSON.stringify({ schemaVersion: 2, layers: [] })],
    ['a Content-Type that is no media type', () => '{"a":1}', 'application/j\u00f6son'],
    ['a Content-Type without a slash', () => '{"a":1}', 'json'],
    ['a mediaType with a line break', () => '{"mediaType":"a/b\\r\\nX-Evil: 1"}', ''],
    ['a mediaType beyond Latin-1', () => '{"mediaType":"application/\u{1f600}"}', ''],
    ['schemaVersion 3', () => JSON.stringify({ schemaVersion: 3, config, layers: [] })],
    ['a config that is a text', () => JSON.stringify({ schemaVersion: 2, config: 'x', layers: [] })],
    ['layers that are an object', () => JSON.stringify({ schemaVersion: 2, config, layers: {} })],
    [
      'a digest of no known kind',
      () => JSON.stringify({ schemaVersion: 2, config: { ...config, digest: 'md5:1' }, layers: [] })
    ],
    [
      'a negative size',
      () => JSON.stringify({ schemaVersion: 2, config: { ...config, size: -1 }, layers: [] })
    ],
    [
      'a fraction as size',
      () => JSON.stringify({ schemaVersion: 2, config: { ...config, size: 1.5 }, layers: [] })
    ],
    [
      'another size than the blob has',
      () => JSON.stringify({ schemaVersion: 2, config: { ...config, size: 1 } })
    ],
    ['data that is not base64', () => JSON.stringify({ schemaVersion: 2, config: { ...config, data: '*' } })],
    [
      'annotations that are numbers',
      () => JSON.stringify({ schemaVersion: 2, config, annotations: { a: 1 } })
    ],
    ['an index in an image', () => JSON.stringify({ schemaVersion: 2, config, layers: [], manifests: [] })],
    ['an image in an index', () => JSON.stringify({ schemaVersion: 2, config, manifests: [] }), OCI_INDEX],
    ['a mediaType unlike the Content-Type', () => manifest({ config, layers: [] }, DOCKER_MANIFEST).bytes],
    [
      'schema 1 by its type',
      () => JSON.stringify({ schemaVersion: 1, name: 'app', tag: '1', fsLayers: [], history: [] }),
      'application/vnd.docker.distribution.manifest.v1+prettyjws'
    ],
    ['schema 1 by its version', () => JSON.stringify({ schemaVersion: 1, fsLayers: [] }), 'application/json']
  ]
  for (const [what, body, type] of refusals) {
    it(`refuses ${what}`, async () => {
      const refused = await push('refused', body(), type)
      assert.equal(refused.status, 400)
      assert.equal(refused.code, 'MANIFEST_INVALID')
      const [error] = refused.json<{ errors: { message: string }[] }>().errors
      assert.ok((error?.message.length ?? 0) > 20)
      if (what.startsWith('schema 1')) assert.match(error?.message ?? '', /schema 1/)
      await client.expect(404, 'HEAD', url('refused'))
    })
  }

  it('names everything that is missing', async () => {
    const gone = [digestOf('missing 1'), digestOf('missing 2')]
    const layers = [layer, ...gone.map((digest) => ({ mediaType: OCI_LAYER, digest, size: 9 }))]
    const refused = await push('missing', manifest({ config, layers }).bytes)
    assert.equal(refused.status, 404)
    assert.equal(refused.code, 'MANIFEST_BLOB_UNKNOWN')
    const [error] = refused.json<{ errors: { detail: { digest: string }[] }[] }>().errors
    assert.deepEqual(error?.detail.map(({ digest }) => digest).sort(), gone.sort())
    const child = { mediaType: OCI_MANIFEST, digest: digestOf('no child'), size: 3 }
    const index = await push('missing', manifest({ manifests: [child] }, OCI_INDEX).bytes, OCI_INDEX)
    assert.equal(index.code, 'MANIFEST_BLOB_UNKNOWN')
  })

  it('names some of very many that are missing, and says that there are more', async () => {
    const layers = Array.from({ length: 5000 }, (_, i) => ({
      mediaType: OCI_LAYER,
      digest: digestOf(`missing ${i}`),
      size: 9
    }))
    const refused = await push('missing', manifest({ config, layers }).bytes)
    assert.equal(refused.code, 'MANIFEST_BLOB_UNKNOWN')
    const [error] = refused.json<{ errors: { message: string; detail: unknown[] }[] }>().errors
    assert.equal(error?.detail.length, 20)
    assert.match(error?.message ?? '', /and more/)
  })

  it('finds blobs and children only in the repository that is pushed to', async () => {
    const made = manifest({ config, layers: [layer], annotations: { where: 'app' } })
    const elsewhere = await client.call('PUT', url('1', 'elsewhere'), { body: made.bytes })
    assert.equal(elsewhere.code, 'MANIFEST_BLOB_UNKNOWN')
  })

  it('refuses a digest that is not that of the bytes', async () => {
    const refused = await push(digestOf('other'), manifest({ config, layers: [] }).bytes)
    assert.equal(refused.status, 400)
    assert.equal(refused.code, 'DIGEST_INVALID')
  })

  for (const tag of ['-a', '.a', 'a'.repeat(129), 'a b', 'ä', 'a+b', 'sha256:abc']) {
    it(`refuses to push under ${tag.slice(0, 10)}, and has nothing there`, async () => {
      const path = encodeURI(tag)
      const refused = await push(path, manifest({ config, layers: [] }).bytes)
      assert.equal(refused.status, 400)
      assert.equal(refused.code, tag.includes(':') ? 'DIGEST_INVALID' : 'TAG_INVALID')
      if (!tag.includes(':')) await client.expect(404, 'GET', url(path))
    })
  }
  it('takes tags of every allowed form', async () => {
    const made = manifest({ config, layers: [] })
    for (const tag of ['_', '0', 'A', 'a.b-c_D', 'a'.repeat(128)]) {
      await client.put('app', made, tag)
      await client.expect(200, 'HEAD', url(tag))
    }
  })

  it('answers 304 to If-None-Match', async () => {
    const made = manifest({ config, layers: [] })
    await client.put('app', made, 'fresh')
    for (const method of ['GET', 'HEAD']) {
      const headers = { 'if-none-match': `"${made.digest}"` }
      assert.equal((await client.expect(304, method, url('fresh'), { headers })).body.length, 0)
      await client.expect(200, method, url('fresh'), { headers: { 'if-none-match': '"other"' } })
    }
  })

  /** An image of exactly `size` bytes. */
  const sized = (size: number): Made => {
    const without = manifest({ config, layers: [], annotations: { pad: '' } }).size
    return manifest({ config, layers: [], annotations: { pad: 'x'.repeat(size - without) } })
  }

  it('keeps 4 MiB', async () => {
    const made = sized(MAX)
    await client.put('app', made, 'large')
    await assertKept(made, ['large', made.digest])
  })

  it('refuses more with 413 in an answer that arrives, with a length and without', async () => {
    for (const size of [MAX + 1, 3 * MAX]) {
      const { bytes } = sized(size)
      for (const body of [bytes, Readable.from([bytes.subarray(0, 100_000), bytes.subarray(100_000)])]) {
        const refused = await client.call('PUT', url('too-large'), {
          body,
          headers: { 'content-type': OCI_MANIFEST }
        })
        assert.equal(refused.status, 413)
        assert.equal(refused.code, 'REQUEST_TOO_LARGE')
      }
    }
  })

  it('keeps all of many pushes at once', async () => {
    const made = Array.from({ length: 40 }, (_, i) =>
      manifest({ config, layers: [layer], annotations: { i: `${i}` } })
    )
    for (const each of [config, layer]) {
      const mount = `/v2/crowd/app/blobs/uploads/?mount=${each.digest}&from=app`
      await client.expect(201, 'POST', mount)
    }
    await Promise.all(made.map((each, i) => client.put('crowd/app', each, `t${i}`)))
    const list = await client.expect(200, 'GET', '/v2/crowd/app/tags/list')
    assert.equal(list.json<{ tags: string[] }>().tags.length, 40)
    await server.restart()
    for (const [i, each] of made.entries()) {
      const got = await client.expect(200, 'GET', `/v2/crowd/app/manifests/t${i}`)
      assert.ok(got.body.equals(each.bytes))
    }
  })
})
