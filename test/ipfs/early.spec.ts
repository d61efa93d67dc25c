import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { connectEarly } from '../../src/ipfs/early.ts'
import type { Gateway } from '../../src/ipfs/gateway.ts'
import { openSocket, type WireReader } from '../../src/ipfs/wire.ts'
import { forever } from '../support/ipfs-nodes.ts'

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5))
}

describe('ipfs: a connection that is made early', () => {
  const sockets: Socket[] = []
  let server: Server
  let port: number
  beforeEach(async () => {
    server = createServer((socket) => {
      sockets.push(socket)
      socket.on('error', () => undefined)
      socket.on('data', (asked) => socket.write(`you said ${asked.toString()}`))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  })
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy()
    server.close()
  })

  const gatewayAt = (at: number): Gateway =>
    ({
      name: 'a gateway',
      connect: openSocket({ url: new URL(`http://127.0.0.1:${at}`), lookup: undefined })
    }) as Gateway

  /** What came, and how it ended. */
  function reader(): WireReader & { text: () => string; ended: () => boolean } {
    const buffer = Buffer.alloc(1024)
    let filled = 0
    let over = false
    return {
      intake: {
        room: () => buffer.subarray(filled),
        took: (count) => {
          filled += count
        }
      },
      closed: () => {
        over = true
      },
      text: () => buffer.toString('latin1', 0, filled),
      ended: () => over
    }
  }

  it('is there before anybody comes for it, and is the one that is used first', async () => {
    const { gateway } = connectEarly(gatewayAt(port))
    await until(() => sockets.length === 1)
    const first = reader()
    const wire = await gateway.connect(first, forever())
    wire.send('hello')
    await until(() => first.text() === 'you said hello')
    assert.equal(sockets.length, 1)
    const second = await gateway.connect(reader(), forever())
    await until(() => sockets.length === 2)
    sockets[0]?.end()
    await until(() => first.ended())
    wire.close()
    second.close()
  })

  it('is closed when nobody comes for it', async () => {
    const early = connectEarly(gatewayAt(port))
    await until(() => sockets.length === 1)
    let gone = false
    sockets[0]?.on('close', () => {
      gone = true
    })
    early.close()
    await until(() => gone)
  })

  it('is made again when the other side has closed it meanwhile', async () => {
    const { gateway } = connectEarly(gatewayAt(port))
    await until(() => sockets.length === 1)
    const [socket] = sockets
    let gone = false
    socket?.on('close', () => {
      gone = true
    })
    socket?.end()
    await until(() => gone)
    const given = reader()
    const wire = await gateway.connect(given, forever())
    wire.send('hello')
    await until(() => given.text() === 'you said hello')
    assert.equal(sockets.length, 2)
    wire.close()
  })

  it('fails as any other when it cannot be had', async () => {
    server.close()
    const { gateway } = connectEarly(gatewayAt(port))
    await assert.rejects(gateway.connect(reader(), forever()), /ECONNREFUSED/)
  })

  it('is given up with whoever waits for it', async () => {
    const never: Gateway = {
      name: 'a gateway',
      connect: (_, signal) =>
        new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    } as Gateway
    const { gateway } = connectEarly(never)
    const leaving = new AbortController()
    const waiting = gateway.connect(reader(), leaving.signal)
    leaving.abort(new Error('gone'))
    await assert.rejects(waiting, /gone/)
  })
})
