import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createServer, get, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { importer } from 'ipfs-unixfs-importer'
import { CID } from 'multiformats/cid'
import { createTrustlessApp } from '../../src/http/trustless.ts'
import { readCar } from '../../src/ipfs/car.ts'
import { createLog } from '../../src/log.ts'
import { digestOf } from '../../src/oci/digest.ts'
import { createContent } from '../../src/registry/content.ts'
import { type BlobInfo, openStore, rawCid, type Store } from '../../src/store/index.ts'
import { createDirectories } from '../../src/tree/index.ts'
import { seededBytes, tempFolder } from '../support/temp.ts'

const MiB = 1024 * 1024
const CAR = 'application/vnd.ipld.car'

/** @see https://specs.ipfs.tech/http-gateways/trustless-gateway/ */
describe('the trustless gateway', () => {
  const temp = tempFolder()
  const bytes = seededBytes(5 * MiB + 77, 1)
  let store: Store
  let server: Server
  let base: string
  let blob: BlobInfo
  let small: CID
  let tree: CID

  before(async () => {
    store = await openStore({ folder: temp.path, reserve: 0 })
    const writer = store.incoming.create('blob')
    await writer.append(bytes)
    blob = await store.blobs.commit(writer, digestOf(bytes))
    small =
      (await store.blocks.commit([{ cid: rawCid(sha256('small')), bytes: Buffer.from('small') }], []),
      rawCid(sha256('small')))
    tree = await addTree(['docs/a/link', 'docs/b/link', 'top'], {})
    const app = createTrustlessApp({
      content: createContent(store.blocks, createDirectories()),
      log: createLog('silent')
    })
    const handle = app.callback()
    server = createServer((request, answer) => void handle(request, answer))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  after(async () => {
    server.closeAllConnections()
    server.close()
    await store.close()
    await temp.remove()
  })

  const sha256 = (text: string) => createHash('sha256').update(text).digest()

  async function addTree(paths: readonly string[], options: object): Promise<CID> {
    const files = paths.map((path) => ({ path: `t/${path}`, content: Buffer.from(`is ${path}`) }))
    let root: CID | undefined
    for await (const { cid, path } of importer(files, store.blocks, {
      cidVersion: 1,
      rawLeaves: true,
      ...options
    }))
      if (path === 't') root = cid
    assert.ok(root)
    return root
  }

  const ask = (path: string, headers: Record<string, string> = {}, method = 'GET') =>
    fetch(`${base}${path}`, { headers, method })

  /** The verified blocks of an answer. */
  async function blocksOf(answer: Response): Promise<{ cid: string; bytes: Buffer }[]> {
    assert.equal(answer.status, 200)
    const blocks: { cid: string; bytes: Buffer }[] = []
    let pieces: Uint8Array[] = []
    for await (const { cid, data, last } of readCar(answer.body as unknown as AsyncIterable<Uint8Array>)) {
      pieces.push(data)
      if (!last) continue
      blocks.push({ cid: cid.toString(), bytes: Buffer.concat(pieces) })
      pieces = []
    }
    return blocks
  }

  describe('format=raw', () => {
    it('is the block, immutable, under the name of its CID', async () => {
      const answer = await ask(`/ipfs/${small}?format=raw`)
      assert.equal(await answer.text(), 'small')
      assert.equal(answer.headers.get('content-type'), 'application/vnd.ipld.raw')
      assert.match(answer.headers.get('cache-control') ?? '', /immutable/)
      assert.equal(answer.headers.get('content-length'), '5')
      assert.match(answer.headers.get('content-disposition') ?? '', new RegExp(`attachment.*${small}\\.bin`))
    })

    it('can be asked for by Accept, and a leaf comes out of its file', async () => {
      const leaf = rawCid(
        createHash('sha256')
          .update(bytes.subarray(2 * MiB, 3 * MiB))
          .digest()
      )
      const answer = await ask(`/ipfs/${leaf}`, { accept: 'application/vnd.ipld.raw' })
      assert.deepEqual(Buffer.from(await answer.arrayBuffer()), bytes.subarray(2 * MiB, 3 * MiB))
    })

    it('HEAD says the same without the block', async () => {
      const answer = await ask(`/ipfs/${small}?format=raw`, {}, 'HEAD')
      assert.equal(answer.status, 200)
      assert.equal(answer.headers.get('content-length'), '5')
      assert.equal(await answer.text(), '')
    })

    it('is 304 for whoever has it', async () => {
      const etag = (await ask(`/ipfs/${small}?format=raw`)).headers.get('etag') ?? ''
      assert.notEqual(etag, '')
      assert.equal((await ask(`/ipfs/${small}?format=raw`, { 'if-none-match': etag })).status, 304)
      assert.equal((await ask(`/ipfs/${small}?format=raw`, { 'if-none-match': '"another"' })).status, 200)
    })
  })

  describe('format=car', () => {
    it('is the whole file, root first, leaves in order', async () => {
      const answer = await ask(`/ipfs/${blob.cid}?format=car`)
      assert.equal(answer.headers.get('content-type'), `${CAR}; version=1; order=dfs; dups=n`)
      const blocks = await blocksOf(answer)
      assert.equal(blocks[0]?.cid, blob.cid.toString())
      assert.deepEqual(Buffer.concat(blocks.slice(1).map((each) => each.bytes)), bytes)
    })

    it('of one block is that block', async () => {
      const blocks = await blocksOf(await ask(`/ipfs/${blob.cid}?format=car&dag-scope=block`))
      assert.deepEqual(
        blocks.map(({ cid }) => cid),
        [blob.cid.toString()]
      )
    })

    it('of a directory as an entity has no files in it, as a whole it has all', async () => {
      const count = async (scope: string) =>
        (await blocksOf(await ask(`/ipfs/${tree}?format=car&dag-scope=${scope}`))).length
      assert.equal(await count('entity'), 1)
      assert.equal(await count('all'), 7)
    })

    const ranges: [string, number, number][] = [
      ['0:0', 0, 1],
      ['0:*', 0, 6],
      [`${MiB}:${2 * MiB - 1}`, 1, 2],
      [`${MiB - 1}:${MiB}`, 0, 2],
      [`${3 * MiB}:*`, 3, 6],
      ['-1:*', 5, 6],
      ['-78:*', 4, 6],
      ['0:-78', 0, 5],
      [`${3 * MiB}:${99 * MiB}`, 3, 6],
      [`${99 * MiB}:*`, 6, 6]
    ]
    for (const [range, first, end] of ranges) {
      for (const scope of ['entity', 'all']) {
        it(`entity-bytes=${range} of scope ${scope} is the root and the leaves ${first} to ${end - 1}`, async () => {
          const answer = await ask(`/ipfs/${blob.cid}?format=car&dag-scope=${scope}&entity-bytes=${range}`)
          const [root, ...leaves] = await blocksOf(answer)
          assert.equal(root?.cid, blob.cid.toString())
          assert.deepEqual(
            Buffer.concat(leaves.map((each) => each.bytes)),
            bytes.subarray(first * MiB, end * MiB)
          )
        })
      }
    }

    it('repeats a block when told to', async () => {
      const same = Buffer.alloc(3 * MiB)
      const writer = store.incoming.create('same')
      await writer.append(same)
      const { cid } = await store.blobs.commit(writer, digestOf(same))
      const count = async (headers: Record<string, string>, query = '') =>
        (await blocksOf(await ask(`/ipfs/${cid}?format=car${query}`, headers))).length
      assert.equal(await count({}, '&car-dups=y'), 4)
      assert.equal(await count({ accept: `${CAR}; dups=y` }), 4)
      assert.equal(await count({}), 2)
      assert.equal(await count({ accept: `${CAR}; dups=n` }), 2)
      assert.equal(await count({}, '&car-dups=n'), 2)
      assert.equal(await count({}, '&car-dups=n&dag-scope=entity'), 2)
    })

    it('HEAD has the headers and no body; the ETag tells scopes and ranges apart', async () => {
      const etags = new Set<string | null>()
      for (const query of ['', '&dag-scope=block', '&dag-scope=entity', '&entity-bytes=0:9']) {
        const answer = await ask(`/ipfs/${blob.cid}?format=car${query}`, {}, 'HEAD')
        assert.equal(answer.status, 200)
        assert.ok(answer.headers.get('content-type')?.startsWith(CAR))
        assert.equal(await answer.text(), '')
        etags.add(answer.headers.get('etag'))
      }
      assert.equal(etags.size, 4)
      const etag = [...etags][0] ?? ''
      assert.equal((await ask(`/ipfs/${blob.cid}?format=car`, { 'if-none-match': etag })).status, 304)
    })

    it('that breaks off is seen to be broken', async () => {
      const broken = createServer((request, answer) => {
        const app = createTrustlessApp({
          content: createContent(missing(store), createDirectories()),
          log: createLog('silent')
        })
        void app.callback()(request, answer)
      })
      await new Promise<void>((resolve) => broken.listen(0, '127.0.0.1', resolve))
      const { port } = broken.address() as AddressInfo
      const failure = await new Promise<Error | undefined>((resolve) => {
        get(`http://127.0.0.1:${port}/ipfs/${blob.cid}?format=car`, (answer: IncomingMessage) => {
          assert.equal(answer.statusCode, 200)
          answer.resume()
          answer.on('end', () => resolve(undefined))
          answer.on('error', resolve)
        })
      })
      broken.closeAllConnections()
      broken.close()
      assert.ok(failure)
    })
  })

  describe('paths', () => {
    it('a block at the end of one', async () => {
      assert.equal(await (await ask(`/ipfs/${tree}/docs/a/link?format=raw`)).text(), 'is docs/a/link')
    })

    it('a CAR has the directories that prove it', async () => {
      const answer = await ask(`/ipfs/${tree}/docs/a/link?format=car&dag-scope=block`)
      assert.equal(answer.headers.get('x-ipfs-roots')?.split(',').length, 4)
      const blocks = await blocksOf(answer)
      assert.equal(blocks.length, 4)
      assert.equal(blocks[0]?.cid, tree.toString())
      assert.equal(blocks[3]?.bytes.toString(), 'is docs/a/link')
    })

    it('through a sharded directory', async () => {
      const names = Array.from({ length: 3000 }, (_, i) => `${sha256(String(i)).toString('hex')} ${i}`)
      const sharded = await addTree(names, {})
      const name = encodeURIComponent(names[123] ?? '')
      const blocks = await blocksOf(await ask(`/ipfs/${sharded}/${name}?format=car&dag-scope=block`))
      assert.equal(blocks.at(-1)?.bytes.toString(), `is ${names[123]}`)
      assert.ok(blocks.length >= 3 && blocks.length < 6, `${blocks.length}: only the shards on the way`)
      const all = await blocksOf(await ask(`/ipfs/${sharded}?format=car&dag-scope=entity`))
      assert.ok(all.length > 200 && all.length < 600, `${all.length}: all shards and no entries`)
    })

    it('that lead nowhere are 404', async () => {
      for (const path of ['nothing', 'docs/c', 'docs/a/link/below', 'top/below'])
        assert.ok([404, 502].includes((await ask(`/ipfs/${tree}/${path}?format=car`)).status), path)
      assert.equal((await ask(`/ipfs/${tree}/nothing?format=car`)).status, 404)
    })
  })

  const refused: [string, string, Record<string, string>, number][] = [
    ['no format', '/ipfs/CID', {}, 400],
    ['an unknown format', '/ipfs/CID?format=tar', {}, 400],
    ['HTML', '/ipfs/CID', { accept: 'text/html' }, 400],
    ['what is no CID', '/ipfs/hello?format=raw', {}, 400],
    ['an unknown scope', '/ipfs/CID?format=car&dag-scope=some', {}, 400],
    ['a malformed range', '/ipfs/CID?format=car&entity-bytes=5', {}, 400],
    ['a backward range', '/ipfs/CID?format=car&entity-bytes=5:3', {}, 400],
    ['a block that is not here', '/ipfs/NONE?format=raw', {}, 404],
    ['a CAR of what is not here', '/ipfs/NONE?format=car', {}, 404],
    [
      'only-if-cached of what is not here',
      '/ipfs/NONE?format=raw',
      { 'cache-control': 'only-if-cached' },
      412
    ],
    ['anything else', '/v2/', {}, 404]
  ]
  for (const [what, path, headers, status] of refused) {
    it(`${what} is ${status}`, async () => {
      const none = rawCid(sha256('nobody has this')).toString()
      const answer = await ask(path.replace('CID', blob.cid.toString()).replace('NONE', none), headers)
      assert.equal(answer.status, status)
      await answer.arrayBuffer()
    })
  }

  it('only-if-cached of what is here is served', async () => {
    const answer = await ask(`/ipfs/${small}?format=raw`, { 'cache-control': 'only-if-cached' })
    assert.equal(answer.status, 200)
    assert.ok(CID.parse(small.toString()).equals(small))
    await answer.arrayBuffer()
  })
})

/** The store without one leaf of what it has. */
function missing(store: Store): Store['blocks'] {
  let leaves = 0
  return new Proxy(store.blocks, {
    get(target, key) {
      if (key === 'openFile') return async () => undefined
      if (key === 'find')
        return async (cid: CID) => (cid.code === 0x55 && ++leaves === 3 ? undefined : target.find(cid))
      return Reflect.get(target, key) as unknown
    }
  })
}
