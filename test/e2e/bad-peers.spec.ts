/** Peers that are published and don't do their part: real processes, real sockets, one gateway that copes. */
import assert from 'node:assert/strict'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { useBed } from './support/bed.ts'
import { type Bind, startBind } from './support/bind.ts'
import { type BlobPull, isKept, readBlob } from './support/blob-pull.ts'
import { freePort, waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { available } from './support/process.ts'
import { type Relay, startRelay, startSilentPeer } from './support/relay.ts'
import { randomBytes } from './support/tar.ts'
import { digestOf, refusalOf, repository } from './support/wire.ts'

const MB = 1e6
const SIZE = 16 * MB

describe('a peer that', function () {
  this.timeout(60_000)
  const { keep, folder, gateway } = useBed('peersbad')
  /** Short deadlines; the client itself would wait much longer. */
  const env = {
    SEAWAY_DIAL_TIMEOUT: '1s',
    SEAWAY_BLOCK_TIMEOUT: '1s',
    SEAWAY_IDLE_TIMEOUT: '3s',
    SEAWAY_PULL_TIMEOUT: '6s'
  }
  const patience = (): AbortSignal => AbortSignal.timeout(40_000)
  const bytes = Buffer.concat([...randomBytes(SIZE, 'layer')])
  let digest: string
  let bind: Bind
  let root: string
  let publishers = 0

  before(async function () {
    if (!available('named', 'dig', 'nsupdate', 'tsig-keygen')) this.skip()
    bind = keep(await startBind({ dir: folder('named'), zones: { 'ships.example': [] } }))
    digest = await digestOf(bytes)
  })

  /** A gateway that holds the image; all of them have the same root. */
  async function publisher(): Promise<SeawayGateway> {
    const one = await gateway(`p${++publishers}`, { dns: bind.server, env: { SEAWAY_PUSH_BASE: 'empty' } })
    await repository(one.url, 'ships.example/app').putImage('1', bytes)
    root = await one.root('ships.example')
    return one
  }
  const publish = (peers: readonly string[]): Promise<void> =>
    bind.setTxt('ships.example', {
      _dnslink: `dnslink=/ipfs/${root}`,
      '@': `ipfsnode=${JSON.stringify(peers)}`
    })
  const consumer = (name: string): Promise<SeawayGateway> => gateway(name, { dns: bind.server, env })
  const image = (from: SeawayGateway): ReturnType<typeof repository> =>
    repository(from.url, 'ships.example/app')

  const readLayer = async (from: SeawayGateway): Promise<BlobPull> =>
    readBlob(await image(from).getBlob(digest, { signal: patience() }), bytes)
  /** All of it came. */
  const WHOLE: BlobPull = { whole: true, right: true, status: 200, size: SIZE, message: '' }

  it('refuses: 502 with its address', async () => {
    await publisher()
    const nobody = `/ip4/127.0.0.1/tcp/${await freePort()}`
    await publish([nobody])
    const refused = await refusalOf(await image(await consumer('refused')).getManifest('1', patience()))
    assert.deepEqual([refused.status, refused.code], [502, 'SOURCE_FAILED'])
    assert.ok(refused.message.includes(nobody), refused.message)
  })

  it('accepts and says nothing: 504 within the deadline, with its address', async () => {
    const silent = keep(await startSilentPeer())
    await publish([silent.multiaddr])
    const hung = await refusalOf(await image(await consumer('hung')).getManifest('1', patience()))
    assert.deepEqual([hung.status, hung.code], [504, 'SOURCE_TIMEOUT'])
    assert.ok(hung.message.includes(silent.multiaddr), hung.message)
  })

  it('refuses or hangs beside one that answers costs nothing but time', async () => {
    const silent = keep(await startSilentPeer())
    const good = await publisher()
    await publish([
      `/ip4/127.0.0.1/tcp/${await freePort()}`,
      silent.multiaddr,
      'not even a multiaddr',
      ...good.peers
    ])
    const through = await consumer('beside')
    assert.equal((await image(through).readImage('1')).at(-1), digest)
  })

  describe('is killed in mid-layer', () => {
    /** A peer behind a slow link, so that there is a middle. */
    async function slow(): Promise<{ peer: SeawayGateway; relay: Relay }> {
      const peer = await publisher()
      return { peer, relay: keep(await startRelay(peer.peers[0] ?? '', { limit: 12 * MB })) }
    }

    it('gives way to another one, and the client does not notice', async () => {
      const both = [await slow(), await slow()]
      await publish(both.map(({ relay }) => relay.multiaddr))
      const through = await consumer('heir')
      const reading = readLayer(through)
      let doomed = both[0]
      await waitFor('a middle', async () => {
        doomed = both.find(({ relay }) => relay.passed > SIZE / 4)
        return doomed !== undefined
      })
      await doomed?.peer.kill()
      assert.deepEqual(await reading, WHOLE)
      assert.equal(await image(through).blobDigest(digest), digest)
    })

    it('and was the only one: the answer breaks off, nothing is kept, the next try resumes', async () => {
      const { peer, relay } = await slow()
      await publish([relay.multiaddr])
      const through = await consumer('orphan')
      const reading = readLayer(through)
      await waitFor('a middle', async () => relay.passed > SIZE / 2)
      await peer.kill()
      const broken = await reading
      assert.deepEqual([broken.whole, broken.right], [false, true])
      assert.ok(broken.size < SIZE)
      assert.equal(await isKept(through, digest), false)
      const refused = await refusalOf(await image(through).getBlob(digest, { signal: patience() }))
      assert.ok([502, 504].includes(refused.status), `${refused.status} ${refused.message}`)
      assert.ok(refused.message.length > 20, refused.message)

      const again = await slow()
      await publish([again.relay.multiaddr])
      await waitFor('the layer to come', async () => (await readLayer(through)).whole, { deadline: 40_000 })
      assert.equal(await image(through).blobDigest(digest), digest)
      assert.ok(again.relay.passed < 0.8 * SIZE, `${again.relay.passed} bytes came again`)
    })
  })

  it('hangs in mid-layer: the answer breaks off at the deadline, and nothing is kept', async () => {
    const peer = await publisher()
    const relay = keep(await startRelay(peer.peers[0] ?? '', { hangAfter: SIZE / 2 }))
    await publish([relay.multiaddr])
    const through = await consumer('halfway')
    assert.equal((await readLayer(through)).whole, false)
    assert.equal(await isKept(through, digest), false)
  })

  describe('sends a wrong block', () => {
    /** Turns one bit in the middle of the layer's file, which the peer serves without looking. */
    async function tampered(): Promise<SeawayGateway> {
      const peer = await publisher()
      const hex = digest.replace('sha256:', '')
      const file = await open(join(peer.data, 'blobs', hex.slice(0, 2), hex), 'r+')
      await file.write(Buffer.from([(bytes[SIZE / 2] ?? 0) ^ 1]), 0, 1, SIZE / 2)
      await file.close()
      return peer
    }

    it('and is the only one: the answer breaks off before it, nothing is kept, the log names the peer', async () => {
      const peer = await tampered()
      await publish(peer.peers)
      const through = await consumer('cheated')
      const broken = await readLayer(through)
      assert.equal(broken.whole, false)
      assert.ok(broken.size <= SIZE / 2, `${broken.size} bytes were passed on`)
      assert.equal(await isKept(through, digest), false)
      const id = peer.peers[0]?.split('/p2p/')[1] ?? ''
      assert.ok((await through.logged()).some((line) => JSON.stringify(line).includes(id)))
    })

    it('gives way to one that sends the right one', async () => {
      await publish([...(await tampered()).peers, ...(await publisher()).peers])
      const through = await consumer('careful')
      assert.deepEqual(await readLayer(through), WHOLE)
      assert.equal(await image(through).blobDigest(digest), digest)
    })
  })
})
