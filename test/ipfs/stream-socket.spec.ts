import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mock } from 'node:test'
import type { Connection, Stream } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { StreamSocket } from '../../src/ipfs/stream-socket.ts'

const MiB = 1024 * 1024

describe('ipfs: a stream as a socket', () => {
  /** What a socket uses of a stream; it sends as much as the test says. */
  class FakeStream extends EventTarget {
    status = 'open'
    readStatus = 'readable'
    writeStatus = 'writable'
    remoteWriteStatus = 'writable'
    readBufferLength = 0
    writeBufferLength = 0
    aborted: Error | undefined
    send(data: Uint8Array): void {
      this.writeBufferLength += data.length
    }
    sent(bytes: number): void {
      this.writeBufferLength -= bytes
      this.dispatchEvent(new Event('drain'))
    }
    receive(text: string): void {
      this.dispatchEvent(Object.assign(new Event('message'), { data: view(text) }))
    }
    pause(): void {}
    resume(): void {}
    async close(): Promise<void> {
      this.writeStatus = 'closed'
    }
    abort(error: Error): void {
      this.aborted ??= error
    }
  }

  const view = (text: string) => ({ byteLength: text.length, subarray: () => Buffer.from(text) })

  function socketFrom(address = '/ip4/192.0.2.1/tcp/4001') {
    const stream = new FakeStream()
    const connection = { remoteAddr: multiaddr(address), remotePeer: 'the peer' }
    const socket = new StreamSocket(stream as unknown as Stream, connection as unknown as Connection)
    let timeouts = 0
    socket.on('timeout', () => timeouts++)
    socket.resume()
    return { stream, socket, timeouts: () => timeouts }
  }

  describe('with a time limit', () => {
    beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }))
    afterEach(() => mock.timers.reset())

    it('says when nothing has moved for so long, once, and again after something has', () => {
      const { stream, socket, timeouts } = socketFrom()
      socket.setTimeout(1000)
      mock.timers.tick(999)
      assert.equal(timeouts(), 0)
      mock.timers.tick(1)
      assert.equal(timeouts(), 1)
      mock.timers.tick(5000)
      assert.equal(timeouts(), 1)
      stream.receive('more')
      mock.timers.tick(1000)
      assert.equal(timeouts(), 2)
    })

    it('goes on while bytes come, or are written, or those that were written go', () => {
      const { stream, socket, timeouts } = socketFrom()
      socket.setTimeout(1000)
      for (let i = 0; i < 5; i++) {
        mock.timers.tick(900)
        stream.receive('byte')
      }
      mock.timers.tick(900)
      socket.write(Buffer.alloc(MiB))
      for (let i = 0; i < 5; i++) {
        mock.timers.tick(900)
        stream.sent(1000)
      }
      assert.equal(timeouts(), 0)
      assert.equal(socket.bytesRead, 20)
    })

    it('says so while its reader takes nothing of what was written, and breaks off then', () => {
      const { stream, socket, timeouts } = socketFrom()
      socket.setTimeout(1000, () => socket.destroy())
      socket.write(Buffer.alloc(MiB))
      mock.timers.tick(1000)
      assert.equal(timeouts(), 1)
      assert.ok(stream.aborted)
    })

    it('lets the other side read what has been sent when it is closed for silence', () => {
      const { stream, socket } = socketFrom()
      socket.setTimeout(1000, () => socket.destroy())
      socket.write('an answer')
      stream.sent('an answer'.length)
      mock.timers.tick(1000)
      mock.timers.tick(1000)
      assert.equal(stream.writeStatus, 'closed')
      assert.equal(stream.aborted, undefined)
      // one that never closes its side has had its time
      mock.timers.tick(1000)
      assert.ok(stream.aborted)
    })

    it('ends a stream that the other side leaves open after an answer that was ended', async () => {
      const { stream, socket } = socketFrom()
      socket.setTimeout(1000)
      socket.end()
      await once(socket, 'finish')
      socket.destroy()
      assert.equal(stream.aborted, undefined)
      mock.timers.tick(1000)
      assert.ok(stream.aborted)
    })

    it('of 0 is never silent, nor is one that was destroyed', () => {
      const { socket, timeouts } = socketFrom()
      socket.setTimeout(1000)
      socket.setTimeout(0)
      mock.timers.tick(5000)
      socket.setTimeout(1000)
      socket.destroy()
      socket.setTimeout(1000)
      mock.timers.tick(5000)
      assert.equal(timeouts(), 0)
    })
  })

  it("has the other side's IP address, or its name where the address is a relay's", () => {
    assert.equal(socketFrom().socket.remoteAddress, '192.0.2.1')
    assert.equal(socketFrom('/ip6/2001:db8::1/tcp/1/ws').socket.remoteAddress, '2001:db8::1')
    assert.equal(socketFrom('/ip4/192.0.2.1/tcp/4001/p2p-circuit').socket.remoteAddress, '/p2p/the peer')
  })
})
