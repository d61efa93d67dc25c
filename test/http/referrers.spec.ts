/** https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers */
import assert from 'node:assert/strict'
import {
  type Descriptor,
  descriptor,
  digestOf,
  EMPTY,
  type Made,
  manifest,
  OCI_INDEX,
  OCI_MANIFEST,
  type OciClient,
  ociClient
} from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

interface List {
  schemaVersion: number
  mediaType: string
  manifests: Descriptor[]
}

describe('referrers over HTTP', () => {
  let server: RegistryServer
  let client: OciClient
  let empty: Descriptor

  before(async () => {
    server = await startRegistryServer()
    client = ociClient(server)
  })
  beforeEach(async () => {
    empty = await client.blob('app', '{}', EMPTY)
  })
  after(() => server.stop())

  let made = 0
  /** An image of its own to refer to. */
  const subjectImage = () => client.image('app', `subject-${++made}`)

  const artifact = (
    subject: Made | Descriptor,
    more: Record<string, unknown> = {},
    type = OCI_MANIFEST
  ): Made => {
    const { mediaType, digest, size } = subject
    const body = type === OCI_INDEX ? { manifests: [] } : { config: empty, layers: [empty] }
    return manifest({ ...body, subject: { mediaType, digest, size }, ...more }, type)
  }

  async function list(subject: { digest: string }, query = ''): Promise<Descriptor[]> {
    const answer = await client.expect(200, 'GET', `/v2/app/referrers/${subject.digest}${query}`)
    assert.equal(answer.headers['content-type'], OCI_INDEX)
    const json = answer.json<List>()
    assert.equal(json.schemaVersion, 2)
    assert.equal(json.mediaType, OCI_INDEX)
    return json.manifests
  }
  const digests = (found: readonly Descriptor[]) => found.map(({ digest }) => digest).sort()

  it('is an empty index for a subject or a repository that nobody knows', async () => {
    assert.deepEqual(await list({ digest: digestOf('nobody') }), [])
    const other = await client.expect(200, 'GET', `/v2/never/pushed/referrers/${digestOf('nobody')}`)
    assert.deepEqual(other.json<List>().manifests, [])
    await client.expect(200, 'HEAD', `/v2/app/referrers/${digestOf('nobody')}`)
  })

  it('is 400 for a digest that is none', async () => {
    for (const digest of ['latest', 'sha256:abc']) {
      assert.equal((await client.expect(400, 'GET', `/v2/app/referrers/${digest}`)).code, 'DIGEST_INVALID')
    }
  })

  it('has what was pushed with a subject, with type, size and annotations; the push says OCI-Subject', async () => {
    const subject = await subjectImage()
    const sbom = artifact(subject, {
      artifactType: 'application/vnd.example.sbom',
      annotations: { 'org.example.format': 'json' }
    })
    const plain = artifact(subject)
    const index = artifact(subject, { artifactType: 'application/vnd.example.set' }, OCI_INDEX)
    const untyped = artifact(subject, {}, OCI_INDEX)
    for (const each of [sbom, plain, index, untyped]) {
      const put = await client.put('app', each)
      assert.equal(put.headers['oci-subject'], subject.digest)
    }
    const found = await list(subject)
    assert.deepEqual(digests(found), digests([sbom, plain, index, untyped]))
    const by = (one: Made) => found.find(({ digest }) => digest === one.digest)
    assert.deepEqual(by(sbom), {
      ...descriptor(sbom),
      artifactType: 'application/vnd.example.sbom',
      annotations: { 'org.example.format': 'json' }
    })
    assert.deepEqual(by(plain), { ...descriptor(plain), artifactType: EMPTY })
    assert.deepEqual(by(index), { ...descriptor(index), artifactType: 'application/vnd.example.set' })
    assert.deepEqual(by(untyped), descriptor(untyped))
  })

  it('says no OCI-Subject where there is none', async () => {
    const put = await client.put('app', await subjectImage())
    assert.equal(put.headers['oci-subject'], undefined)
  })

  it('filters by artifactType and says so', async () => {
    const subject = await subjectImage()
    const [a, b] = ['a', 'b'].map((type) =>
      artifact(subject, { artifactType: `application/vnd.example.${type}+x` })
    )
    assert.ok(a && b)
    for (const each of [a, b]) await client.put('app', each)
    const query = `?artifactType=${encodeURIComponent('application/vnd.example.a+x')}`
    assert.deepEqual(digests(await list(subject, query)), [a.digest])
    const answer = await client.expect(200, 'GET', `/v2/app/referrers/${subject.digest}${query}`)
    assert.equal(answer.headers['oci-filters-applied'], 'artifactType')
    const all = await client.expect(200, 'GET', `/v2/app/referrers/${subject.digest}`)
    assert.equal(all.headers['oci-filters-applied'], undefined)
    assert.deepEqual(await list(subject, '?artifactType=none/such'), [])
  })

  it('takes referrers before their subject, and drops them when they are deleted', async () => {
    const subject = manifest({ config: empty, layers: [], annotations: { later: `${++made}` } })
    const referrer = artifact(subject)
    assert.equal((await client.put('app', referrer)).headers['oci-subject'], subject.digest)
    assert.deepEqual(digests(await list(subject)), [referrer.digest])
    await client.put('app', subject)
    assert.deepEqual(digests(await list(subject)), [referrer.digest])
    await client.expect(202, 'DELETE', `/v2/app/manifests/${referrer.digest}`)
    assert.deepEqual(await list(subject), [])
  })

  it('keeps referrers to one repository', async () => {
    const subject = await subjectImage()
    await client.put('app', artifact(subject))
    const elsewhere = await client.expect(200, 'GET', `/v2/elsewhere/referrers/${subject.digest}`)
    assert.deepEqual(elsewhere.json<List>().manifests, [])
  })

  for (const query of ['', '&artifactType=application%2Fvnd.example.page']) {
    it(`pages over Link headers${query === '' ? '' : ', filtered'}`, async () => {
      const subject = await subjectImage()
      const all = Array.from({ length: 7 }, (_, i) =>
        artifact(subject, { artifactType: 'application/vnd.example.page', annotations: { i: `${i}` } })
      )
      const others = [1, 2].map((i) =>
        artifact(subject, { artifactType: 'other/thing', annotations: { i: `${i}` } })
      )
      for (const each of query === '' ? all : [...all, ...others]) await client.put('app', each)
      const found: Descriptor[] = []
      let count = 0
      for (
        let next: string | undefined = `/v2/app/referrers/${subject.digest}?n=3${query}`;
        next !== undefined;
      ) {
        const { headers, json } = await client.expect(200, 'GET', next)
        found.push(...json<List>().manifests)
        if (query !== '') assert.equal(headers['oci-filters-applied'], 'artifactType')
        next =
          headers.link === undefined ? undefined : /^<([^>]+)>; rel="next"$/.exec(String(headers.link))?.[1]
        count++
      }
      assert.equal(count, 3)
      assert.deepEqual(digests(found), digests(all))
    })
  }

  it('keeps a page within the size of a manifest', async () => {
    const subject = await subjectImage()
    const pad = 'x'.repeat(1_500_000)
    const all = Array.from({ length: 5 }, (_, i) => artifact(subject, { annotations: { i: `${i}`, pad } }))
    for (const each of all) await client.put('app', each)
    const found: Descriptor[] = []
    for (let next: string | undefined = `/v2/app/referrers/${subject.digest}`; next !== undefined; ) {
      const { headers, json, body } = await client.expect(200, 'GET', next)
      assert.ok(body.length <= 4 * 1024 * 1024)
      found.push(...json<List>().manifests)
      next =
        headers.link === undefined ? undefined : /^<([^>]+)>; rel="next"$/.exec(String(headers.link))?.[1]
    }
    assert.deepEqual(digests(found), digests(all))
  })

  describe('of the tag schema', () => {
    const tagOf = (subject: { digest: string }) => subject.digest.replace(':', '-')

    it('are merged with those that the registry knows, once each', async () => {
      const subject = await subjectImage()
      const [known, listed] = ['known', 'listed'].map((mark) => artifact(subject, { annotations: { mark } }))
      assert.ok(known && listed)
      for (const each of [known, listed]) await client.put('app', each)
      const index = manifest({ manifests: [descriptor(known), descriptor(listed)] }, OCI_INDEX)
      await client.put('app', index, tagOf(subject))
      assert.deepEqual(digests(await list(subject)), digests([known, listed]))
    })

    it('leave out what has another subject or none, and what is no manifest', async () => {
      const [subject, other] = [await subjectImage(), await subjectImage()]
      const stranger = artifact(other, { annotations: { of: 'another' } })
      await client.put('app', stranger)
      const mine = artifact(subject, { annotations: { of: 'mine' } })
      await client.put('app', mine)
      const deleted = artifact(subject, { annotations: { of: 'the past' } })
      await client.put('app', deleted)
      const index = manifest({ manifests: [stranger, other, mine, deleted].map(descriptor) }, OCI_INDEX)
      await client.put('app', index, tagOf(subject))
      await client.expect(202, 'DELETE', `/v2/app/manifests/${deleted.digest}`)
      assert.deepEqual(digests(await list(subject)), [mine.digest])
    })

    it('are nothing where the tag is something else', async () => {
      const subject = await subjectImage()
      await client.put('app', subject, tagOf(subject))
      assert.deepEqual(await list(subject), [])
    })
  })
})
