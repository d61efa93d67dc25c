/** A bad link to a peer: a TCP relay that can slow down, stop, or cut. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** A relay that listens. */
export interface Relay {
  /** The peer's multiaddr with the relay's port in place of its own. */
  readonly multiaddr: string
  /** Bytes that came from the peer so far, over all connections. */
  readonly passed: number
  /** Accepts, and lets nothing more through, in either direction. */
  hang(): void
  /** Cuts every connection, and refuses new ones when told so. */
  cut(): void
  stop(): Promise<void>
}

/**
 * Starts a relay in front of the TCP multiaddr of a peer. `limit` is in bytes a second; `cutAfter` and
 * `hangAfter` are bytes from the peer after which it cuts and refuses, or falls silent.
 */
export async function startRelay(
  multiaddr: string,
  options: { limit?: number; cutAfter?: number; hangAfter?: number } = {}
): Promise<Relay> {
  const port = Number(/\/tcp\/(\d+)\/p2p/.exec(multiaddr)?.[1])
  const { limit = Infinity, cutAfter = Infinity, hangAfter = Infinity } = options
  const sockets = new Set<Socket>()
  let passed = 0
  let refusing = false
  let hanging = false
  const server = createServer((client) => {
    const peer = connect({ port, host: '127.0.0.1' })
    for (const socket of [client, peer]) {
      sockets.add(socket)
      socket.on('error', () => {}) // either side may be killed
      socket.on('close', () => sockets.delete(socket))
    }
    client.on('data', (chunk: Buffer) => hanging || peer.write(chunk))
    client.on('close', () => peer.destroy())
    peer.on('close', () => client.destroy())
    if (refusing) return void client.destroy()
    return void down(peer, client)
  })

  async function down(peer: Socket, client: Socket): Promise<void> {
    let due = performance.now()
    try {
      for await (const chunk of peer as AsyncIterable<Buffer>) {
        passed += chunk.length
        if (passed > cutAfter) return cut()
        if (passed > hangAfter) hanging = true
        if (hanging) await new Promise<void>((resolve) => client.once('close', () => resolve()))
        if (!client.write(chunk)) await new Promise<void>((resolve) => client.once('drain', resolve))
        // Only now and then: a sleep takes a millisecond at least, and chunks can be small.
        due += (chunk.length / limit) * 1000
        if (due > performance.now() + 20) await sleep(due - performance.now())
        else due = Math.max(due, performance.now() - 20)
      }
    } catch {
      client.destroy()
    }
  }

  function cut(): void {
    refusing = true
    for (const socket of sockets) socket.destroy()
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const own = (server.address() as AddressInfo).port
  return {
    multiaddr: multiaddr.replace(`/tcp/${port}/`, `/tcp/${own}/`),
    get passed() {
      return passed
    },
    hang() {
      hanging = true
    },
    cut,
    async stop() {
      for (const socket of sockets) socket.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
  }
}

/** A peer that accepts connections and never says anything. */
export async function startSilentPeer(): Promise<{ multiaddr: string; stop(): Promise<void> }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {}) // whoever gives up on it may reset
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    multiaddr: `/ip4/127.0.0.1/tcp/${(server.address() as AddressInfo).port}`,
    async stop() {
      for (const socket of sockets) socket.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
  }
}
