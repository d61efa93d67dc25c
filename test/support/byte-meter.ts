import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A TCP relay that counts what passes through it. */
export interface ByteMeter {
  readonly port: number
  /** Bytes from the target to whoever connected, so far. */
  bytes(): number
  stop(): Promise<void>
}

/** Relays a free port of 127.0.0.1 to `target`, another port there. */
export async function startMeter(target: number): Promise<ByteMeter> {
  const sockets = new Set<Socket>()
  let bytes = 0
  const server = createServer((client) => {
    const upstream = connect(target, '127.0.0.1')
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client]
    ] as const) {
      socket.setNoDelay(true)
      sockets.add(socket)
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
      // Either side may go at any time; the other one is closed above.
      socket.on('error', () => socket.destroy())
    }
    upstream.on('data', (chunk: Buffer) => {
      bytes += chunk.length
    })
    client.pipe(upstream)
    upstream.pipe(client)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    bytes: () => bytes,
    async stop() {
      for (const socket of sockets) socket.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
  }
}
