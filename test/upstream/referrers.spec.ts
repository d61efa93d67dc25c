/** What refers to images of other registries: signatures and the like. */
import assert from 'node:assert/strict'
import { createUpstreams } from '../../src/upstream/index.ts'
import { type Made, type OciClient, ociClient } from '../support/oci-client.ts'
import { startPullThrough } from '../support/pull-through-bed.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

interface Index {
  manifests: { digest: string; artifactType?: string; annotations?: Record<string, string> }[]
}

describe('referrers of what is pulled through', function () {
  this.timeout(60_000)
  const stops: (() => unknown)[] = []
  afterEach(async () => {
    for (const stop of stops.splice(0).toReversed()) await stop()
  })

  /** A gateway before another one, which knows the referrers API. */
  async function start(ttlMs: number) {
    const there = await startRegistryServer()
    let up = true
    stops.push(() => up && there.stop())
    const upstreams = createUpstreams({
      settings: new Map([['up.example', { off: false, urls: [`http://${there.host}`] }]]),
      auth: '',
      ttlMs,
      timeoutMs: 1500,
      allowDial: 'any'
    })
    stops.push(() => upstreams.stop())
    const server: RegistryServer = await startRegistryServer({ upstreams })
    stops.push(() => server.stop())
    const stopThere = async () => {
      up = false
      await there.stop()
    }
    return { there: ociClient(there), client: ociClient(server), stopThere }
  }

  async function sign(client: OciClient, name: string, image: Made, artifactType: string): Promise<Made> {
    const { mediaType, digest, size } = image
    return client.image(name, artifactType.split('/')[1] ?? '', artifactType, {
      subject: { mediaType, digest, size },
      artifactType,
      annotations: { by: artifactType }
    })
  }

  const list = async (client: OciClient, subject: Made, status = 200, query = '') =>
    client.expect(status, 'GET', `/v2/up.example/a/b/referrers/${subject.digest}${query}`)

  it('are those that the upstream has, with those that were pushed here', async () => {
    const { there, client, stopThere } = await start(0)
    const image = await there.image('a/b', '1')
    const theirs = await sign(there, 'a/b', image, 'test/theirs')
    const all = (await list(client, image)).json<Index>().manifests
    assert.deepEqual(
      all.map(({ digest, artifactType, annotations }) => ({ digest, artifactType, annotations })),
      [{ digest: theirs.digest, artifactType: 'test/theirs', annotations: { by: 'test/theirs' } }]
    )
    await client.expect(200, 'GET', `/v2/up.example/a/b/manifests/1`)
    const own = await sign(client, 'up.example/a/b', image, 'test/own')
    const digests = async (query = '') =>
      (await list(client, image, 200, query)).json<Index>().manifests.map(({ digest }) => digest)
    assert.deepEqual(await digests(), [own.digest, theirs.digest].sort())
    assert.deepEqual(await digests('?artifactType=test%2Fown'), [own.digest])
    assert.equal((await digests('?n=1')).length, 1)
    // one that was pulled is the tree's own, and listed once
    await client.expect(200, 'GET', `/v2/up.example/a/b/manifests/${theirs.digest}`)
    assert.deepEqual(await digests(), [own.digest, theirs.digest].sort())
    await stopThere()
    const stale = await list(client, image)
    assert.match(String(stale.headers['warning']), /^110 seaway/)
    assert.equal(stale.json<Index>().manifests.length, 2)
  })

  it('are not said to be none while nobody can be asked', async () => {
    const { there, client, stopThere } = await start(3_600_000)
    const image = await there.image('a/b', '1')
    const other = await there.image('a/b', '2')
    assert.deepEqual((await list(client, image)).json<Index>().manifests, [])
    await stopThere()
    assert.deepEqual((await list(client, image)).json<Index>().manifests, [], 'as fresh as a tag')
    await list(client, other, 502)
  })

  it('are those of the tag that clients keep where the upstream is older', async () => {
    const bed = await startPullThrough()
    stops.push(() => bed.stop())
    const image = bed.there.image('a/b', '1', ['x'])
    const signature = bed.there.image('a/b', 'signature', ['y'])
    bed.there.index('a/b', image.digest.replace(':', '-'), [signature])
    const found = await list(bed.client, image)
    assert.deepEqual(
      found.json<Index>().manifests.map(({ digest }) => digest),
      [signature.digest]
    )
    const none = await list(bed.client, signature)
    assert.deepEqual(none.json<Index>().manifests, [])
  })

  it('are refused where the upstream does not let us know', async () => {
    const bed = await startPullThrough()
    stops.push(() => bed.stop())
    const image = bed.there.image('a/b', '1', ['x'])
    bed.there.fault = (_, res) => {
      res.writeHead(403).end()
      return true
    }
    await list(bed.client, image, 404)
  })
})
