/** Other registries through the gateway, as clients see them. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { digestOf } from '../support/oci-client.ts'
import { type BedOptions, type PullThroughBed, startPullThrough } from '../support/pull-through-bed.ts'

describe('pulling through', function () {
  this.timeout(60_000)
  let bed: PullThroughBed
  let there: PullThroughBed['there']
  let server: PullThroughBed['server']
  let client: PullThroughBed['client']
  const get: PullThroughBed['get'] = (path, status) => bed.get(path, status)
  const pull: PullThroughBed['pull'] = (name, reference) => bed.pull(name, reference)

  async function start(setting: BedOptions['setting'] = {}, ttlMs?: number): Promise<void> {
    bed = await startPullThrough({ setting, ...(ttlMs !== undefined && { ttlMs }) })
    ;({ there, server, client } = bed)
  }

  afterEach(() => bed.stop())

  it('brings an image here, once, and serves it while the upstream is gone', async () => {
    await start()
    const image = there.image('a/b', '1', [randomBytes(3_000_000), 'small'])
    await pull('up.example/a/b', '1')
    for (const digest of image.layers) await bed.settled(digest)
    const asked = there.asked.length
    await pull('up.example/a/b', '1')
    await pull('up.example/a/b', image.digest)
    assert.equal(there.asked.length, asked)
    assert.equal(there.count(/^GET .*manifests/), 1)
    there.fault = (_, res) => {
      res.destroy()
      return true
    }
    await bed.restart()
    await pull('up.example/a/b', '1')
    // it is in the tree of its domain, like anything that was pushed there
    assert.deepEqual((await get('up.example/_catalog')).json(), { repositories: ['up.example/a/b'] })
    assert.notEqual(await server.registry.root('up.example'), undefined)
  })

  it('tells nobody of the roots that it makes so', async () => {
    await start()
    const image = there.image('a/b', '1', [randomBytes(2_000_000), 'small'])
    const told: string[] = []
    server.registry.onRoot((domain) => told.push(domain))
    await pull('up.example/a/b', '1')
    for (const digest of image.layers) await bed.settled(digest)
    // with its image layouts in step
    await server.registry.root('up.example')
    assert.deepEqual(told, [])
    await client.image('up.example/own', '1')
    await server.registry.root('up.example')
    assert.ok(told.length > 0)
  })

  it('takes the names that clients have for it', async () => {
    await start()
    there.image('library/alpine', '3', ['x'])
    await pull('docker.io/alpine', '3')
    await pull('docker.io/library/alpine', '3')
    await pull('index.docker.io/alpine', '3')
    await pull('proxy/docker.io/alpine', '3')
    const removed = { images: ['docker.io/alpine:3'], all: false, dryRun: true }
    await server.registry.images.remove(removed, new AbortController().signal)
    await get('library/alpine/manifests/3?ns=docker.io')
    await get('library/alpine/manifests/3?ns=registry-1.docker.io')
    assert.equal(there.count(/GET .*manifests/), 1)
    there.image('a/b', '1', ['y'])
    const answer = await get('a/b/manifests/1?ns=up.example:5000')
    assert.equal(answer.headers['oci-namespace'], 'up.example:5000')
    // what isn't in the list is nowhere that is dialled
    const before = there.asked.length
    await get(`a/b/manifests/1?ns=127.0.0.1:${there.port}`, 404)
    assert.equal(there.asked.length, before)
  })

  it('gives what docker asks a mirror for, under bare names, where that is set', async () => {
    await start()
    there.image('library/alpine', '3', ['x'])
    await get('library/alpine/manifests/3', 404)
    await bed.restart({ standard: 'docker.io' })
    await pull('library/alpine', '3')
    const own = await client.image('library/alpine', '3', 'ours')
    const answer = await get('library/alpine/manifests/3')
    assert.equal(answer.headers['docker-content-digest'], own.digest)
    await pull('docker.io/alpine', '3')
  })

  it('sends each blob once to fifty clients at the same time', async () => {
    await start()
    await bed.restart({ timeoutMs: 50_000, server: { pullTimeoutMs: 50_000, idleMs: 50_000 } })
    const bytes = randomBytes(4_000_000)
    const image = there.image('a/b', '1', [bytes])
    let waiting: (() => void) | undefined
    there.fault = (req, res) => {
      if (!/GET/.test(req.method ?? '') || !req.url?.includes(image.layers[0] as string)) return false
      res.writeHead(200, { 'content-length': String(bytes.length) })
      res.write(bytes.subarray(0, 2_500_000))
      waiting = () => res.end(bytes.subarray(2_500_000))
      return true
    }
    const all = Array.from({ length: 50 }, () => pull('up.example/a/b', '1'))
    while (waiting === undefined) await sleep(5)
    await sleep(100)
    waiting()
    await Promise.all(all)
    assert.equal(there.count(/^GET .*manifests/), 1)
    assert.equal(there.count(/^GET .*blobs/), 2, 'the config and the layer')
  })

  it('keeps an index whole, and only what was asked for of it', async () => {
    await start()
    const [one, two] = [there.image('a/b', 'x', ['one']), there.image('a/b', 'y', ['two'])]
    const index = there.index('a/b', '1', [one, two])
    assert.deepEqual((await get('up.example/a/b/manifests/1')).body, index.bytes)
    await pull('up.example/a/b', one.digest)
    await bed.settled(one.layers[0] as string)
    assert.equal(there.count(/GET .*manifests/), 2)
    // a collection takes nothing of it
    await server.registry.collect({ dryRun: false, graceMs: 0, signal: new AbortController().signal })
    there.fault = (_, res) => {
      res.destroy()
      return true
    }
    assert.deepEqual((await get('up.example/a/b/manifests/1')).body, index.bytes)
    await pull('up.example/a/b', one.digest)
  })

  it('is done beforehand for a list, for the platforms that are wanted', async () => {
    await start()
    const [one, two] = [there.image('a/b', 'x', ['one']), there.image('a/b', 'y', ['two'])]
    there.index('a/b', '1', [
      { ...one, platform: { os: 'linux', architecture: 'amd64' } },
      { ...two, platform: { os: 'linux', architecture: 'arm', variant: 'v7' } }
    ])
    there.image('library/alpine', 'latest', [randomBytes(2_000_000)])
    const { signal } = new AbortController()
    const fetch = (images: string[], platforms: string[]) =>
      server.registry.prefetch({ images, platforms }, signal, () => undefined)
    const images = ['up.example/a/b:1', 'docker.io/alpine', 'up.example/a/none:1']
    const [first, second, third] = await fetch(images, ['linux/arm/v7'])
    assert.ok((first?.fetched ?? 0) > 0)
    assert.equal(there.count(new RegExp(one.digest)), 0)
    assert.ok((second?.fetched ?? 0) > 2_000_000)
    assert.match(third?.error ?? '', /hasn't got it/)
    const asked = there.asked.length
    assert.equal((await fetch(images.slice(0, 2), ['linux/arm/v7']))[0]?.fetched, 0)
    await pull('up.example/a/b', two.digest)
    assert.equal(there.asked.length, asked)
    await fetch(images.slice(0, 1), ['all'])
    assert.equal(there.count(new RegExp(`manifests/${one.digest}`)), 1)
  })

  it('keeps tags warm that are listed, wherever they move, while no client asks', async () => {
    await start()
    const listed = { images: ['up.example/a/b:1'], platforms: [], intervalMs: 20 }
    const move = (content: string) => there.image('a/b', '1', [randomBytes(200_000), content])
    let image = move('old')
    await bed.restart({ ttlMs: 0, server: { prefetch: listed } })
    for (const next of ['new', 'newest', '']) {
      for (const digest of [image.digest, ...image.layers]) await bed.settled(digest)
      if (next !== '') image = move(next)
    }
    assert.equal(there.count(/^GET .*manifests/), 3)
  })

  it('leaves the cache by least recent use, and comes again when it is wanted', async () => {
    await start()
    await bed.restart({ server: { collect: { cacheLimit: 1_500_000, graceMs: 0 } } })
    const own = await client.image('up.example/a/b', 'own')
    const first = there.image('a/b', '1', [randomBytes(1_000_000)])
    const second = there.image('a/b', '2', [randomBytes(1_000_000)])
    await pull('up.example/a/b', '1')
    await bed.settled(first.layers[0] as string)
    await pull('up.example/a/b', '2')
    await bed.settled(second.layers[0] as string)
    await server.registry.settled()
    const { signal } = new AbortController()
    await server.registry.collect({ dryRun: false, graceMs: 0, signal })
    assert.deepEqual([await bed.has(first.layers[0]), await bed.has(second.layers[0])], [false, true])
    const asked = there.count(/blobs/)
    await pull('up.example/a/b', 'own')
    await pull('up.example/a/b', own.digest)
    assert.equal(there.count(/blobs/), asked)
    await pull('up.example/a/b', '1')
    assert.ok(there.count(/blobs/) > asked)
    assert.equal(there.count(/GET .*manifests/), 2)
  })

  it('keeps nothing that is wrong', async () => {
    await start()
    const image = there.image('a/b', '1', [randomBytes(2_500_000)])
    const layer = image.layers[0] as string
    await get('up.example/a/b/manifests/1')
    there.fault = (req, res) => {
      if (!req.url?.includes('blobs')) return false
      res.writeHead(200, { 'content-length': '2500000' }).end(randomBytes(2_500_000))
      return true
    }
    await assert.rejects(client.call('GET', `/v2/up.example/a/b/blobs/${layer}`))
    assert.equal(await server.store.blobs.stat(layer as never), undefined)
    there.fault = (_, res) => {
      res.writeHead(200, { 'content-type': 'text/html' }).end('<html>')
      return true
    }
    assert.equal((await get('up.example/a/b/manifests/2', 502)).code, 'SOURCE_FAILED')
    there.fault = undefined
    assert.equal(digestOf((await get(`up.example/a/b/blobs/${layer}`)).body), layer)
  })

  it('says what is wrong where there is nothing to serve', async () => {
    await start()
    there.fault = (_, res) => {
      res.writeHead(429, { 'retry-after': '77' }).end()
      return true
    }
    const busy = await get('up.example/a/b/manifests/1', 429)
    assert.equal(busy.code, 'TOOMANYREQUESTS')
    assert.ok(Number(busy.headers['retry-after']) > 70)
    await bed.restart()
    there.fault = () => true
    assert.equal((await get('up.example/a/b/manifests/1', 504)).code, 'SOURCE_TIMEOUT')
  })

  it('of a repository gives nothing of another one', async () => {
    await start()
    const secret = there.image('a/secret', '1', ['a secret'])
    await pull('up.example/a/secret', '1')
    there.fault = (req, res) => {
      if (!req.url?.includes('/a/other/')) return false
      res.writeHead(404).end()
      return true
    }
    await get(`up.example/a/other/blobs/${secret.layers[0]}`, 404)
  })

  it('leaves the local tree out where that is set, and asks nobody while it is offline', async () => {
    await start({ local: false })
    there.image('a/b', '1', ['theirs'])
    await client.image('up.example/a/b', '1', 'ours')
    await pull('up.example/a/b', '1')
    assert.ok(there.count(/manifests/) > 0)
    await bed.restart({ setting: { offline: true }, ttlMs: 0 })
    const asked = there.asked.length
    await get('up.example/a/b/manifests/1')
    await get('up.example/a/b/manifests/2', 502)
    assert.equal(there.asked.length, asked)
  })
})
