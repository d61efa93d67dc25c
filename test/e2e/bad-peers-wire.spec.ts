/**
 * Peers that take a question and answer it badly, over each way in which peers are asked: plain HTTP, HTTP over
 * a libp2p stream, bitswap. All of them run in a second process; one gateway copes with each, alone and with a
 * good peer beside it.
 */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { type BadPeer, type BadPeers, type Behaviour, startBadPeers } from './support/bad-peers.ts'
import { useBed } from './support/bed.ts'
import { type Bind, startBind } from './support/bind.ts'
import { type BlobPull, isKept, readBlob } from './support/blob-pull.ts'
import { freePort, waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { available } from './support/process.ts'
import { randomBytes } from './support/tar.ts'
import { digestOf, repository } from './support/wire.ts'

const MiB = 1024 * 1024
/** Seven leaves, the last one short. */
const SIZE = 6 * MiB + 1000
const ZONE = 'ships.example'

type Transport = BadPeer['transport']
const TRANSPORTS: Transport[] = ['http', 'libp2p', 'bitswap']

/** What a peer does over each transport. */
const KINDS: { what: string; behaviour: Behaviour }[] = [
  { what: 'does not have it', behaviour: { kind: 'lacks' } },
  { what: 'takes the question and says nothing', behaviour: { kind: 'silent' } },
  // somewhere in the third leaf; the same place in every run
  { what: 'drops the connection in mid-leaf', behaviour: { kind: 'drops', after: 2_718_281 } },
  { what: 'drops it within the first bytes', behaviour: { kind: 'drops', after: 31 } },
  { what: 'sends a wrong block', behaviour: { kind: 'wrong', leaf: 3 } },
  { what: 'sends a wrong last block', behaviour: { kind: 'wrong', leaf: 6 } },
  { what: 'sends a right block for another CID', behaviour: { kind: 'other', leaf: 3 } },
  { what: 'sends a truncated CAR, or message', behaviour: { kind: 'truncated', leaf: 3 } },
  { what: 'sends an endless CAR, or messages without end', behaviour: { kind: 'endless', leaf: 3 } },
  { what: 'sends extra blocks', behaviour: { kind: 'extra' } },
  { what: "sends a 'directory' of 3 GiB", behaviour: { kind: 'huge' } },
  { what: 'answers 1 byte a second', behaviour: { kind: 'trickle' } }
]

interface Case extends BadPeer {
  name: string
  title: string
  bytes: Buffer
  digest: string
  root: string
}

describe('a peer that answers badly', function () {
  this.timeout(120_000)
  const { keep, folder, gateway } = useBed('badwire')
  const env = {
    SEAWAY_DIAL_TIMEOUT: '2s',
    SEAWAY_BLOCK_TIMEOUT: '2s',
    SEAWAY_IDLE_TIMEOUT: '4s',
    SEAWAY_PULL_TIMEOUT: '8s'
  }
  /** What a client waits at most: the deadlines of all that may be tried, and a slow machine's share. */
  const patience = (): AbortSignal => AbortSignal.timeout(45_000)
  let bind: Bind
  let publisher: SeawayGateway
  let bad: BadPeers
  let good: BadPeers
  const cases: Case[] = KINDS.flatMap(({ what, behaviour }, i) =>
    TRANSPORTS.map((transport) => ({
      name: `c${i}-${transport}`,
      title: `${what}, over ${transport}`,
      transport,
      behaviour,
      bytes: Buffer.alloc(0),
      digest: '',
      root: '',
      car: '',
      target: ''
    }))
  )
  const domain = ({ name }: Case): string => `${name}.${ZONE}`

  /** Pushes a case's image to the publisher, and keeps its tree as a CAR. */
  async function push(one: Case): Promise<void> {
    one.bytes = Buffer.concat([...randomBytes(SIZE, one.name)])
    one.digest = await digestOf(one.bytes)
    await repository(publisher.url, `${domain(one)}/app`).putImage('1', one.bytes)
    one.root = await publisher.root(domain(one))
    const hex = one.digest.replace('sha256:', '')
    const path = `docker/registry/v2/blobs/sha256/${hex.slice(0, 2)}/${hex}/data`
    const found = await fetch(`${publisher.url}/ipfs/${one.root}/${path}?format=raw`, { method: 'HEAD' })
    one.target = found.headers.get('x-ipfs-roots')?.split(',').at(-1) ?? ''
    const car = await fetch(`${publisher.url}/ipfs/${one.root}?format=car`)
    one.car = folder(`${one.name}.car`)
    await writeFile(one.car, Buffer.from(await car.arrayBuffer()))
  }

  /** Publishes cases, `peers` saying who has each. */
  async function publish(of: readonly Case[], peers: (one: Case) => string[]): Promise<void> {
    const records = of.flatMap((one): [string, string][] => [
      [`_dnslink.${one.name}`, `dnslink=/ipfs/${one.root}`],
      [one.name, `ipfsnode=${JSON.stringify(peers(one))}`]
    ])
    await bind.setTxt(ZONE, Object.fromEntries(records))
  }
  type Peer = BadPeers['peers'][number]
  const badOf = (one: Case): Peer => bad.peers[cases.indexOf(one)] as Peer
  const goodOf = (one: Case): Peer => good.peers[cases.indexOf(one)] as Peer

  before(async function () {
    this.timeout(300_000)
    if (!available('named', 'dig', 'nsupdate', 'tsig-keygen')) this.skip()
    bind = keep(await startBind({ dir: folder('named'), zones: { [ZONE]: [] } }))
    const seed = `127.0.0.1:${await freePort()}`
    publisher = await gateway('publisher', { env: { SEAWAY_PUSH_BASE: 'empty', SEAWAY_SEED_LISTEN: seed } })
    for (const one of cases) await push(one)
    const well: Behaviour = { kind: 'good' }
    bad = keep(await startBadPeers(folder('bad'), cases))
    good = keep(
      await startBadPeers(
        folder('good'),
        cases.map((one) => ({ ...one, behaviour: well }))
      )
    )
  })

  /** Pulls a case as a client does: the manifest, then the layer. */
  async function pull(through: SeawayGateway, one: Case): Promise<BlobPull> {
    const image = repository(through.url, `${domain(one)}/app`)
    const manifest = await image.getManifest('1', patience())
    if (!manifest.ok) return readBlob(manifest, one.bytes)
    await manifest.arrayBuffer()
    return readBlob(await image.getBlob(one.digest, { signal: patience() }), one.bytes)
  }

  describe('and is the only one: an error within the deadline, and nothing is kept', () => {
    let through: SeawayGateway

    before(async () => {
      await publish(cases, (one) => [badOf(one).multiaddr])
      through = await gateway('alone', { dns: bind.server, env })
    })

    for (const one of cases) {
      it(one.title, async () => {
        const came = await pull(through, one)
        const stats = await badOf(one).stats()
        assert.ok(stats.asked > 0, 'it was asked')
        assert.ok(came.right, 'only what is right was passed on')
        assert.equal(came.whole, false, JSON.stringify(came))
        assert.equal(await isKept(through, one.digest), false)
        if (came.status !== 200) {
          assert.ok([502, 504].includes(came.status), `${came.status} ${came.message}`)
          assert.ok(came.message.length > 20, came.message)
        }
        const { behaviour } = one
        if (behaviour.kind === 'wrong') assert.ok(came.size <= behaviour.leaf * MiB, `${came.size} bytes`)
        if (behaviour.kind === 'huge' || behaviour.kind === 'endless')
          assert.ok(stats.sent < 200 * MiB, `${stats.sent} bytes were read of it`)
      })
    }

    it('one that lies is named in the log', async () => {
      const log = JSON.stringify(await through.logged())
      for (const liar of cases.filter(({ behaviour }) => behaviour.kind === 'wrong'))
        assert.ok(log.includes(badOf(liar).multiaddr.split('/p2p/')[1] ?? '?'), liar.title)
    })

    it('memory has stayed what it was', async () => {
      const peak = await through.peakMemory()
      assert.ok(peak < 400 * MiB, `${Math.round(peak / MiB)} MiB`)
    })
  })

  describe('beside a good one that speaks the same: the client sees one whole and right download', () => {
    let through: SeawayGateway
    /** How many of the bad ones were asked: whoever is connected first goes first. */
    let asked = 0

    before(async () => {
      await publish(cases, (one) => [badOf(one).multiaddr, goodOf(one).multiaddr])
      through = await gateway('beside', { dns: bind.server, env })
    })

    for (const one of cases) {
      it(one.title, async () => {
        const before = (await badOf(one).stats()).asked
        const came = await pull(through, one)
        assert.ok(came.whole && came.right, JSON.stringify(came))
        if ((await badOf(one).stats()).asked > before) asked++
        else assert.notEqual(one.transport, 'http', 'it was asked')
        // the last byte goes out before all of them are synced
        await waitFor('the layer to be kept', () => isKept(through, one.digest))
      })
    }

    it('and many of them had been asked', () => {
      console.log(`      ${asked} of ${cases.length}`)
      assert.ok(asked >= cases.length / 2, `only ${asked}`)
    })
  })

  describe('is killed in mid-layer', () => {
    /** A case of that transport, to be served slowly: any will do. */
    const some = (transport: Transport): Case => cases.find((one) => one.transport === transport) as Case
    const peers = async (name: string, one: Case, behaviour: Behaviour): Promise<BadPeers> =>
      keep(await startBadPeers(folder(name), [{ ...one, behaviour }]))
    const slow: Behaviour = { kind: 'slow', ms: 200 }
    const middle = (of: BadPeers): Promise<void> =>
      waitFor('a middle', async () => ((await of.peers[0]?.stats())?.sent ?? 0) > 3 * MiB)
    const addresses = (...of: BadPeers[]): string[] =>
      of.flatMap((each) => each.peers.map((p) => p.multiaddr))

    for (const transport of TRANSPORTS) {
      it(`and another is alive: one uninterrupted, right download, over ${transport}`, async () => {
        const one = some(transport)
        const doomed = await peers(`doomed-${transport}`, one, slow)
        const heir = await peers(`heir-${transport}`, one, { kind: 'good' })
        await publish([one], () => addresses(doomed, heir))
        const through = await gateway(`killed-${transport}`, { dns: bind.server, env })
        const pulling = pull(through, one)
        await middle(doomed)
        doomed.daemon.kill('SIGKILL')
        const came = await pulling
        assert.ok(came.whole && came.right, JSON.stringify(came))
      })

      it(`and none is: an error, nothing unverified is kept, the next try resumes, over ${transport}`, async () => {
        const one = some(transport)
        const doomed = await peers(`lone-${transport}`, one, slow)
        const through = await gateway(`orphan-${transport}`, { dns: bind.server, env })
        await publish([one], () => addresses(doomed))
        const pulling = pull(through, one)
        await middle(doomed)
        doomed.daemon.kill('SIGKILL')
        const broken = await pulling
        assert.equal(broken.whole, false)
        assert.ok(broken.right)
        assert.equal(await isKept(through, one.digest), false)

        const next = await peers(`next-${transport}`, one, { kind: 'good' })
        await publish([one], () => addresses(next))
        let came = broken
        const arrives = async (): Promise<boolean> => (came = await pull(through, one)).whole
        await waitFor('the layer to come', arrives, { deadline: 60_000 })
        assert.ok(came.right)
        // the last byte goes out before all of them are synced
        await waitFor('the layer to be kept', () => isKept(through, one.digest))
        const again = (await next.peers[0]?.stats())?.sent ?? SIZE
        assert.ok(again > 0 && again <= SIZE - 2 * MiB, `${again} of ${SIZE} bytes came again`)
      })
    }
  })
})
