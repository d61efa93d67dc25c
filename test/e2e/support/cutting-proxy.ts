/** A TCP proxy that cuts connections in the middle of an answer, or of what is sent, as a network does. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { reset } from '../../support/reset.ts'

/** A proxy that runs. */
export interface CuttingProxy {
  /** `127.0.0.1:<port>` */
  readonly host: string
  /** How many connections it has cut. */
  readonly cuts: number
  stop(): Promise<void>
}

/**
 * Listens on 127.0.0.1 and passes everything on to `target` (`host:port`). A connection that carries more
 * than `after` bytes of answers (or `of` requests) is cut, as long as there are `times` left: reset unless told to close it.
 */
export async function startCuttingProxy(options: {
  target: string
  after: number
  times: number
  how?: 'reset' | 'close'
  of?: 'answers' | 'requests'
}): Promise<CuttingProxy> {
  const [host = '', port = ''] = options.target.split(':')
  const sockets = new Set<Socket>()
  let cuts = 0
  const server = createServer((client) => {
    const upstream = connect({ host, port: Number(port) })
    let passed = 0
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
      socket.on('error', () => {
        client.destroy()
        upstream.destroy()
      })
    }
    const [from, to] = options.of === 'requests' ? [client, upstream] : [upstream, client]
    to.pipe(from)
    from.on('data', (chunk: Buffer) => {
      passed += chunk.length
      if (passed > options.after && cuts < options.times) {
        cuts++
        from.destroy()
        const cut = () => (options.how === 'close' ? to.end() : reset(to))
        to.write(chunk.subarray(0, chunk.length >> 1), cut)
        return
      }
      if (!to.write(chunk)) {
        from.pause()
        to.once('drain', () => from.resume())
      }
    })
    from.on('end', () => to.end())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    get cuts() {
      return cuts
    },
    async stop() {
      for (const socket of sockets) socket.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
  }
}
