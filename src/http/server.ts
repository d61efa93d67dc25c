import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type Koa from 'koa'
import type { Log } from '../log.ts'
import { RegistryError } from '../oci/errors.ts'
import { limitConnections } from './connections.ts'
import { errorBody } from './errors.ts'
import { watchBody } from './slow.ts'

/** A server that listens. */
export interface Listening {
  readonly host: string
  readonly port: number
  /** Takes no new requests, gives those under way `graceMs`, then ends them. */
  stop(graceMs: number): Promise<void>
}

/** How long a client may take over its request's headers at most, in milliseconds. */
const HEADERS_TIMEOUT = 20_000

/** How long a server waits, in milliseconds, and what it tells whom. */
export interface Waits {
  /** How long a client may be silent. */
  idleMs: number
  /** How long an answer may take to begin; then its connection isn't ended for that nothing moves on it. */
  answerMs?: number
  log: Log
}

function create(app: Koa, { idleMs, answerMs = 0, log }: Waits): Server {
  const handle = app.callback()
  const server = createServer(
    {
      headersTimeout: Math.min(idleMs, HEADERS_TIMEOUT),
      // A push of many gigabytes takes its time; idleness is what ends a connection.
      requestTimeout: 0,
      keepAliveTimeout: Math.min(idleMs, 30_000),
      connectionsCheckingInterval: Math.min(idleMs / 4, 5000),
      highWaterMark: 256 * 1024
    },
    (request, response) => {
      tellOfEnd(request, response)
      watchBody(request, response, idleMs)
      void handle(request, response)
    }
  )
  // Later than what can still be answered.
  server.timeout = Math.max(idleMs, answerMs) * 1.5
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    log.debug({ cause: error.message }, 'not HTTP')
    refuse(error, socket)
  })
  return server
}

/**
 * Listens for HTTP. A client that takes longer than `idleMs` over its headers, or sends its body slower
 * than {@link watchBody} allows, is told so; a connection on which nothing moves at all is ended. What isn't HTTP, a TLS
 * ClientHello for one, is answered and closed at once: clients try TLS first and wait for that.
 * Connections beyond `maxConnections`, or beyond `maxPerAddress` of one IP address that is no proxy's, are closed as
 * they come.
 */
export async function listen(
  app: Koa,
  options: Waits & {
    host: string
    port: number
    maxConnections?: number
    maxPerAddress?: number
    isProxy?: (address: string) => boolean
  }
): Promise<Listening> {
  const server = create(app, options)
  limitConnections(server, {
    max: options.maxConnections,
    perAddress: options.maxPerAddress,
    exempt: options.isProxy
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: options.host, port: options.port }, () => {
      server.off('error', reject)
      resolve()
    })
  })
  const { port } = server.address() as AddressInfo
  return {
    host: options.host,
    port,
    async stop(graceMs) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeIdleConnections()
      const timer = setTimeout(() => server.closeAllConnections(), graceMs)
      await closed
      clearTimeout(timer)
    }
  }
}

/**
 * Has an answer that waits for those before it on its connection hear that this has gone. Node tells only the one
 * whose turn it is; the others would wait, and hold what they have, for ever.
 */
function tellOfEnd({ socket }: IncomingMessage, response: ServerResponse): void {
  if (response.socket !== null) return
  const onClose = () => {
    response.destroy()
    response.emit('close')
  }
  // as many as were sent at once
  socket.setMaxListeners(0)
  socket.once('close', onClose)
  response.once('socket', () => socket.off('close', onClose))
}

/** Answers what never became a request, and closes. */
function refuse(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const refusal = refusalOf(error)
  const body = JSON.stringify(errorBody(refusal))
  socket.end(
    [
      `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}`,
      'Connection: close',
      'Content-Type: application/json',
      `Content-Length: ${Buffer.byteLength(body)}`,
      '',
      body
    ].join('\r\n')
  )
}

function refusalOf(error: NodeJS.ErrnoException): RegistryError {
  switch (error.code) {
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new RegistryError('REQUEST_TIMEOUT', 'the headers of the request did not arrive in time')
    case 'HPE_HEADER_OVERFLOW':
      return new RegistryError('REQUEST_TOO_LARGE', 'the headers of the request are too long', {
        status: 431
      })
    case 'HPE_CHUNK_EXTENSIONS_OVERFLOW':
      return new RegistryError('REQUEST_TOO_LARGE', 'the chunk extensions of the request are too long')
    default:
      return new RegistryError(
        'REQUEST_INVALID',
        'this is not a well-formed HTTP/1.1 request (this port speaks plain HTTP, not TLS)'
      )
  }
}

/**
 * An HTTP server that listens nowhere: its connections are streams that peers open. It waits for them as one of
 * {@link listen} waits for its clients.
 */
export function peerServer(app: Koa, waits: Waits): Server {
  const server = create(app, waits)
  // this is when Node starts to look for headers that take too long
  server.emit('listening')
  return server
}
