import assert from 'node:assert/strict'
import { createServer, get, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createTrustlessApp, type PeerTerms } from '../../src/http/trustless.ts'
import { createLimiter, createOffer, createSeats, type SeedPolicy } from '../../src/ipfs/index.ts'
import { createLog } from '../../src/log.ts'
import { digestOf } from '../../src/oci/digest.ts'
import { createContent } from '../../src/registry/content.ts'
import { type BlobInfo, openStore, type Store } from '../../src/store/index.ts'
import { createDirectories } from '../../src/tree/index.ts'
import { seededBytes, tempFolder } from '../support/temp.ts'

const MiB = 1024 * 1024
const log = createLog('silent')

describe('the terms on which peers are served', () => {
  const temp = tempFolder()
  const bytes = seededBytes(3 * MiB, 1)
  const servers: Server[] = []
  let store: Store
  let blob: BlobInfo

  before(async () => {
    store = await openStore({ folder: temp.path, reserve: 0 })
    const writer = store.incoming.create('blob')
    await writer.append(bytes)
    blob = await store.blobs.commit(writer, digestOf(bytes))
  })
  afterEach(() => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections()
      server.close()
    }
  })
  after(async () => {
    await store.close()
    await temp.remove()
  })

  /** The address of the blob at a gateway that serves on these terms. */
  async function serve(
    terms: Partial<PeerTerms>,
    policy: SeedPolicy = 'all',
    fetch?: Parameters<typeof createContent>[3]
  ): Promise<string> {
    const offer = createOffer({ policy, store, log })
    const content = createContent(offer, createDirectories(), undefined, fetch)
    const app = createTrustlessApp({ content, log, terms: { up: createLimiter(undefined), ...terms } })
    const handle = app.callback()
    const server = createServer((request, answer) => void handle(request, answer))
    servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/ipfs/${blob.cid}`
  }
  const car = async (url: string) => (await (await fetch(`${url}?format=car`)).arrayBuffer()).byteLength

  it('one who finds no seat is told when to come back, and finds one when another has left', async () => {
    const url = await serve({ seats: createSeats(1) })
    const held = await new Promise<IncomingMessage>((resolve, reject) => {
      get(`${url}?format=car`, resolve).on('error', reject)
    })
    held.pause()
    const refused = await fetch(`${url}?format=raw`)
    assert.equal(refused.status, 503)
    assert.equal(refused.headers.get('retry-after'), '1')
    assert.match(await refused.text(), /UNAVAILABLE.*come back/)
    held.destroy()
    // the server hears of that a moment later
    let status = 503
    for (let i = 0; i < 500 && status === 503; i++) {
      const answer = await fetch(`${url}?format=raw`)
      await answer.arrayBuffer()
      status = answer.status
    }
    assert.equal(status, 200)
    assert.ok((await car(url)) > bytes.length)
  })

  it('one address never has all the seats', async () => {
    const url = await serve({ seats: createSeats(3) })
    const from = (localAddress: string) =>
      new Promise<IncomingMessage>((resolve, reject) => {
        get(`${url}?format=car`, { localAddress, agent: false }, resolve).on('error', reject)
      })
    for (const status of [200, 200, 503]) {
      const answer = await from('127.0.0.1')
      answer.pause()
      assert.equal(answer.statusCode, status)
    }
    assert.equal((await from('127.0.0.2')).statusCode, 200)
  })

  it('all who are served share one rate', async () => {
    const url = await serve({ up: createLimiter(4_000_000) })
    const begun = performance.now()
    const sizes = await Promise.all([car(url), car(url)])
    const ms = performance.now() - begun
    assert.ok(sizes.every((size) => size > bytes.length))
    // a burst, and a piece on credit for each
    assert.ok(ms >= ((2 * bytes.length - 400_000 - 2 * MiB) / 4_000_000) * 1000, `${ms}`)
  })

  it("nothing is given away with 'none', nor what isn't of our own trees with 'published'", async () => {
    for (const policy of ['none', 'published'] as const) {
      const answer = await fetch(`${await serve({}, policy)}?format=car`)
      assert.equal(answer.status, 404)
      assert.match(await answer.text(), /is not in this gateway's store/)
    }
  })

  it('what is not here is fetched where that is allowed, and asked for; else it is 404 or 412', async () => {
    const asked = new Set<string>()
    const fetchBlock: Parameters<typeof createContent>[3] = async (cid) => {
      asked.add(cid.toString())
      const found = await store.blocks.find(cid)
      assert.ok(found)
      return found
    }
    // a store from which nothing is offered stands for one in which nothing is
    const open = await serve({ fetchMs: 5000 }, 'none', fetchBlock)
    const cached = await fetch(`${open}?format=car`, { headers: { 'cache-control': 'only-if-cached' } })
    assert.equal(cached.status, 412)
    assert.equal(asked.size, 0)
    assert.ok((await car(open)) > bytes.length)
    assert.ok(asked.has(blob.cid.toString()))
    const closed = await serve({}, 'none', fetchBlock)
    assert.equal((await fetch(`${closed}?format=car`)).status, 404)
  })
})
