/** Stands in front of a name server, on one port for UDP and TCP, and counts what passes. */
import { createSocket, type Socket } from 'node:dgram'
import { connect, createServer, type Socket as TcpSocket } from 'node:net'
import { freePort } from './daemon.ts'

/** What has passed since the last look. */
export interface Passed {
  /** UDP packets, both ways. */
  readonly packets: number
  readonly connections: number
  /** Pieces of TCP connections, both ways, as they were read: about the segments that carry data. */
  readonly pieces: number
  readonly bytes: number
}

/** A relay that listens. */
export interface DnsRelay {
  readonly port: number
  /** What has passed, counted from here on anew. */
  take(): Passed
  stop(): Promise<void>
}

/** @param target the port on 127.0.0.1 of what stands behind */
export async function startDnsRelay(target: number): Promise<DnsRelay> {
  const port = await freePort()
  let [packets, connections, pieces, bytes] = [0, 0, 0, 0]
  const sockets = new Set<TcpSocket>()
  const clients = new Map<string, Socket>()

  const udp = createSocket('udp4')
  const onward = (address: string, from: number): Socket => {
    const key = `${address}:${from}`
    const known = clients.get(key)
    if (known !== undefined) return known
    const socket = createSocket('udp4')
    clients.set(key, socket)
    socket.on('message', (answer) => {
      packets++
      bytes += answer.length
      udp.send(answer, from, address)
    })
    return socket
  }
  udp.on('message', (message, { address, port: from }) => {
    packets++
    bytes += message.length
    onward(address, from).send(message, target, '127.0.0.1')
  })
  await new Promise<void>((done) => udp.bind(port, '127.0.0.1', done))

  const pass = (from: TcpSocket, to: TcpSocket): void => {
    sockets.add(from)
    from.setNoDelay(true)
    from.on('data', (chunk) => {
      pieces++
      bytes += chunk.length
      to.write(chunk)
    })
    from.on('end', () => to.end())
    from.on('error', () => to.destroy())
    from.on('close', () => sockets.delete(from))
  }
  const tcp = createServer({ allowHalfOpen: true }, (client) => {
    connections++
    const server = connect({ port: target, host: '127.0.0.1', allowHalfOpen: true })
    pass(client, server)
    pass(server, client)
  })
  await new Promise<void>((done) => tcp.listen(port, '127.0.0.1', done))

  return {
    port,
    take() {
      const passed = { packets, connections, pieces, bytes }
      packets = connections = pieces = bytes = 0
      return passed
    },
    async stop() {
      for (const socket of sockets) socket.destroy()
      for (const socket of clients.values()) socket.close()
      await new Promise<void>((done) => udp.close(() => done()))
      await new Promise<void>((done) => tcp.close(() => done()))
    }
  }
}
