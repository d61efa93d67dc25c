import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createTrustlessApp } from '../../src/http/trustless.ts'
import { createOffer, createSeats, type Offer, type SeedPolicy } from '../../src/ipfs/index.ts'
import { NO_LIMITS } from '../../src/ipfs/limits.ts'
import { MAPPINGS_PATH, MAX_ASKED } from '../../src/ipfs/mappings.ts'
import { createLog } from '../../src/log.ts'
import { type Digest, digestOf } from '../../src/oci/digest.ts'
import { createContent } from '../../src/registry/content.ts'
import { type BlobInfo, openStore, type Store } from '../../src/store/index.ts'
import { createDirectories } from '../../src/tree/index.ts'
import { seededBytes, tempFolder } from '../support/temp.ts'

const log = createLog('silent')

describe('which blobs peers are told that they can have', () => {
  const temp = tempFolder()
  let store: Store
  let large: BlobInfo
  let small: BlobInfo
  const servers: Server[] = []
  const offers: Offer[] = []

  before(async () => {
    store = await openStore({ folder: temp.path, reserve: 0 })
    large = await put(seededBytes(3 * 1024 * 1024, 1))
    small = await put(seededBytes(10, 2))
  })
  after(async () => {
    for (const server of servers) server.close()
    for (const offer of offers) await offer.stop()
    await store.close()
    await temp.remove()
  })

  async function put(bytes: Uint8Array): Promise<BlobInfo> {
    const writer = store.incoming.create('blob')
    await writer.append(bytes)
    return store.blobs.commit(writer, digestOf(bytes))
  }

  async function serve(policy: SeedPolicy, seats?: number): Promise<(query: string) => Promise<Response>> {
    const offer = createOffer({ policy, store, log })
    offers.push(offer)
    const content = { ...createContent(offer, createDirectories()), mapped: offer.mapped }
    const terms = { up: NO_LIMITS.up, ...(seats !== undefined && { seats: createSeats(seats) }) }
    const handle = createTrustlessApp({ content, log, terms }).callback()
    const server = createServer((request, answer) => void handle(request, answer)).listen(0, '127.0.0.1')
    servers.push(server)
    await new Promise((resolve) => server.once('listening', resolve))
    const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    return (query) => fetch(`${base}${MAPPINGS_PATH}${query}`)
  }

  const entry = ({ digest, cid, size }: BlobInfo) => ({ digest, cid: cid.toString(), size })
  const absent: Digest = `sha256:${'0'.repeat(64)}`

  it('are those that are here, each once', async () => {
    const ask = await serve('all')
    const asked = [large.digest, absent, small.digest, large.digest]
    const answer = await ask(`?digests=${asked.join()}`)
    assert.equal(answer.status, 200)
    assert.match(answer.headers.get('content-type') ?? '', /^application\/json/)
    assert.equal(answer.headers.get('cache-control'), 'no-store')
    assert.deepEqual(await answer.json(), { blobs: [entry(large), entry(small)] })
  })

  it('are those of own trees, or none, where only they are offered', async () => {
    const query = `?digests=${large.digest},${small.digest}`
    const none = { blobs: [] }
    assert.deepEqual(await (await (await serve('none'))(query)).json(), none)
    const ask = await serve('published')
    assert.deepEqual(await (await ask(query)).json(), none)
    offers.at(-1)?.include(large.cid)
    assert.deepEqual(await (await ask(query)).json(), { blobs: [entry(large)] })
  })

  it('are asked for one or more, but not too many, by well-formed digests', async () => {
    const ask = await serve('all')
    const many = Array.from({ length: MAX_ASKED + 1 }, () => absent)
    for (const query of [
      '',
      '?digests=',
      '?digests=,',
      '?digests=sha256:1',
      '?digests=x',
      `?digests=${many.join()}`
    ])
      assert.equal((await ask(query)).status, 400, query)
    assert.deepEqual(await (await ask(`?digests=${many.slice(1).join()}`)).json(), { blobs: [] })
  })

  it('are told to as many at a time as there are seats for', async () => {
    const answer = await (await serve('all', 0))(`?digests=${large.digest}`)
    assert.equal(answer.status, 503)
    assert.ok(Number(answer.headers.get('retry-after')) > 0)
  })
})
