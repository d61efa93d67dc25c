import { connect as connectHttp2 } from 'node:http2'
import { Agent, request } from 'node:https'
import { isIP } from 'node:net'
import type { Readable } from 'node:stream'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { reason } from '../oci/errors.ts'
import { ServerFailure, unlessAborted } from './failure.ts'
import { type Line, openLine } from './https-line.ts'
import type { Server } from './server.ts'

const TYPE = 'application/dns-message'
/** What a DNS message can have at most, in bytes. */
const MAX_MESSAGE = 65_535
// A connection on which nothing is asked for so long is closed (ms).
const IDLE_MS = 30_000
// Connections at a time to one server that speaks HTTP/1.1 only.
const MAX_SOCKETS = 8

/** A server that is asked over HTTPS. */
export type HttpsServer = Server & { readonly url: URL }

/** What came back: a DNS message, and for how many seconds a cache on the way has had it. */
export interface HttpsAnswer {
  readonly bytes: Buffer
  readonly age: number
}

/** Carries DNS messages over HTTPS. */
export interface Https {
  /**
   * Posts one message. Questions to one server share a connection, over HTTP/2 where it speaks that, which
   * Debian's name servers do exclusively.
   *
   * @throws ServerFailure that continues the server's name; the signal's reason when that aborts
   * @see https://www.rfc-editor.org/rfc/rfc8484
   */
  post(server: HttpsServer, message: Buffer, options: { signal: AbortSignal }): Promise<HttpsAnswer>
  /** Closes all connections. */
  stop(): void
}

/** @param options.timeoutMs for a connection, its TLS handshake included */
export function createHttps(options: { timeoutMs: number }): Https {
  const lines = new Map<string, Promise<Line | undefined>>()
  /** Servers that chose HTTP/1.1. */
  const old = new Set<string>()
  const agent = new Agent({ keepAlive: true, maxSockets: MAX_SOCKETS, timeout: IDLE_MS })
  const open = new Set<TLSSocket>()

  /** A connection to be shared, or nothing when the server doesn't speak HTTP/2. */
  async function dial(server: HttpsServer): Promise<Line | undefined> {
    const socket = await secure(server, options.timeoutMs, open)
    if (socket.alpnProtocol !== 'h2') {
      old.add(server.label)
      socket.destroy()
      return undefined
    }
    const session = connectHttp2(server.url.origin, { createConnection: () => socket })
    return openLine(session, { idleMs: IDLE_MS, onEnd: () => lines.delete(server.label) })
  }

  function lineTo(server: HttpsServer): Promise<Line | undefined> {
    const line = dial(server)
    lines.set(server.label, line)
    line.catch(() => lines.delete(server.label))
    return line
  }

  async function post(server: HttpsServer, message: Buffer, signal: AbortSignal): Promise<HttpsAnswer> {
    const kept = lines.get(server.label)
    if (!old.has(server.label)) {
      let line = await unlessAborted(kept ?? lineTo(server), signal)
      if (line?.isDoubtful() === true) {
        line.retire()
        line = await unlessAborted(lines.get(server.label) ?? lineTo(server), signal)
      }
      if (line !== undefined) return line.exchange(server.url, headersOf(message), message, { signal, read })
    }
    return overHttp1(server, message, agent, signal)
  }

  return {
    async post(server, message, { signal }) {
      signal.throwIfAborted()
      const reused = lines.has(server.label)
      try {
        return await post(server, message, signal)
      } catch (error) {
        signal.throwIfAborted()
        // the server may have closed a connection that it was tired of just as the question went out
        if (reused && error instanceof ServerFailure && error.unreachable)
          return post(server, message, signal)
        throw error
      }
    },
    stop() {
      agent.destroy()
      for (const socket of open) socket.destroy()
    }
  }
}

function headersOf(message: Buffer): Record<string, string> {
  return { 'content-type': TYPE, accept: TYPE, 'content-length': String(message.length) }
}

/** A TLS connection whose certificate is that of the URL's host. */
function secure(server: HttpsServer, timeoutMs: number, open: Set<TLSSocket>): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const { host, port } = server
    const socket = connectTls({
      host,
      port,
      ALPNProtocols: ['h2', 'http/1.1'],
      // an address is no name to ask for; its certificate is checked all the same
      ...(isIP(host) === 0 ? { servername: host } : {})
    })
    open.add(socket)
    socket.on('close', () => open.delete(socket))
    const fail = (error: Error): void => {
      clearTimeout(timer)
      socket.off('close', closed)
      socket.destroy()
      reject(unreachable(error))
    }
    const closed = (): void => fail(new Error('the connection was closed'))
    const timer = setTimeout(() => fail(new Error(`no connection within ${timeoutMs} ms`)), timeoutMs)
    socket.once('error', fail)
    socket.once('close', closed)
    socket.once('secureConnect', () => {
      clearTimeout(timer)
      socket.off('error', fail)
      socket.off('close', closed)
      resolve(socket)
    })
  })
}

function overHttp1(
  server: HttpsServer,
  message: Buffer,
  agent: Agent,
  signal: AbortSignal
): Promise<HttpsAnswer> {
  return new Promise((resolve, reject) => {
    const headers = headersOf(message)
    const asked = request(server.url, { method: 'POST', agent, headers, signal }, (answer) => {
      read(answer.statusCode ?? 0, answer.headers, answer).then(resolve, (error: unknown) => {
        answer.destroy()
        reject(error)
      })
    })
    asked.on('error', (error) => reject(signal.aborted ? (signal.reason as Error) : unreachable(error)))
    asked.end(message)
  })
}

/** Reads an answer's content. @throws ServerFailure for one that holds no DNS message */
async function read(
  status: number,
  headers: { 'content-type'?: string | undefined; age?: string | undefined },
  body: Readable
): Promise<HttpsAnswer> {
  if (status !== 200) throw new ServerFailure(`answered HTTP ${status}`)
  const type = headers['content-type']?.split(';')[0]?.trim().toLowerCase()
  if (type !== TYPE) throw new ServerFailure(`answered ${type ?? 'something without a type'}, not ${TYPE}`)
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > MAX_MESSAGE) throw new ServerFailure(`answered more than ${MAX_MESSAGE} bytes`)
      chunks.push(chunk)
    }
  } catch (error) {
    throw error instanceof ServerFailure ? error : unreachable(error)
  }
  const age = /^\d{1,9}$/.test(headers.age ?? '') ? Number(headers.age) : 0
  return { bytes: Buffer.concat(chunks), age }
}

/** What happened, and for a certificate that nobody here knows what to do. */
function unreachable(cause: unknown): ServerFailure {
  const code = (cause as NodeJS.ErrnoException).code ?? ''
  const unknown = /SELF_SIGNED|UNABLE_TO_(GET_ISSUER|VERIFY)/.test(code)
  const advice = unknown ? '; name the file with its certificate authority in NODE_EXTRA_CA_CERTS' : ''
  return new ServerFailure(`could not be reached over HTTPS (${reason(cause)}${advice})`, {
    unreachable: true,
    cause
  })
}
