/**
 * The trustless gateway against its specification, on a running gateway's own port and on its seed port, with
 * Kubo's gateway as the second opinion: what both hold, both must answer with the same blocks in the same order.
 *
 * The official suite (github.com/ipfs/gateway-conformance) can't be had in CI: the module proxy answers 403,
 * 'This module version is not available.', to each of the nineteen versions from v0.1.0 to v0.8.3 that it was
 * asked for. Whoever has a checkout of it runs it by `npm run test:gateway-conformance`. These are our own tests of
 * the specification's sentences, with what that suite found.
 *
 * @see https://specs.ipfs.tech/http-gateways/trustless-gateway/
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as dagCbor from '@ipld/dag-cbor'
import { encode, prepare } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { importer } from 'ipfs-unixfs-importer'
import { fixedSize } from 'ipfs-unixfs-importer/chunker'
import { CID } from 'multiformats/cid'
import { identity } from 'multiformats/hashes/identity'
import { readCar } from '../../src/ipfs/car.ts'
import { openStore, rawCid, type Store } from '../../src/store/index.ts'
import { carFrame, carHeader } from '../support/ipfs-gateway.ts'
import { useBed } from './support/bed.ts'
import { freePort } from './support/daemon.ts'
import { type Kubo, startKubo } from './support/kubo.ts'
import { available } from './support/process.ts'

const CAR = 'application/vnd.ipld.car'
const RAW = 'application/vnd.ipld.raw'
const LEAF = 1000
const SIZE = 9 * LEAF + 7

describe('the trustless gateway by its specification', function () {
  this.timeout(120_000)
  const { keep, folder, gateway } = useBed('conformance')
  let kubo: Kubo
  const bases: Record<string, string> = {}
  /** What both gateways hold. */
  let file: CID
  let zeros: CID
  let tree: CID
  let sharded: CID
  let inline: CID
  /** A DAG-CBOR document with links. */
  let document: CID
  /** A file of which a leaf is missing. */
  let torn: CID
  const nowhere = rawCid(createHash('sha256').update('nobody has this').digest())

  const sha256Cid = (bytes: Uint8Array, code = 0x70): CID =>
    CID.createV1(code, rawCid(createHash('sha256').update(bytes).digest()).multihash)

  /** Puts the fixtures into a store that no gateway has open. */
  async function fill(store: Store): Promise<void> {
    type Given = { path: string; content: Uint8Array }[]
    async function add(files: Given, options: object = {}): Promise<Map<string, CID>> {
      const found = new Map<string, CID>()
      const profile = { cidVersion: 1, rawLeaves: true, chunker: fixedSize({ chunkSize: LEAF }) } as const
      for await (const { path, cid } of importer(files, store.blocks, { ...profile, ...options }))
        found.set(path ?? '', cid)
      return found
    }
    const bytes = Buffer.concat(
      Array.from({ length: 10 }, (_, i) => Buffer.alloc(LEAF, `leaf ${i} `))
    ).subarray(0, SIZE)
    const files: Given = [
      { path: 't/file', content: bytes },
      { path: 't/zeros', content: Buffer.alloc(5 * LEAF) },
      { path: 't/docs/a/small', content: Buffer.from('small') },
      { path: 't/docs/b/other', content: Buffer.from('other') }
    ]
    const paths = await add(files)
    tree = paths.get('t') as CID
    file = paths.get('t/file') as CID
    zeros = paths.get('t/zeros') as CID
    const many = Array.from({ length: 60 }, (_, i) => ({
      path: `s/entry ${i}`,
      content: Buffer.from(`is ${i}`)
    }))
    sharded = (await add(many, { shardSplitThresholdBytes: 100 })).get('s') as CID
    const lost = await add([
      { path: 'lost', content: Buffer.alloc(4 * LEAF, 'lost') },
      { path: 'rest', content: Buffer.alloc(2 * LEAF, 'rest') }
    ])
    const gone = rawCid(createHash('sha256').update('a leaf that is not here').digest())
    const kept = rawCid(createHash('sha256').update(Buffer.alloc(LEAF, 'lost')).digest())
    assert.ok(lost.has('lost'))
    const data = new UnixFS({ type: 'file', blockSizes: [BigInt(LEAF), BigInt(LEAF)] }).marshal()
    const tornNode = encode(
      prepare({ Data: data, Links: [kept, gone].map((Hash) => ({ Name: '', Hash, Tsize: LEAF })) })
    )
    torn = sha256Cid(tornNode)
    const held = CID.createV1(0x55, identity.digest(Buffer.from('inline')))
    const links = [
      { Name: 'here', Hash: kept, Tsize: LEAF },
      { Name: 'inline', Hash: held, Tsize: 6 }
    ]
    const directory = encode(prepare({ Data: new UnixFS({ type: 'directory' }).marshal(), Links: links }))
    inline = sha256Cid(directory)
    const written = dagCbor.encode({ files: { single: file, text: 'no link' }, list: [tree] })
    document = sha256Cid(written, dagCbor.code)
    await store.blocks.commit(
      [
        { cid: document, bytes: written },
        { cid: torn, bytes: tornNode },
        { cid: inline, bytes: directory }
      ],
      []
    )
  }

  /** All of a store as one CAR, for Kubo. */
  async function carOf(store: Store): Promise<Buffer> {
    const frames: Buffer[] = [carHeader(tree)]
    for await (const { cid, bytes } of store.blocks.getAll()) {
      const pieces: Uint8Array[] = []
      for await (const piece of bytes) pieces.push(piece)
      frames.push(carFrame(cid, Buffer.concat(pieces)))
    }
    return Buffer.concat(frames)
  }

  before(async function () {
    if (!available('ipfs')) this.skip()
    const data = join(folder('gateway'), 'data')
    const store = await openStore({ folder: data, reserve: 0 })
    await fill(store)
    const car = join(folder('gateway'), 'all.car')
    await writeFile(car, await carOf(store))
    await store.close()
    kubo = keep(await startKubo({ dir: folder('kubo') }))
    await kubo.ipfs(['dag', 'import', '--pin-roots=false', car])
    const seed = await freePort()
    const { url } = await gateway('gateway', { data, env: { SEAWAY_SEED_LISTEN: `127.0.0.1:${seed}` } })
    Object.assign(bases, { 'the registry': url, 'the seed': `http://127.0.0.1:${seed}` })
  })

  type Headers = Record<string, string>
  const from = (base: string, path: string, headers: Headers = {}, method = 'GET'): Promise<Response> =>
    fetch(`${base}${path}`, { headers, method, signal: AbortSignal.timeout(10_000) })
  const ask = (path: string, headers: Headers = {}, method = 'GET'): Promise<Response> =>
    from(bases['the registry'] as string, path, headers, method)

  /** The CIDs in a CAR, every block verified. */
  async function cidsIn(answer: Response): Promise<string[]> {
    assert.equal(answer.status, 200, await (answer.ok ? '' : answer.text()))
    const found: string[] = []
    for await (const piece of readCar(answer.body as unknown as AsyncIterable<Uint8Array>))
      if (piece.last) found.push(piece.cid.toString())
    return found
  }
  async function refused(answer: Response, status: number): Promise<void> {
    assert.equal(answer.status, status)
    await answer.arrayBuffer()
  }

  for (const port of ['the registry', 'the seed']) {
    describe(`on ${port}'s port`, () => {
      const here = (path: string, headers: Headers = {}, method = 'GET') =>
        from(bases[port] as string, path, headers, method)

      it('the probe is answered: no bytes as a block, a header alone as a CAR', async () => {
        const block = await here('/ipfs/bafkqaaa?format=raw', { accept: RAW })
        assert.equal(block.status, 200)
        assert.equal((await block.arrayBuffer()).byteLength, 0)
        assert.deepEqual(await cidsIn(await here('/ipfs/bafkqaaa?format=car', { accept: CAR })), [])
        for (const format of ['raw', 'car'])
          await refused(await here(`/ipfs/bafkqaaa?format=${format}`, {}, 'HEAD'), 200)
      })

      it('a block comes with its headers, and by HEAD without its bytes', async () => {
        for (const method of ['GET', 'HEAD']) {
          const answer = await here(`/ipfs/${file}?format=raw`, {}, method)
          assert.equal(answer.status, 200)
          assert.equal(answer.headers.get('content-type'), RAW)
          assert.equal(answer.headers.get('x-content-type-options'), 'nosniff')
          assert.equal(answer.headers.get('content-disposition'), `attachment; filename="${file}.bin"`)
          assert.match(answer.headers.get('cache-control') ?? '', /public.*max-age=\d{7,}.*immutable/)
          assert.ok(answer.headers.get('etag'))
          const bytes = Buffer.from(await answer.arrayBuffer())
          if (method === 'HEAD') assert.equal(bytes.length, 0)
          else assert.ok(sha256Cid(bytes).equals(file))
        }
      })

      it('a CAR comes with its headers, and by HEAD without its bytes', async () => {
        for (const method of ['GET', 'HEAD']) {
          const answer = await here(`/ipfs/${file}?format=car`, {}, method)
          assert.equal(answer.status, 200)
          assert.match(
            answer.headers.get('content-type') ?? '',
            /^application\/vnd\.ipld\.car; ?version=1; ?order=dfs; ?dups=n$/
          )
          assert.equal(answer.headers.get('content-disposition'), `attachment; filename="${file}.car"`)
          assert.equal(answer.headers.get('x-content-type-options'), 'nosniff')
          assert.equal(answer.headers.get('accept-ranges'), 'none')
          assert.ok(answer.headers.get('etag'))
          const { byteLength } = await answer.arrayBuffer()
          assert.equal(byteLength > SIZE, method === 'GET')
        }
      })

      it('what is not here is 404, whatever is asked for it', async () => {
        for (const format of ['raw', 'car'])
          for (const method of ['GET', 'HEAD'])
            await refused(await here(`/ipfs/${nowhere}?format=${format}`, {}, method), 404)
      })
    })
  }

  describe('what is asked for', () => {
    it('is refused with 400 where nothing names a format that can be verified', async () => {
      await refused(await ask(`/ipfs/${file}`), 400)
      await refused(await ask(`/ipfs/${file}`, { accept: 'text/html' }), 400)
      await refused(await ask(`/ipfs/${file}?format=zip`, { accept: RAW }), 400)
    })

    it('is what the query says, whatever Accept says', async () => {
      const answer = await ask(`/ipfs/${file}?format=raw`, { accept: CAR })
      assert.equal(answer.headers.get('content-type'), RAW)
      assert.equal(answer.headers.get('content-location'), null)
      await answer.arrayBuffer()
    })

    it('is what Accept prefers, under a location that says so', async () => {
      const answer = await ask(`/ipfs/${file}`, { accept: `${CAR};q=0.4, ${RAW}` })
      assert.equal(answer.headers.get('content-type'), RAW)
      assert.equal(answer.headers.get('content-location'), `/ipfs/${file}?format=raw`)
      assert.match(answer.headers.get('vary') ?? '', /accept/i)
      await answer.arrayBuffer()
    })

    it('is the CAR that is written here, of those that Accept lists; none of them is 406', async () => {
      const other = `${CAR}; version=2`
      await refused(await ask(`/ipfs/${file}?format=car`, { accept: other }), 406)
      await refused(await ask(`/ipfs/${file}?format=car&car-version=2`), 406)
      const answer = await ask(`/ipfs/${file}`, { accept: `${other}, ${CAR}; dups=y; q=0.5` })
      assert.match(answer.headers.get('content-type') ?? '', /dups=y/)
      await answer.arrayBuffer()
    })

    it('has the name that it is given', async () => {
      const answer = await ask(`/ipfs/${file}?format=raw&filename=a.bin`)
      assert.equal(answer.headers.get('content-disposition'), 'attachment; filename="a.bin"')
      await answer.arrayBuffer()
      const far = await ask(`/ipfs/${file}?format=raw&filename=${encodeURIComponent('имя.bin')}`)
      assert.equal(
        far.headers.get('content-disposition'),
        `attachment; filename="___.bin"; filename*=UTF-8''${encodeURIComponent('имя.bin')}`
      )
      await far.arrayBuffer()
      const evil = await ask(`/ipfs/${file}?format=raw&filename=${encodeURIComponent('"\r\nx: y')}`)
      assert.equal(evil.headers.get('x'), null)
      await evil.arrayBuffer()
    })

    it('only if cached is 412 where it is not', async () => {
      const only = { 'cache-control': 'only-if-cached' }
      await refused(await ask(`/ipfs/${nowhere}?format=raw`, only), 412)
      await refused(await ask(`/ipfs/${nowhere}?format=car`, only), 412)
      await refused(await ask(`/ipfs/${file}?format=car`, only), 200)
    })

    it('is 304 for one that has it, and has another ETag for another scope, range or repetition', async () => {
      const queries = [
        '',
        '&dag-scope=block',
        '&dag-scope=entity',
        '&entity-bytes=0:5',
        '&entity-bytes=0:6',
        '&car-dups=y'
      ]
      const tags = new Set<string>()
      for (const query of queries) {
        const path = `/ipfs/${file}?format=car${query}`
        const tag = (await ask(path, {}, 'HEAD')).headers.get('etag') ?? ''
        tags.add(tag)
        await refused(await ask(path, { 'if-none-match': tag }), 304)
        await refused(await ask(path, { 'if-none-match': '"something else"' }), 200)
      }
      assert.equal(tags.size, queries.length)
    })

    it('of an unknown scope, or a range that is none, is 400', async () => {
      for (const query of ['dag-scope=some', 'entity-bytes=a:b', 'entity-bytes=5', 'entity-bytes=9:3'])
        await refused(await ask(`/ipfs/${file}?format=car&${query}`), 400)
    })
  })

  describe('a CAR', () => {
    it('breaks off where a block below its root is missing, and is seen to be broken', async () => {
      const answer = await ask(`/ipfs/${torn}?format=car`)
      assert.equal(answer.status, 200)
      await assert.rejects(answer.arrayBuffer())
    })

    it('repeats blocks or not, as asked', async () => {
      assert.equal((await cidsIn(await ask(`/ipfs/${zeros}?format=car&car-dups=y`))).length, 6)
      assert.equal(
        (await cidsIn(await ask(`/ipfs/${zeros}?format=car`, { accept: `${CAR}; dups=y` }))).length,
        6
      )
      assert.equal((await cidsIn(await ask(`/ipfs/${zeros}?format=car&car-dups=n`))).length, 2)
    })

    it('leaves out what is in its CID already', async () => {
      assert.equal((await cidsIn(await ask(`/ipfs/${inline}?format=car`))).length, 2)
    })

    it('of bytes of a directory is the directory', async () => {
      assert.deepEqual(await cidsIn(await ask(`/ipfs/${tree}?format=car&entity-bytes=0:5`)), [
        tree.toString()
      ])
    })
  })

  /**
   * [what, path under /ipfs/, query]. Ranges name their scope: the specification says that `entity-bytes` implies
   * it, and Kubo sends all there is where it isn't named.
   */
  const same: [string, () => string, string][] = []
  const add = (what: string, path: () => string, ...queries: string[]): void => {
    for (const query of queries) same.push([`${what} with ${query || 'nothing else'}`, path, query])
  }
  const scopes = ['', 'dag-scope=all', 'dag-scope=entity', 'dag-scope=block']
  add('a file', () => `${file}`, ...scopes)
  add('a directory', () => `${tree}`, ...scopes)
  add('a file at a path', () => `${tree}/file`, ...scopes)
  add('a file far down', () => `${tree}/docs/a/small`, ...scopes)
  add('a directory at a path', () => `${tree}/docs`, ...scopes)
  add('a sharded directory', () => `${sharded}`, ...scopes)
  add('a file in a sharded directory', () => `${sharded}/entry%2017`, ...scopes)
  add('a directory with an inline entry', () => `${inline}`, ...scopes)
  add('a file that a document links to', () => `${document}/files/single`, ...scopes)
  add('a file below a list in a document', () => `${document}/list/0/docs/a/small`, ...scopes)
  add('one block', () => `${tree}/docs/b/other`, 'entity-bytes=0:*', 'entity-bytes=1:2')
  add(
    'a range of a file',
    () => `${file}`,
    ...[
      '0:*',
      '0:0',
      `0:${LEAF - 1}`,
      `0:${LEAF}`,
      `${LEAF}:${2 * LEAF}`,
      `${3 * LEAF + 1}:*`,
      '-1:*',
      '-8:*',
      `-${LEAF}:-${LEAF}`,
      '0:-1',
      `0:-${LEAF}`,
      `${SIZE - 1}:*`,
      `${LEAF}:${99 * LEAF}`,
      `${LEAF}:-${2 * LEAF}`
    ].map((range) => `dag-scope=entity&entity-bytes=${range}`)
  )
  add(
    'a range of a file at a path',
    () => `${tree}/file`,
    `dag-scope=entity&entity-bytes=${2 * LEAF}:${4 * LEAF}`
  )
  add(
    'a file of the same piece',
    () => `${zeros}`,
    'car-dups=n',
    'car-dups=y',
    'dag-scope=entity&entity-bytes=1000:2999&car-dups=y'
  )

  describe("gives the blocks that Kubo's gateway gives, in their order", () => {
    for (const [what, path, query] of same) {
      it(what, async () => {
        const asked = `/ipfs/${path()}?format=car&${query}`
        const theirs = await cidsIn(await from(kubo.gateway, asked))
        assert.deepEqual(await cidsIn(await ask(asked)), theirs)
      })
    }

    it('and refuses what Kubo refuses', async () => {
      const paths = [
        `/ipfs/${file}?format=car&dag-scope=some`,
        `/ipfs/${file}?format=car&entity-bytes=a:b`,
        '/ipfs/hello?format=raw',
        `/ipfs/${nowhere}?format=raw`,
        `/ipfs/${document}/files/other?format=raw`
      ]
      for (const path of paths) {
        const [ours, theirs] = await Promise.all([ask(path), from(kubo.gateway, path)])
        assert.equal(ours.status, theirs.status, path)
        await ours.arrayBuffer()
        await theirs.arrayBuffer()
      }
    })

    it('and what it sends is what Kubo imports', async () => {
      const other = keep(await startKubo({ dir: folder('importer') }))
      const answer = await ask(`/ipfs/${tree}?format=car`)
      const car = folder('tree.car')
      await writeFile(car, Buffer.from(await answer.arrayBuffer()))
      await other.ipfs(['dag', 'import', car])
      const { stdout } = await other.ipfs(['cat', `/ipfs/${tree}/docs/a/small`])
      assert.equal(stdout, 'small')
    })
  })
})
