/** A server in front of another one, which lets requests of one kind wait until several are under way. */
import { createServer, type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** Which requests wait, and for how many of their kind. */
export interface Gate {
  readonly kind: (req: IncomingMessage) => boolean
  readonly until: number
}

/** What {@link startGatedServer} starts. */
export interface GatedServer {
  /** `127.0.0.1:<port>` */
  readonly host: string
  /** Closes it for a kind of requests. It opens, and stays open, once as many as that are under way. */
  close(gate: Gate): void
  /** The most requests of that kind that were under way at once. */
  readonly most: number
  stop(): Promise<void>
}

/** How long one request too many may take to show itself, in milliseconds. */
const LINGER = 100

/** Starts it before a server of this machine. */
export async function startGatedServer(behind: { readonly port: number }): Promise<GatedServer> {
  let gate: Gate | undefined
  let under = 0
  let most = 0
  let open = Promise.withResolvers<void>()

  const server = createServer((req, res) => {
    const isHeld = gate?.kind(req) === true
    const pass = () => {
      const { method, url, headers } = req
      const on = request({ host: '127.0.0.1', port: behind.port, method, path: url, headers }, (reply) => {
        res.writeHead(reply.statusCode ?? 502, reply.headers)
        reply.pipe(res)
      })
      on.on('error', () => res.destroy())
      req.pipe(on)
    }
    if (!isHeld) return pass()
    under++
    most = Math.max(most, under)
    res.once('close', () => under--)
    if (under >= (gate?.until ?? 0)) void sleep(LINGER).then(open.resolve)
    void open.promise.then(pass)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    close(next) {
      gate = next
      most = 0
      open = Promise.withResolvers()
    },
    get most() {
      return most
    },
    async stop() {
      open.resolve()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
  }
}
