/**
 * Peers that hold a tree and misbehave when they are asked for one file of it, in a process of their own:
 *
 *     node bad-peer.ts peers.json
 *
 * The file holds a list of {@link BadPeer}; one line of JSON is printed, a list of {@link Address}es, and then
 * the process serves until it is killed. `GET /stats` on the port that each address names says what it was
 * asked for, {@link Stats}. What it serves it serves with the gateway's own code, so that everything but the
 * misbehaviour is as it should be.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import * as dagPb from '@ipld/dag-pb'
import { CID } from 'multiformats/cid'
import { createTrustlessApp } from '../../../src/http/trustless.ts'
import { readCar } from '../../../src/ipfs/car.ts'
import { createLog } from '../../../src/log.ts'
import { createContent } from '../../../src/registry/content.ts'
import type { Content } from '../../../src/registry/index.ts'
import { rawCid } from '../../../src/store/index.ts'
import { createDirectories } from '../../../src/tree/index.ts'
import { blocksMessage, lengthOf, startBitswapPeer } from '../../support/bitswap-peer.ts'
import { carFrame, carHeader } from '../../support/ipfs-gateway.ts'
import { startNode } from '../../support/ipfs-nodes.ts'
import { startNarrowRelay } from './narrow-relay.ts'

/** How a peer behaves when it is asked for the file. */
export type Behaviour =
  | { kind: 'good' }
  /** A leaf every so many milliseconds. */
  | { kind: 'slow'; ms: number }
  /** Says that it doesn't have it. */
  | { kind: 'lacks' }
  /** Takes the question and never answers. */
  | { kind: 'silent' }
  /** Cuts the connection after so many bytes. */
  | { kind: 'drops'; after: number }
  /** Turns a bit of the leaf with this index. */
  | { kind: 'wrong'; leaf: number }
  /** Sends another block, which is right, in the place of that leaf. */
  | { kind: 'other'; leaf: number }
  /** Ends in order, in the middle of that leaf. */
  | { kind: 'truncated'; leaf: number }
  /** Sends right blocks that nobody wants, for ever, in front of that leaf; over bitswap the leaf before it. */
  | { kind: 'endless'; leaf: number }
  /** Sends right blocks that nobody wants between the leaves, and one after them. */
  | { kind: 'extra' }
  /** Answers a question for a directory with 3 GiB of it; over bitswap with a message of that length. */
  | { kind: 'huge' }
  /** One byte a second. */
  | { kind: 'trickle' }

/** One peer. */
export interface BadPeer {
  /** The file with the CAR of the tree that it holds. */
  car: string
  /** The root of the file that it is bad at. */
  target: string
  transport: 'http' | 'libp2p' | 'bitswap'
  behaviour: Behaviour
}

/** Where a peer listens. */
export interface Address {
  /** For `ipfsnode=`. */
  multiaddr: string
  stats: string
}

/** What became of a peer. */
export interface Stats {
  /** Times that it was asked for the file, or one of its leaves, or what else it is bad at. */
  asked: number
  /** Bytes that it sent for that. */
  sent: number
}

const LEAF = 1024 * 1024
const HUGE = 3 * 1024 ** 3

/** A right block that nobody asked for. */
function stranger(seed: number): { cid: CID; bytes: Buffer } {
  const bytes = Buffer.alloc(LEAF, `nobody wants number ${seed} `)
  return { cid: rawCid(createHash('sha256').update(bytes).digest()), bytes }
}
const strange = (seed: number): Buffer => carFrame(stranger(seed).cid, stranger(seed).bytes)

async function start({ car, target, transport, behaviour }: BadPeer): Promise<Address> {
  const { ipfs, store } = await startNode({ listen: ['/ip4/127.0.0.1/tcp/0'] })
  const stats: Stats = { asked: 0, sent: 0 }
  let pieces: Uint8Array[] = []
  for await (const { cid, data, last } of readCar(chunks(await readFile(car)))) {
    pieces.push(data)
    if (!last) continue
    await store.put(cid, Buffer.concat(pieces))
    pieces = []
  }
  const root = CID.parse(target)
  const leaves = dagPb.decode(store.peek(root)).Links.map(({ Hash }) => Hash)
  const places = new Map(leaves.map((cid, index) => [cid.toString(), index]))
  const find = async (cid: CID): Promise<Uint8Array | undefined> =>
    store.has(cid) ? store.peek(cid) : undefined
  const content = createContent({ find, openFile: async () => undefined }, createDirectories())

  /** What one gets that asks for the file from byte `from` on. */
  async function* badCar(from: number): AsyncGenerator<Uint8Array> {
    yield carHeader(root)
    yield carFrame(root, store.peek(root))
    for (const [index, cid] of [...leaves.entries()].slice(Math.floor(from / LEAF))) {
      const frame = carFrame(cid, store.peek(cid))
      if (behaviour.kind === 'slow') await sleep(behaviour.ms)
      if (behaviour.kind === 'extra') yield strange(index)
      if ('leaf' in behaviour && behaviour.leaf === index) {
        if (behaviour.kind === 'wrong') frame[frame.length - 500] = (frame[frame.length - 500] ?? 0) ^ 1
        if (behaviour.kind === 'endless') for (let i = 0; ; i++) yield strange(i)
        if (behaviour.kind === 'truncated' || behaviour.kind === 'other') {
          yield behaviour.kind === 'other' ? strange(index) : frame.subarray(0, frame.length / 2)
          return
        }
      }
      yield frame
    }
    if (behaviour.kind === 'extra') yield strange(-1)
  }

  async function* counted(from: number): AsyncGenerator<Uint8Array> {
    // one that is asked again, because it had brought something, drops that at once
    let written = stats.asked > 1 && behaviour.kind === 'drops' ? behaviour.after : 0
    for await (const chunk of badCar(from)) {
      if (behaviour.kind === 'trickle') {
        for (const byte of chunk) {
          await sleep(1000)
          stats.sent++
          yield Buffer.from([byte])
        }
      }
      const left = behaviour.kind === 'drops' ? behaviour.after - written : Number.POSITIVE_INFINITY
      written += chunk.length
      stats.sent += Math.min(chunk.length, left)
      yield chunk.subarray(0, left)
      if (chunk.length > left) throw new Error('dropped')
    }
  }

  async function* huge(cid: CID): AsyncGenerator<Uint8Array> {
    yield carHeader(cid)
    yield Buffer.concat([lengthOf(HUGE + cid.bytes.length), cid.bytes])
    yield* zeros()
  }

  async function* zeros(): AsyncGenerator<Uint8Array> {
    for (let sent = 0; sent < HUGE; sent += LEAF) {
      stats.sent += LEAF
      yield Buffer.alloc(LEAF)
    }
  }

  const bad: Content = {
    ...content,
    // what it sends is never as long as what should be there, so that its answers have no Content-Length
    carSize: async () => undefined,
    car(request, signal) {
      const last = request.path.at(-1) as CID
      if (behaviour.kind === 'huge' && request.scope === 'block') {
        stats.asked++
        return huge(last)
      }
      if (!last.equals(root) || request.scope === 'block') return content.car(request, signal)
      stats.asked++
      return behaviour.kind === 'silent' ? never() : counted(request.bytes?.from ?? 0)
    },
    async path(from, names, signal) {
      if (behaviour.kind !== 'lacks' || !from.equals(root)) return content.path(from, names, signal)
      stats.asked++
      return content.path(stranger(0).cid, [])
    }
  }

  const app = createTrustlessApp({ content: bad, log: createLog('silent') })
  const handle = app.callback()
  const serve: RequestListener = (request, answer) => {
    if (request.url === '/stats') answer.end(JSON.stringify(stats))
    else void handle(request, answer)
  }
  const server = createServer(serve)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const stat = `http://127.0.0.1:${port}/stats`
  const own = ipfs.addresses()[0] as string
  if (transport === 'http')
    return { multiaddr: `/ip4/127.0.0.1/tcp/${port}/http/p2p/${ipfs.peerId}`, stats: stat }
  if (transport === 'libp2p') {
    // bitswap runs on the same connection, and isn't to help out
    store.serving = async (cid) => {
      const bad = places.has(cid.toString()) || (behaviour.kind === 'huge' && cid.code === dagPb.code)
      if (bad && behaviour.kind !== 'good') throw Object.assign(new Error('gone'), { name: 'NotFoundError' })
      return undefined
    }
    await ipfs.serveHttp(createServer(serve))
    return { multiaddr: own, stats: stat }
  }

  /** What is sent over bitswap instead of a block, where it isn't a message with that block. */
  async function* misspoken(cid: CID, index: number): AsyncGenerator<Uint8Array> {
    const right = { cid, bytes: store.peek(cid) }
    if (behaviour.kind === 'huge') {
      yield lengthOf(HUGE)
      yield* zeros()
    } else if (behaviour.kind === 'extra') yield blocksMessage([stranger(index), right])
    else if (behaviour.kind === 'truncated') yield blocksMessage([right]).subarray(0, LEAF / 2)
    else {
      const before = leaves[index - 1] as CID
      const again = blocksMessage([{ cid: before, bytes: store.peek(before) }])
      for (;;) {
        stats.sent += again.length
        yield again
      }
    }
  }
  if (['huge', 'extra', 'truncated', 'endless'].includes(behaviour.kind)) {
    const { multiaddr } = await startBitswapPeer({
      find: (cid) => (store.has(cid) ? store.peek(cid) : undefined),
      async *instead(cid) {
        const index = places.get(cid.toString()) ?? -1
        const bad = behaviour.kind === 'huge' ? cid.code === dagPb.code : index >= 0
        if (!store.has(cid) || !bad) return
        stats.asked++
        if (!('leaf' in behaviour) || behaviour.leaf === index) yield* misspoken(cid, index)
      }
    })
    return { multiaddr, stats: stat }
  }

  const narrow = behaviour.kind === 'trickle' ? LEAF / 2 : Number.POSITIVE_INFINITY
  const relay = await startNarrowRelay(Number(/tcp\/(\d+)/.exec(own)?.[1]), narrow)
  store.serving = async (cid) => {
    const index = places.get(cid.toString())
    if (index === undefined) return undefined
    stats.asked++
    const right = store.peek(cid)
    if (behaviour.kind === 'slow') await sleep(behaviour.ms)
    if (behaviour.kind === 'silent') await new Promise(() => {})
    if (behaviour.kind === 'lacks') throw Object.assign(new Error('gone'), { name: 'NotFoundError' })
    if (behaviour.kind === 'drops' && stats.sent + right.length > behaviour.after) relay.cut()
    stats.sent += right.length
    if (!('leaf' in behaviour) || behaviour.leaf !== index) return undefined
    return behaviour.kind === 'wrong' ? Buffer.from(right).fill(7, 500, 600) : stranger(1).bytes
  }
  return { multiaddr: own.replace(/tcp\/\d+/, `tcp/${relay.port}`), stats: stat }
}

async function* never(): AsyncGenerator<Uint8Array> {
  await new Promise(() => {})
  yield Buffer.alloc(0)
}

async function* chunks(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += LEAF) yield bytes.subarray(at, at + LEAF)
}

const peers = JSON.parse(await readFile(process.argv[2] ?? '', 'utf8')) as BadPeer[]
const addresses: Address[] = []
for (const peer of peers) addresses.push(await start(peer))
console.log(JSON.stringify(addresses))
