import { createSecureServer, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2'
import { createServer } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { CERTIFICATE, KEY } from './certificate.ts'

/** One question over HTTPS, and the answer to be given. */
export interface DohExchange {
  readonly request: Http2ServerRequest
  readonly response: Http2ServerResponse
  readonly message: Buffer
  /** The name server's answer to the message. */
  answer(): Promise<Buffer>
}

/** DNS over HTTPS in front of a name server, with the certificate of `certificate.ts`. */
export interface DohServer {
  /** `https://localhost:<port>/dns-query` */
  readonly url: string
  /** How many TLS connections were made so far. */
  readonly connections: number
  /** What came, as `HTTP version, method, path`. */
  readonly asked: readonly string[]
  /** Answers in another way; `undefined` for the right one. */
  behave(handler: ((exchange: DohExchange) => void | Promise<void>) | undefined): void
  /** Closes all connections, as a server that is restarted does. */
  cut(): void
  stop(): Promise<void>
}

/** @param options.http1 speak HTTP/1.1 alone */
export async function startDohServer(options: {
  dns: { port: number }
  http1?: boolean
  /** The address of loopback to listen on; its certificate is for 127.0.0.1 alone. */
  host?: string
}): Promise<DohServer> {
  const asked: string[] = []
  const sockets = new Set<Socket>()
  let connections = 0
  let handler: ((exchange: DohExchange) => void | Promise<void>) | undefined

  const right = async ({ response, answer }: DohExchange): Promise<void> => {
    response.writeHead(200, { 'content-type': 'application/dns-message' })
    response.end(await answer())
  }
  const serve = (request: Http2ServerRequest, response: Http2ServerResponse): void => {
    asked.push(`${request.httpVersion} ${request.method} ${request.url}`)
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const message = Buffer.concat(chunks)
      const exchange = { request, response, message, answer: () => overTcp(options.dns.port, message) }
      Promise.resolve((handler ?? right)(exchange)).catch(() => response.stream?.close())
    })
  }
  const identity = { key: KEY, cert: CERTIFICATE }
  // both kinds of requests and responses have in common what is used of them here
  const server =
    options.http1 === true ? createServer(identity, serve as never) : createSecureServer(identity, serve)
  server.on('secureConnection', () => {
    connections += 1
  })
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    socket.on('error', () => {}) // whoever goes away
  })
  server.on('session', (session) => session.on('error', () => {}))
  server.on('tlsClientError', () => {}) // whoever doesn't trust us
  await new Promise<void>((done) => server.listen(0, options.host ?? '127.0.0.1', done))
  const cut = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    url: `https://localhost:${(server.address() as AddressInfo).port}/dns-query`,
    get connections() {
      return connections
    },
    asked,
    behave(next) {
      handler = next
    },
    cut,
    async stop() {
      cut()
      await new Promise<void>((done) => server.close(() => done()))
    }
  }
}

/** Asks the name server behind. */
function overTcp(port: number, message: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1')
    let received = Buffer.alloc(0)
    socket.on('error', reject)
    socket.on('connect', () => {
      const length = Buffer.alloc(2)
      length.writeUInt16BE(message.length)
      socket.write(Buffer.concat([length, message]))
    })
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return
      socket.destroy()
      resolve(received.subarray(2, 2 + received.readUInt16BE(0)))
    })
  })
}
