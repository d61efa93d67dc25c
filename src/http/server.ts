import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
  STATUS_CODES
} from 'node:http'
import { type AddressInfo, isIP, type Server as NetServer } from 'node:net'
import type { Duplex } from 'node:stream'
import type Koa from 'koa'
import type { Log } from '../log.ts'
import { RegistryError } from '../oci/errors.ts'
import type { Identity } from '../tls/index.ts'
import { limitConnections } from './connections.ts'
import { errorBody } from './errors.ts'
import { createHttp2 } from './http2.ts'
import { secureFront } from './secure.ts'
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

/** What is said to one who sends something else. */
const PLAIN = 'this is not a well-formed HTTP/1.1 request (this port speaks plain HTTP, not TLS)'

/** How long a server waits, in milliseconds, and what it tells whom. */
export interface Waits {
  /** How long a client may be silent. */
  idleMs: number
  /** How long an answer may take to begin; then its connection isn't ended for that nothing moves on it. */
  answerMs?: number
  log: Log
}

/** How a server speaks TLS. */
export interface Tls {
  readonly identity: Identity
  /** How long clients are told to come with TLS only, in milliseconds; not at all if 0. */
  readonly hstsMs: number
}

/** What is done with a request, whatever protocol brought it. */
function listenerOf(app: Koa, idleMs: number, tls?: Tls): RequestListener {
  const handle = app.callback()
  return (request, response) => {
    tellOfEnd(request, response)
    watchBody(request, response, idleMs)
    if (tls !== undefined) promiseTls(request, response, tls.hstsMs)
    void handle(request, response)
  }
}

/** Later than what can still be answered. */
const timeoutOf = ({ idleMs, answerMs = 0 }: Waits): number => Math.max(idleMs, answerMs) * 1.5

const handshakeOf = ({ idleMs }: Waits): number => Math.min(idleMs, HEADERS_TIMEOUT)

function create(waits: Waits, listener: RequestListener, speaks = PLAIN): Server {
  const { idleMs, log } = waits
  const server = createServer(
    {
      headersTimeout: Math.min(idleMs, HEADERS_TIMEOUT),
      // A push of many gigabytes takes its time; idleness is what ends a connection.
      requestTimeout: 0,
      keepAliveTimeout: Math.min(idleMs, 30_000),
      connectionsCheckingInterval: Math.min(idleMs / 4, 5000),
      highWaterMark: 256 * 1024
    },
    listener
  )
  server.timeout = timeoutOf(waits)
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    log.debug({ cause: error.message }, 'not HTTP')
    if (!socket.writable || error.code === 'ECONNRESET') socket.destroy()
    else refuse(refusalOf(error, speaks), socket)
  })
  return server
}

/** A server, and what ends its connections. */
interface Ends {
  readonly server: NetServer
  /** Those on which nothing is under way, and each of the others after its answer. */
  closeIdle(): void
  closeAll(): void
}

function plain(app: Koa, waits: Waits): Ends {
  const server = create(waits, listenerOf(app, waits.idleMs))
  return {
    server,
    closeIdle: () => server.closeIdleConnections(),
    closeAll: () => server.closeAllConnections()
  }
}

function secure(app: Koa, waits: Waits, tls: Tls): Ends {
  const listener = listenerOf(app, waits.idleMs, tls)
  const http = unheard(create(waits, listener, 'this is not a well-formed HTTP/1.1 request'))
  const http2 = createHttp2(listener, timeoutOf(waits))
  const { server, closeAll } = secureFront(
    tls.identity,
    { http, http2, refuse: (socket) => refuse(noTls(), socket) },
    { handshakeMs: handshakeOf(waits), log: waits.log }
  )
  return {
    server,
    closeIdle() {
      // it listens nowhere, but looks for idle connections
      http.close()
      http2.close()
    },
    closeAll
  }
}

/**
 * Listens for HTTP. A client that takes longer than `idleMs` over its headers, or sends its body slower
 * than {@link watchBody} allows, is told so; a connection on which nothing moves at all is ended. What isn't HTTP, a TLS
 * ClientHello for one, is answered and closed at once: clients try TLS first and wait for that.
 * With `tls` it is the other way round: HTTPS, by HTTP/2 or 1.1, and what isn't TLS is answered and closed.
 * Connections beyond `maxConnections`, or beyond `maxPerAddress` of one IP address that is no proxy's, are closed as
 * they come, before anything is said on them.
 */
export async function listen(
  app: Koa,
  options: Waits & {
    host: string
    port: number
    tls?: Tls
    maxConnections?: number
    maxPerAddress?: number
    isProxy?: (address: string) => boolean
  }
): Promise<Listening> {
  const { tls } = options
  const { server, closeIdle, closeAll } = tls === undefined ? plain(app, options) : secure(app, options, tls)
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
      closeIdle()
      const timer = setTimeout(closeAll, graceMs)
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

/**
 * Has clients that know this server by a domain's name come with TLS only.
 *
 * @see https://www.rfc-editor.org/rfc/rfc6797
 */
function promiseTls({ headers }: IncomingMessage, response: ServerResponse, forMs: number): void {
  const host = String(headers[':authority'] ?? headers.host ?? '').replace(/:\d*$/, '')
  if (forMs > 0 && host.includes('.') && isIP(host) === 0)
    response.setHeader('Strict-Transport-Security', `max-age=${Math.floor(forMs / 1000)}`)
}

/** Answers what never became a request, and closes. */
function refuse(refusal: RegistryError, socket: Duplex): void {
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

function noTls(): RegistryError {
  return new RegistryError('REQUEST_INVALID', 'this port speaks TLS, and this came without: use https://')
}

function refusalOf(error: NodeJS.ErrnoException, malformed: string): RegistryError {
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
      return new RegistryError('REQUEST_INVALID', malformed)
  }
}

/**
 * An HTTP server that listens nowhere: its connections are streams that peers open. It waits for them as one of
 * {@link listen} waits for its clients.
 */
export function peerServer(app: Koa, waits: Waits): Server {
  return unheard(create(waits, listenerOf(app, waits.idleMs)))
}

/** For a server that is given its connections: this is when Node starts to look for headers that take too long. */
function unheard(server: Server): Server {
  server.emit('listening')
  return server
}
