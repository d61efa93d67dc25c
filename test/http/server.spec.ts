/** What peers do with connections and streams; what clients do with connections is in `connections.spec.ts`. */
import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'
import type { Stream } from '@libp2p/interface'
import Koa from 'koa'
import { listen, peerServer } from '../../src/http/server.ts'
import { HTTP_PROTOCOL, serveHttp } from '../../src/ipfs/http-stream.ts'
import { createLog } from '../../src/log.ts'
import { startLibp2p, stopNodes } from '../support/ipfs-nodes.ts'

describe('the server for peers', () => {
  it('closes connections beyond those that one address may have, and takes others when some have gone', async () => {
    const app = new Koa()
    app.use((ctx) => {
      ctx.body = 'an answer'
    })
    const server = await listen(app, {
      host: '127.0.0.1',
      port: 0,
      idleMs: 20_000,
      maxPerAddress: 2,
      log: createLog('silent')
    })
    const sockets: Socket[] = []
    /** What a connection from there is answered. */
    const answer = (localAddress: string) =>
      new Promise<string>((resolve) => {
        const socket = connect({ host: '127.0.0.1', port: server.port, localAddress })
        sockets.push(socket)
        socket.on('data', (data) => resolve(String(data)))
        socket.on('error', () => {})
        socket.on('close', () => resolve('closed'))
        socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      })
    try {
      assert.match(await answer('127.0.0.1'), /^HTTP\/1.1 200/)
      assert.match(await answer('127.0.0.1'), /^HTTP\/1.1 200/)
      assert.equal(await answer('127.0.0.1'), 'closed')
      assert.match(await answer('127.0.0.2'), /^HTTP\/1.1 200/)
      sockets[0]?.destroy()
      // the server hears of that a moment later
      let said = 'closed'
      for (let i = 0; i < 500 && said === 'closed'; i++) said = await answer('127.0.0.1')
      assert.match(said, /^HTTP\/1.1 200/)
    } finally {
      for (const socket of sockets) socket.destroy()
      await server.stop(0)
    }
  })
})

describe('answers to requests that were sent without waiting', () => {
  it('are told that their connection has gone, also those whose turn had not come', async () => {
    const paths = ['/1', '/2', '/3']
    const begun = new Set<string>()
    const over = new Set<string>()
    const changed = new EventEmitter()
    const note = (set: Set<string>, path: string) => {
      set.add(path)
      changed.emit('change')
    }
    const all = async (set: Set<string>) => {
      while (set.size < paths.length) await once(changed, 'change')
    }
    const app = new Koa()
    app.use(async ({ path, res }) => {
      note(begun, path)
      await once(res, 'close')
      assert.ok(res.destroyed)
      note(over, path)
    })
    const server = await listen(app, { host: '127.0.0.1', port: 0, idleMs: 20_000, log: createLog('silent') })
    try {
      const socket = connect({ host: '127.0.0.1', port: server.port })
      socket.write(paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`).join(''))
      await all(begun)
      socket.destroy()
      await all(over)
    } finally {
      await server.stop(0)
    }
  })
})

describe('the server for streams that peers open', () => {
  let stop: () => Promise<void>
  let open: () => Promise<Stream>

  before(async () => {
    const [server, client] = [await startLibp2p(), await startLibp2p()]
    const app = new Koa()
    app.use((ctx) => {
      ctx.body = ctx.path === '/endless' ? Readable.from(endless()) : 'an answer'
    })
    app.on('error', () => {})
    stop = await serveHttp(server, peerServer(app, { idleMs: 300, log: createLog('silent') }))
    const connection = await client.dial(server.getMultiaddrs())
    open = () => connection.newStream(HTTP_PROTOCOL)
  })
  after(async () => {
    await stop()
    await stopNodes()
  })

  function* endless(): Generator<Buffer> {
    for (;;) yield Buffer.alloc(64 * 1024)
  }

  async function textOf(stream: Stream): Promise<string> {
    let text = ''
    for await (const chunk of stream) text += Buffer.from(chunk.subarray()).toString()
    return text
  }

  for (const [what, bytes] of [
    ['is never begun', ''],
    ['stops', 'GET / HT'],
    ['stops after its first line', 'GET / HTTP/1.1\r\nHost: a\r\n']
  ]) {
    it(`time out on a request that ${what}`, async () => {
      const stream = await open()
      const closed = once(stream, 'close')
      const text = textOf(stream)
      // the other side hears of a stream with its first bytes
      stream.send(Buffer.from(bytes === '' ? '\r\n' : (bytes ?? '')))
      assert.match(await text, /^HTTP\/1.1 408 [^]*REQUEST_TIMEOUT/)
      await closed
    })
  }

  it('time out on a request whose headers drip', async () => {
    const stream = await open()
    const text = textOf(stream)
    stream.send(Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n'))
    const drip = setInterval(() => {
      if (stream.writeStatus === 'writable') stream.send(Buffer.from('X: 1\r\n'))
    }, 50)
    try {
      assert.match(await text, /^HTTP\/1.1 408 [^]*REQUEST_TIMEOUT/)
    } finally {
      clearInterval(drip)
    }
  })

  it('end a stream that reads nothing of its answer', async () => {
    const stream = await open()
    stream.pause()
    const closed = once(stream, 'close')
    stream.send(Buffer.from('GET /endless HTTP/1.1\r\nHost: a\r\n\r\n'))
    await closed
  })

  it('serve one request after another, and close when no more come', async () => {
    const stream = await open()
    const text = textOf(stream)
    stream.send(Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(2)))
    assert.equal((await text).match(/an answer/g)?.length, 2)
  })
})
