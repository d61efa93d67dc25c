/** A service that is asked over HTTP who has what, and one that wants to have us elsewhere, or for ever. */
import assert from 'node:assert/strict'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { CID } from 'multiformats/cid'
import { serviceRouter } from '../../src/ipfs/service-router.ts'

const CONTENT = CID.parse('bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy')
const NAME = CID.parse('bafzaajaiaejcat4yhiwnr2qz73mtu6vrnj2krxlpfoa3wo2pllfi37quorgwh2jw')
const PEER = '12D3KooWQ7ijcbCSmYXyrsPmVGZbmHMvM7gMRRiiRURXjqYdxM3x'
const RECORD = { Schema: 'peer', ID: PEER, Addrs: ['/ip4/192.0.2.1/tcp/4001', 'nonsense', 7] }

async function gathered<T>(from: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const one of from) all.push(one)
  return all
}

describe('ipfs: a delegated router', () => {
  const running: { stop(): Promise<void> }[] = []
  const signal = new AbortController().signal
  afterEach(async () => {
    for (const server of running.splice(0)) await server.stop()
  })

  /** A server, and what it was asked. */
  async function serve(
    handle: (...given: Parameters<RequestListener>) => unknown
  ): Promise<{ url: string; asked: string[] }> {
    const asked: string[] = []
    const server = createServer((req, res) => {
      asked.push(`${req.method} ${req.url}`)
      void handle(req, res)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    running.push({
      stop: () =>
        new Promise((resolve) => {
          server.closeAllConnections()
          server.close(() => resolve())
        })
    })
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
  }

  const peersAt = async (url: string, timeoutMs = 5000) =>
    (await gathered(serviceRouter(url, timeoutMs).find(CONTENT, signal))).map(({ peer, addresses }) => [
      peer.toString(),
      ...addresses
    ])
  const found = [PEER, `/ip4/192.0.2.1/tcp/4001/p2p/${PEER}`]

  it('says who has something, in one text or line by line, whatever else it says', async () => {
    const unknown = [{ Schema: 'other' }, { ID: 'nobody' }, null, { ...RECORD, Addrs: undefined }]
    const { url, asked } = await serve((req, res) => {
      if (req.url?.startsWith('/lines/') === true) {
        res.writeHead(200, { 'content-type': 'application/x-ndjson; charset=utf-8' })
        const text = [RECORD, ...unknown].map((one) => JSON.stringify(one)).join('\n\n')
        res.write(text.slice(0, 30))
        setImmediate(() => res.end(text.slice(30)))
      } else
        res
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ Providers: [RECORD, ...unknown] }))
    })
    for (const base of [url, `${url}/`, `${url}/lines`])
      assert.deepEqual(await peersAt(base), [found, [PEER]])
    assert.equal(asked[0], `GET /routing/v1/providers/${CONTENT}`)
    assert.equal(asked[2], `GET /lines/routing/v1/providers/${CONTENT}`)
  })

  it('knows nobody', async () => {
    for (const body of [undefined, '{"Providers":null}', '{}']) {
      const { url } = await serve((_, res) =>
        res.writeHead(body === undefined ? 404 : 200, { 'content-type': 'application/json' }).end(body)
      )
      assert.deepEqual(await peersAt(url), [])
    }
  })

  it('does not send us elsewhere', async () => {
    const beside = await serve((_, res) => res.end('{}'))
    for (const status of [301, 302, 303, 307, 308]) {
      const { url } = await serve((_, res) => res.writeHead(status, { location: beside.url }).end())
      const router = serviceRouter(url, 5000)
      for (const work of [
        () => peersAt(url),
        () => gathered(router.records(NAME, signal)),
        () => router.putRecord(NAME, Buffer.from('x'), signal)
      ])
        await assert.rejects(work, /it redirects/)
    }
    assert.deepEqual(beside.asked, [])
  })

  it('is left where it says too much, nothing of use, or nothing at all', async () => {
    for (const type of ['application/json', 'application/x-ndjson']) {
      const { url } = await serve((_, res) => {
        res.writeHead(200, { 'content-type': type })
        const more = () => {
          while (!res.destroyed && res.write(' '.repeat(65_536))) {}
        }
        res.on('drain', more)
        more()
      })
      await assert.rejects(peersAt(url), /more than 1048576 bytes/)
    }
    const html = await serve((_, res) => res.writeHead(200, { 'content-type': 'text/html' }).end('<p>'))
    await assert.rejects(peersAt(html.url), /text\/html/)
    const broken = await serve((_, res) => res.writeHead(500).end())
    await assert.rejects(peersAt(broken.url), /answers 500/)
    const silent = await serve(() => undefined)
    await assert.rejects(peersAt(silent.url, 100), { name: 'TimeoutError' })
  })

  it('keeps records of names', async () => {
    const type = { 'content-type': 'application/vnd.ipfs.ipns-record' }
    let kept: Buffer | undefined
    const { url, asked } = await serve(async (req, res) => {
      if (req.method === 'PUT') kept = Buffer.concat(await gathered<Buffer>(req))
      if (kept === undefined) res.writeHead(404).end()
      else res.writeHead(200, type).end(kept)
    })
    const router = serviceRouter(url, 5000)
    const records = async () =>
      (await gathered(router.records(NAME, signal))).map(({ bytes }) => Buffer.from(bytes).toString())
    assert.deepEqual(await records(), [])
    await router.putRecord(NAME, Buffer.from('a record'), signal)
    assert.deepEqual(await records(), ['a record'])
    assert.equal(asked.at(-1), `GET /routing/v1/ipns/${NAME}`)
    kept = Buffer.alloc(10_241)
    await assert.rejects(records(), /more than 10240 bytes/)
  })
})
