/** Domains that publish a tree, and have a registry as well: local tree, published tree, registry. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { memoryLog } from '../support/log.ts'
import { digestOf, ociClient } from '../support/oci-client.ts'
import { type BedOptions, type PullThroughBed, startPullThrough } from '../support/pull-through-bed.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

describe('an image of a registry whose domain publishes a tree', function () {
  this.timeout(60_000)
  let bed: PullThroughBed
  let there: PullThroughBed['there']
  let server: PullThroughBed['server']
  const get: PullThroughBed['get'] = (path, status) => bed.get(path, status)
  const pull: PullThroughBed['pull'] = (name, reference) => bed.pull(name, reference)
  const servers: RegistryServer[] = []

  async function start(options: BedOptions = {}): Promise<void> {
    bed = await startPullThrough(options)
    ;({ there, server } = bed)
  }

  afterEach(async () => {
    for (const one of servers.splice(0)) await one.stop()
    await bed.stop()
  })

  it('comes after the tree that the domain publishes', async () => {
    await start()
    const publisher = await startRegistryServer({ dns: server.dns })
    try {
      const published = await ociClient(publisher).image('up.example/a/b', '1', 'published')
      await publisher.publish('up.example')
      there.image('a/b', '1', ['upstream'])
      there.image('a/b', '2', ['upstream'])
      const answer = await get('up.example/a/b/manifests/1')
      assert.equal(answer.headers['docker-content-digest'], published.digest)
      await pull('up.example/a/b', '2')
      // what was pulled through is no copy of the published tree, which goes on being followed
      const again = await ociClient(publisher).image('up.example/a/b', '1', 'published again')
      await publisher.publish('up.example')
      await sleep(1100)
      const later = await get('up.example/a/b/manifests/1')
      assert.ok([published.digest, again.digest].includes(String(later.headers['docker-content-digest'])))
    } finally {
      await publisher.stop()
    }
  })

  describe('that has only a part of it', () => {
    const layers = [randomBytes(1_500_000), randomBytes(1_600_000)]
    let reader: PullThroughBed
    let lines: Record<string, unknown>[]
    let digests: readonly string[]
    const gaps = () => lines.filter(({ msg }) => /published tree/.test(String(msg)))
    const blobs = () =>
      reader.there.asked.filter((line) => line.startsWith('GET') && line.includes('/blobs/'))

    /** `bed` has the first layer and publishes that; `reader` pulls, with a registry of its own that has all. */
    beforeEach(async () => {
      await start()
      const image = there.image('a/b', '1', layers)
      digests = image.layers
      await get('up.example/a/b/manifests/1')
      await get(`up.example/a/b/blobs/${digests[0]}`)
      await bed.settled(digests[0] as string)
      // it ends when what came is in the tree
      await bed.restart()
      await bed.server.publish('up.example')
      const memory = memoryLog()
      lines = memory.lines
      reader = await startPullThrough({ server: { dns: bed.server.dns, log: memory.log } })
      reader.there.image('a/b', '1', layers)
      reader.there.image('a/b', '2', ['another'])
    })
    afterEach(() => reader.stop())

    it('comes from there, and what is missing from the registry; the log says so, once', async () => {
      await reader.pull('up.example/a/b', '1')
      assert.equal(reader.there.count(/GET .*manifests/), 0)
      assert.ok(blobs().length > 0 && blobs().every((line) => !line.includes(digests[0] as string)))
      assert.deepEqual(
        gaps().map(({ level, domain, repository }) => [level, domain, repository]),
        [['warn', 'up.example', 'a/b']]
      )
    })

    it('comes from the registry under a tag that the tree has not got', async () => {
      await reader.pull('up.example/a/b', '2')
      assert.equal(reader.there.count(/GET .*manifests\/2/), 1)
      assert.deepEqual(gaps(), [])
    })

    it('comes from the registry while nobody has the tree', async () => {
      await bed.server.ipfs.stop()
      await reader.pull('up.example/a/b', '1')
      assert.ok(reader.there.count(/GET .*manifests/) > 0)
    })

    it('is no image that nobody knows where the registry has not got it either', async () => {
      await reader.get('up.example/a/b/manifests/1')
      await bed.server.ipfs.stop()
      reader.there.fault = (_, res) => {
        res.writeHead(404).end()
        return true
      }
      for (const digest of digests) {
        const refused = await reader.get(`up.example/a/b/blobs/${digest}`, 502)
        assert.equal(refused.code, 'SOURCE_FAILED')
        assert.match(refused.body.toString(), /hasn't got it/)
      }
    })

    it('comes from the registry when who had the tree has gone', async () => {
      await reader.get('up.example/a/b/manifests/1')
      await bed.server.ipfs.stop()
      for (const digest of digests) {
        const { body } = await reader.get(`up.example/a/b/blobs/${digest}`)
        assert.equal(digestOf(body), digest)
      }
      assert.equal(reader.there.count(/GET .*manifests/), 0)
      assert.equal(gaps().length, 1)
    })
  })

  it('is not looked for in DNS where the registry is a well-known one, unless that is set', async () => {
    await start()
    there.image('library/alpine', '3', ['x'])
    there.image('a/b', '1', ['x'])
    const asked = () => server.dns.queries.map(({ name }) => name)
    await pull('docker.io/alpine', '3')
    assert.deepEqual(asked(), [])
    await pull('up.example/a/b', '1')
    assert.ok(asked().includes('_dnslink.up.example'))
    await bed.restart({ setting: { published: false } })
    server.dns.forget()
    there.image('a/c', '1', ['y'])
    await pull('up.example/a/c', '1')
    assert.deepEqual(asked(), [])
  })

  it('waits for name servers that fail once in a while, and not for each manifest', async () => {
    await start()
    server.dns.behave('*', { rcode: 'SERVFAIL' })
    for (const tag of ['1', '2']) there.image('a/b', tag, [tag])
    await pull('up.example/a/b', '1')
    const asked = server.dns.queries.length
    assert.ok(asked > 0)
    await sleep(1100) // for what name resolution itself remembers of a failure
    await pull('up.example/a/b', '2')
    assert.equal(server.dns.queries.length, asked)
  })
})
