/** Trees that are read by their CID, and by a domain that another gateway publishes. */
import assert from 'node:assert/strict'
import {
  descriptor,
  digestOf,
  EMPTY,
  type Made,
  manifest,
  OCI_INDEX,
  type OciClient,
  ociClient
} from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

interface Json {
  tags?: string[]
  repositories?: string[]
  manifests?: { digest: string; artifactType?: string }[]
}

describe('trees of others over HTTP', () => {
  const domain = 'published.example.org'
  let publisher: RegistryServer
  let reader: RegistryServer
  let client: OciClient
  let root: string
  let image: Made
  let referrers: Made[]
  let listed: Made

  before(async () => {
    publisher = await startRegistryServer()
    reader = await startRegistryServer()
    const push = ociClient(publisher)
    const name = `${domain}/team/app`
    image = await push.image(name, 'v1')
    for (const tag of ['v2', 'v3', 'latest']) await push.put(name, image, tag)
    await push.image(`${domain}/other`, '1')
    const config = await push.blob(name, '{}', EMPTY)
    const refer = (mark: string) =>
      manifest({
        artifactType: `application/vnd.example.${mark}`,
        config,
        layers: [],
        subject: descriptor(image),
        annotations: { mark }
      })
    referrers = ['sbom', 'signature', 'notes'].map(refer)
    for (const each of referrers) await push.put(name, each)
    listed = referrers[0] as Made
    const schema = manifest({ manifests: [descriptor(listed)] }, OCI_INDEX)
    await push.put(name, schema, image.digest.replace(':', '-'))
    root = await publisher.publish(domain, reader.dns)
    client = ociClient(reader)
  })
  after(async () => {
    await reader.stop()
    await publisher.stop()
  })

  const get = async (path: string) => {
    const answer = await client.expect(200, 'GET', path)
    return { ...answer, data: answer.json<Json>() }
  }
  const next = (headers: Record<string, unknown>): string | undefined =>
    /^<([^>]+)>/.exec(String(headers['link']))?.[1]

  // The second reader asks with the CID of a tree whose publisher it is connected to by then.
  const ways: Record<string, () => string> = {
    'a domain': () => `${domain}/`,
    'its CID': () => `ipfs/${root}/${domain}/`
  }
  for (const [what, base] of Object.entries(ways)) {
    describe(`by ${what}`, () => {
      const app = () => `/v2/${base()}team/app`

      it('give manifests and blobs', async () => {
        const got = await client.expect(200, 'GET', `${app()}/manifests/v1`)
        assert.ok(got.body.equals(image.bytes))
        const [layer] = JSON.parse(got.body.toString()).layers
        const blob = await client.expect(200, 'GET', `${app()}/blobs/${layer.digest}`)
        assert.equal(digestOf(blob.body), layer.digest)
        await client.expect(200, 'HEAD', `${app()}/blobs/${layer.digest}`)
        await client.expect(404, 'GET', `${app()}/blobs/${digestOf('absent')}`)
        await client.expect(404, 'GET', `${app()}/manifests/absent`)
      })

      it('list tags in pages', async () => {
        const schemaTag = image.digest.replace(':', '-')
        const all = ['latest', schemaTag, 'v1', 'v2', 'v3'].sort()
        assert.deepEqual((await get(`${app()}/tags/list`)).data.tags, all)
        const first = await get(`${app()}/tags/list?n=2`)
        assert.deepEqual(first.data.tags, all.slice(0, 2))
        assert.deepEqual((await get(next(first.headers) ?? '')).data.tags, all.slice(2, 4))
      })

      it('list referrers, filtered and in pages', async () => {
        const path = `${app()}/referrers/${image.digest}`
        const digests = referrers.map(({ digest }) => digest).sort()
        assert.deepEqual((await get(path)).data.manifests?.map(({ digest }) => digest).sort(), digests)
        const one = await get(`${path}?artifactType=application/vnd.example.signature`)
        assert.deepEqual(
          one.data.manifests?.map(({ digest }) => digest),
          [referrers[1]?.digest]
        )
        const page = await get(`${path}?n=2`)
        assert.equal(page.data.manifests?.length, 2)
        assert.equal((await get(next(page.headers) ?? '')).data.manifests?.length, 1)
        assert.deepEqual((await get(`${app()}/referrers/${digestOf('nobody')}`)).data.manifests, [])
      })

      it('have a catalogue', async () => {
        const names = ['other', 'team/app'].map((name) => `${base()}${name}`)
        const path = what === 'a domain' ? `/v2/${domain}/_catalog` : `/v2/ipfs/${root}/_catalog`
        assert.deepEqual((await get(path)).data.repositories, names)
        const page = await get(`${path}?n=1`)
        assert.deepEqual(page.data.repositories, names.slice(0, 1))
        assert.deepEqual((await get(next(page.headers) ?? '')).data.repositories, names.slice(1))
      })
    })
  }

  it('are not in the list of what is here', async () => {
    assert.deepEqual((await get('/v2/_catalog')).data.repositories, [])
  })

  it('are found by ?ns= too', async () => {
    await client.expect(200, 'GET', `/v2/team/app/manifests/v1?ns=${domain}`)
    assert.deepEqual((await get(`/v2/_catalog?ns=${domain}`)).data.repositories, ['other', 'team/app'])
  })

  it('are added to by a push, referrers of what is there included', async () => {
    const name = `${domain}/team/app`
    const config = await client.blob(name, '{"more":1}', EMPTY)
    const more = manifest({
      config,
      layers: [],
      subject: descriptor(image),
      artifactType: 'application/vnd.example.more'
    })
    const put = await client.put(name, more)
    assert.equal(put.headers['oci-subject'], image.digest)
    const digests = [...referrers, more].map(({ digest }) => digest).sort()
    const found = await get(`/v2/${name}/referrers/${image.digest}`)
    assert.deepEqual(found.data.manifests?.map(({ digest }) => digest).sort(), digests)
    assert.deepEqual((await get('/v2/_catalog')).data.repositories, [`${domain}/other`, name])
    await client.expect(202, 'DELETE', `/v2/${name}/manifests/${more.digest}`)
  })

  it('answer a referrers list when one of its manifests cannot be read', async () => {
    const broken = await startRegistryServer({ dns: reader.dns })
    try {
      const name = 'broken.example.org/app'
      const own = ociClient(broken)
      const subject = await own.image(name, '1')
      const config = await own.blob(name, '{}', EMPTY)
      const good = manifest({ config, layers: [], subject: descriptor(subject) })
      await own.put(name, good)
      const index = manifest(
        { manifests: [{ ...descriptor(good), digest: digestOf('never there') }] },
        OCI_INDEX
      )
      const refused = await own.call('PUT', `/v2/${name}/manifests/${subject.digest.replace(':', '-')}`, {
        body: index.bytes,
        headers: { 'content-type': OCI_INDEX }
      })
      assert.equal(refused.code, 'MANIFEST_BLOB_UNKNOWN')
      const found = await own.expect(200, 'GET', `/v2/${name}/referrers/${subject.digest}`)
      assert.deepEqual(
        found.json<Json>().manifests?.map(({ digest }) => digest),
        [good.digest]
      )
    } finally {
      await broken.stop()
    }
  })
})

describe('a local tree while name servers are down', () => {
  let server: RegistryServer
  let client: OciClient

  before(async () => {
    server = await startRegistryServer()
    client = ociClient(server)
    server.dns.behave('*', { rcode: 'SERVFAIL' })
    await client.image('down.example.org/app', '1')
  })
  after(() => server.stop())

  it('answers 404 for what a repository that is here has not, and says what was not asked', async () => {
    await client.image('down.example.org/app', '2')
    await client.expect(202, 'DELETE', '/v2/down.example.org/app/manifests/1')
    const gone = await client.expect(404, 'GET', '/v2/down.example.org/app/manifests/1')
    assert.equal(gone.code, 'MANIFEST_UNKNOWN')
    assert.match(gone.body.toString(), /cannot be asked/)
    await client.expect(404, 'GET', `/v2/down.example.org/app/blobs/${digestOf('absent')}`)
    await client.expect(200, 'GET', '/v2/down.example.org/app/manifests/2')
  })

  it('has no list of referrers for what it cannot ask for: it would look unsigned', async () => {
    const asked = `/v2/down.example.org/other/referrers/${digestOf('signed')}`
    assert.equal((await client.call('GET', asked)).code, 'SOURCE_FAILED')
    const root = 'bafybeib6cbttp4cxim3rdfwnellwsilhicxrltxkytbpc4744f6b37aiya'
    const unreachable = await client.expect(
      404,
      'GET',
      `/v2/ipfs/${root}/app/referrers/${digestOf('signed')}`
    )
    assert.equal(unreachable.code, 'NAME_UNKNOWN')
    const unknown = await client.expect(200, 'GET', `/v2/nobody/referrers/${digestOf('signed')}`)
    assert.deepEqual(unknown.json<Json>().manifests, [])
  })

  it('does not say 404 for a repository that is not here', async () => {
    const other = await client.call('GET', '/v2/down.example.org/other/manifests/1')
    assert.equal(other.status, 502)
    assert.equal(other.code, 'SOURCE_FAILED')
  })
})
