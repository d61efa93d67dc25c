/** What peers get from a gateway, how fast, and how many of them: policy and limits, over every way they have. */
import assert from 'node:assert/strict'
import { get, type IncomingMessage } from 'node:http'
import { startNode, stopNodes } from '../support/ipfs-nodes.ts'
import { useBed } from './support/bed.ts'
import { waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Kubo, startKubo } from './support/kubo.ts'
import { available } from './support/process.ts'
import { randomBytes } from './support/tar.ts'
import { refusalOf, repository } from './support/wire.ts'

const MB = 1_000_000
const SIZE = 8 * MB
/** Bytes a second, and what may come on top of that before it counts: a burst, and what is on its way. */
const RATE = 4 * MB
const SLACK = 3 * MB
const LEAST_MS = ((SIZE - SLACK) / RATE) * 1000

describe('seeding', function () {
  this.timeout(180_000)
  const { folder, keep, gateway } = useBed('seeding')
  const layer = Buffer.concat([...randomBytes(SIZE, 'seeding')])
  let publisher: SeawayGateway
  let root: string
  let digest: string
  let kubo: Kubo

  const pathOf = (of: string, blob: string): string =>
    `/ipfs/${of}/docker/registry/v2/blobs/sha256/${blob.slice(7, 9)}/${blob.slice(7)}/data`
  const raw = (
    through: SeawayGateway,
    path: string,
    headers: Record<string, string> = {}
  ): Promise<Response> => fetch(`${through.url}${path}?format=raw`, { headers })
  /** Reads a whole answer, and says how long that took. */
  async function timed(url: string): Promise<{ bytes: number; ms: number }> {
    const begun = performance.now()
    const answer = await fetch(url)
    assert.equal(answer.status, 200)
    const bytes = (await answer.arrayBuffer()).byteLength
    return { bytes, ms: performance.now() - begun }
  }
  const pull = (through: SeawayGateway): Promise<string> =>
    repository(through.url, `ipfs/${root}/app`).blobDigest(digest)
  async function restart(env: Record<string, string>): Promise<void> {
    await publisher.stop()
    publisher = await gateway('publisher', { env })
  }
  /** An empty gateway that asks the publisher, at some of its addresses. */
  let pullers = 0
  const puller = (env: Record<string, string> = {}, peers = publisher.peers): Promise<SeawayGateway> =>
    gateway(`puller${pullers++}`, { env: { SEAWAY_PEERS: peers.join(','), ...env } })

  before(async function () {
    if (!available('ipfs')) this.skip()
    kubo = keep(await startKubo({ dir: folder('kubo') }))
    publisher = await gateway('publisher', { env: {} })
    const made = await repository(publisher.url, 'ships.example/app').putImage('1', layer)
    digest = made.layer
    root = await publisher.root('ships.example')
  })
  afterEach(stopNodes)

  describe('the policy', () => {
    /** A gateway that has pulled the image and has pushed another one, with that policy. */
    async function both(seed: string): Promise<{ own: SeawayGateway; ownRoot: string; ownBlob: string }> {
      const own = await puller({ SEAWAY_SEED: seed })
      assert.equal(await pull(own), digest)
      const pushed = await repository(own.url, 'own.example/app').putImage('1', Buffer.from('of its own'))
      return { own, ownRoot: await own.root('own.example'), ownBlob: pushed.layer }
    }
    /** What Kubo gets of it over bitswap. */
    async function overBitswap(from: SeawayGateway, cid: string): Promise<boolean> {
      await kubo.ipfs(['swarm', 'connect', from.peers[0] as string])
      const got = await kubo.ipfs(['block', 'get', cid, '--timeout=3s'], { allowFailure: true })
      await kubo.ipfs(['block', 'rm', '--force', cid], { allowFailure: true })
      await kubo.ipfs(['swarm', 'disconnect', from.peers[0] as string], { allowFailure: true })
      return got.status === 0
    }
    /** What another gateway gets of it over libp2p streams or bitswap. */
    async function overStreams(from: SeawayGateway, of: string): Promise<boolean> {
      const other = await puller({}, from.peers)
      const status = (await repository(other.url, `ipfs/${of}/app`).getManifest('1')).status
      await other.stop()
      return status === 200
    }

    for (const { seed, pulled, pushed } of [
      { seed: 'all', pulled: true, pushed: true },
      { seed: 'published', pulled: false, pushed: true },
      { seed: 'none', pulled: false, pushed: false }
    ]) {
      it(`'${seed}' gives ${pulled ? '' : 'not '}what was pulled, and ${pushed ? '' : 'not '}what was pushed`, async () => {
        const { own, ownRoot, ownBlob } = await both(seed)
        const status = (given: boolean): number => (given ? 200 : 404)
        assert.equal((await raw(own, `/ipfs/${root}`)).status, status(pulled))
        assert.equal((await raw(own, pathOf(root, digest))).status, status(pulled))
        assert.equal((await raw(own, `/ipfs/${ownRoot}`)).status, status(pushed))
        assert.equal((await raw(own, pathOf(ownRoot, ownBlob))).status, status(pushed))
        assert.equal(await overBitswap(own, root), pulled)
        assert.equal(await overBitswap(own, ownRoot), pushed)
        // docker clients are no peers
        assert.equal(await pull(own), digest)
        assert.equal(await overStreams(own, ownRoot), pushed)
        await own.stop()
      })
    }

    it("'published' still holds after a restart", async () => {
      const { own, ownRoot } = await both('published')
      await own.stop()
      const again = await gateway(`puller${pullers - 1}`, { env: { SEAWAY_SEED: 'published' } })
      assert.equal((await raw(again, `/ipfs/${ownRoot}`)).status, 200)
      assert.equal((await raw(again, `/ipfs/${root}`)).status, 404)
      await again.stop()
    })
  })

  describe('rates', () => {
    it('holds all that goes up to the limit, over HTTP, streams and bitswap, one sum for all', async () => {
      await restart({ SEAWAY_UPLOAD_LIMIT: '4MB' })
      const car = `${publisher.url}${pathOf(root, digest)}?format=car`
      const alone = await timed(car)
      assert.ok(alone.bytes > SIZE)
      assert.ok(alone.ms >= LEAST_MS, `${SIZE} bytes in ${alone.ms} ms`)

      const begun = performance.now()
      const two = await Promise.all([timed(car), puller().then(pull)])
      assert.equal(two[1], digest)
      const ms = performance.now() - begun
      assert.ok(ms >= ((2 * SIZE - SLACK) / RATE) * 1000, `twice ${SIZE} bytes in ${ms} ms`)

      const started = performance.now()
      await kubo.ipfs(['swarm', 'connect', publisher.peers[0] as string])
      await kubo.ipfs(['pin', 'add', '--recursive', `/ipfs/${root}`])
      const took = performance.now() - started
      assert.ok(took >= LEAST_MS, `${SIZE} bytes over bitswap in ${took} ms`)
    })

    it('does not hold up docker clients', async () => {
      await restart({ SEAWAY_UPLOAD_LIMIT: '64KiB' })
      // at the limit it would take two minutes
      const signal = AbortSignal.timeout(45_000)
      const blob = repository(publisher.url, 'ships.example/app').getBlob(digest, { signal })
      assert.equal((await (await blob).arrayBuffer()).byteLength, SIZE)
      await restart({})
    })

    it('holds what comes down to the limit, over HTTP, streams and bitswap', async () => {
      const http = `/ip4/127.0.0.1/tcp/${new URL(publisher.url).port}/http/p2p/${publisher.peers[0]?.split('/p2p/')[1]}`
      for (const peers of [publisher.peers, [http], [kubo.multiaddr]]) {
        const through = await puller({ SEAWAY_DOWNLOAD_LIMIT: '4MB' }, peers)
        const begun = performance.now()
        assert.equal(await pull(through), digest)
        const ms = performance.now() - begun
        assert.ok(ms >= LEAST_MS, `${SIZE} bytes from ${peers[0]} in ${ms} ms`)
        await through.stop()
      }
    })
  })

  describe('numbers', () => {
    const settings: [name: string, env: Record<string, string>][] = [
      ['from one address', { SEAWAY_MAX_PEERS_PER_ADDRESS: '2' }]
    ]
    for (const [name, env] of settings) {
      it(`refuses connections beyond those that peers may have ${name}`, async () => {
        await restart(env)
        const connect = async () =>
          (await startNode()).ipfs.connect(publisher.peers, { signal: AbortSignal.timeout(20_000) })
        assert.equal((await connect()).length, 1)
        assert.equal((await connect()).length, 1)
        // what is refused is closed by the other side after it was accepted by the system
        await assert.rejects(async () => {
          const { ipfs } = await startNode()
          const [peer] = await ipfs.connect(publisher.peers, { signal: AbortSignal.timeout(20_000) })
          assert.ok(peer)
          await ipfs.block((await import('multiformats/cid')).CID.parse(root), {
            peers: [peer],
            signal: AbortSignal.timeout(20_000)
          })
        })
        await restart({})
      })
    }

    it('tells peers beyond those that are served at a time to come back, and ours do', async () => {
      await restart({ SEAWAY_MAX_PEER_REQUESTS: '1', SEAWAY_LOG_LEVEL: 'info' })
      const http = `/ip4/127.0.0.1/tcp/${new URL(publisher.url).port}/http/p2p/${publisher.peers[0]?.split('/p2p/')[1]}`
      const through = await puller({}, [http])
      // the way to the blob is looked up before anybody is in the way
      const blob = `${through.url}/v2/ipfs/${root}/app/blobs/${digest}`
      assert.equal((await fetch(blob, { method: 'HEAD' })).status, 200)

      // more than the system takes off the gateway's hands for a reader that doesn't read
      const heavy = Buffer.concat([...randomBytes(64 * MB, 'heavy')])
      await repository(publisher.url, 'heavy.example/app').putImage('1', heavy)
      const heavyRoot = await publisher.root('heavy.example')
      const held = await new Promise<IncomingMessage>((resolve, reject) => {
        get(`${publisher.url}/ipfs/${heavyRoot}?format=car`, resolve).on('error', reject)
      })
      held.pause()
      const refused = await raw(publisher, `/ipfs/${root}`)
      assert.equal(refused.status, 503)
      assert.equal(refused.headers.get('retry-after'), '1')
      assert.equal((await refusalOf(await raw(publisher, `/ipfs/${root}`))).code, 'UNAVAILABLE')

      const pulled = pull(through)
      const cars = async () =>
        (await publisher.logged())
          .filter(({ url }) => /dag-scope=entity/.test(String(url)))
          .map(({ status }) => status)
      await waitFor('the puller to be told to come back', async () => (await cars()).includes(503))
      held.destroy()
      assert.equal(await pulled, digest)
      assert.equal((await cars()).at(-1), 200)
      await restart({})
    })
  })

  describe('fetching for others', () => {
    it('does not happen, unless the operator says so', async () => {
      const closed = await puller()
      assert.equal((await raw(closed, pathOf(root, digest))).status, 404)
      await closed.stop()
      const open = await puller({ SEAWAY_GATEWAY_FETCH: 'yes' })
      const cached = await raw(open, `/ipfs/${root}`, { 'cache-control': 'only-if-cached' })
      assert.equal(cached.status, 412)
      const { bytes } = await timed(`${open.url}${pathOf(root, digest)}?format=car`)
      assert.ok(bytes > SIZE)
      // it was passed on, and not kept
      assert.equal((await raw(open, pathOf(root, digest), { 'cache-control': 'only-if-cached' })).status, 412)
      await open.stop()
    })

    it('says that it knows no record of a name', async () => {
      const answer = await fetch(
        `${publisher.url}/ipns/k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8?format=ipns-record`
      )
      const { code, message } = await refusalOf(answer)
      assert.equal(answer.status, 404)
      assert.equal(code, 'BLOB_UNKNOWN')
      assert.match(message, /no record/)
    })
  })
})
