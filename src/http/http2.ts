import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import {
  constants,
  createServer,
  Http2ServerRequest,
  Http2ServerResponse,
  type Http2Session
} from 'node:http2'
import type { Duplex } from 'node:stream'

/** What may be on its way to us before we take it, of one request and of a connection, in bytes. */
const STREAM_WINDOW = 1024 * 1024
const SESSION_WINDOW = 8 * 1024 * 1024

/** How many requests one connection may have at a time. */
const MAX_STREAMS = 128

/** How much memory one connection may take of its own, in MB: what waits to be sent of all its answers. */
const SESSION_MEMORY = 64

/** The least that a client must take of an answer, in bytes a second. */
const MIN_RATE = 2048

/** A timer takes no longer time, in milliseconds. */
const MAX_TIMER = 2 ** 31 - 1

/** How long a client may go on with its body after its answer is out, in milliseconds. */
const GRACE = 1000

/**
 * A request as `node:http` would have it: one that breaks off ends with an error. The compatibility API of
 * `node:http2` ends it as if it were whole.
 */
export class Http2Request extends Http2ServerRequest {
  /** Bytes of its body that have arrived. */
  bytesRead = 0

  constructor(...args: ConstructorParameters<typeof Http2ServerRequest>) {
    super(...args)
    this.once('aborted', () => super.destroy())
  }

  override push(chunk: Uint8Array | null, encoding?: BufferEncoding): boolean {
    if (chunk !== null) this.bytesRead += chunk.length
    return super.push(chunk, encoding)
  }

  /** Ends the request, and with it its stream; an answer that was given goes out before. */
  override destroy(): this {
    super.destroy()
    const { stream } = this
    if (stream.writableEnded) setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), GRACE).unref()
    else stream.close(constants.NGHTTP2_CANCEL)
    return this
  }
}

/**
 * An answer as `node:http` would have it: it says when it has gone, and one that is destroyed doesn't look like a whole
 * one. It ends when its client takes less than {@link MIN_RATE} of it over `timeoutMs`: other requests keep their
 * connection moving, so that nobody else would notice.
 */
export class Http2Response extends Http2ServerResponse<Http2Request> {
  /** Bytes of its body that have left. */
  bytesWritten = 0
  /** In milliseconds. */
  timeoutMs = Number.POSITIVE_INFINITY
  #waiting = 0
  #timer: NodeJS.Timeout | undefined

  constructor(...args: ConstructorParameters<typeof Http2ServerResponse<Http2Request>>) {
    super(...args)
    const { stream } = this
    // Node lets one that is reset without an error wait for what it still had to send.
    stream.once('aborted', () => setImmediate(() => stream.destroy()))
  }

  override write(chunk: Uint8Array | string, ...rest: unknown[]): boolean {
    const done = rest.find((each) => typeof each === 'function') as
      | ((error?: Error | null) => void)
      | undefined
    const encoding = typeof rest[0] === 'string' ? (rest[0] as BufferEncoding) : 'utf8'
    const length = Buffer.byteLength(chunk)
    this.#watch(length)
    return super.write(chunk, encoding, (error?: Error | null) => {
      if (error == null) this.bytesWritten += length
      this.#watch(-length)
      done?.(error)
    })
  }

  #watch(more: number): void {
    this.#waiting += more
    clearTimeout(this.#timer)
    const patience = this.timeoutMs + (this.#waiting * 1000) / MIN_RATE
    if (this.#waiting > 0 && !this.stream.destroyed)
      this.#timer = setTimeout(() => this.destroy(), Math.min(patience, MAX_TIMER)).unref()
  }

  override destroy(): this {
    const { stream } = this
    clearTimeout(this.#timer)
    if (stream.closed) stream.destroy()
    else stream.close(stream.writableFinished ? constants.NGHTTP2_NO_ERROR : constants.NGHTTP2_INTERNAL_ERROR)
    return this
  }
}

/** What an {@link Http2ServerResponse} lacks, or says differently; it has no fields of a stream's own. */
function ofStream(read: (stream: Http2ServerResponse['stream']) => boolean): PropertyDescriptor {
  return {
    get(this: Http2Response) {
      return read(this.stream)
    }
  }
}
Object.defineProperties(Http2Response.prototype, {
  destroyed: ofStream((stream) => stream.destroyed || stream.closed),
  closed: ofStream((stream) => stream.closed),
  // Node closes the writing side of a stream that the client has given up, which counts as finished there.
  writableFinished: ofStream((stream) => stream.writableFinished && !stream.aborted)
})

/** How many bytes a request brought and its answer took. On HTTP/1.1 it is the connection's count, all requests together. */
export interface Traffic {
  readonly bytesRead: number
  readonly bytesWritten: number
}

/** The {@link Traffic} of a request; the same object for all requests that are counted together. */
export function trafficOf(request: IncomingMessage, response: ServerResponse): Traffic {
  const [asked, answer]: [unknown, unknown] = [request, response]
  if (!(asked instanceof Http2Request && answer instanceof Http2Response)) return request.socket
  return {
    get bytesRead() {
      return asked.bytesRead
    },
    get bytesWritten() {
      return answer.bytesWritten
    }
  }
}

/** Whether a body comes with a request, or is announced. */
export function hasBody(request: IncomingMessage): boolean {
  const asked: unknown = request
  // there a body needs no header
  if (asked instanceof Http2Request) return !asked.stream.endAfterHeaders
  const { headers } = request
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

/** An HTTP/2 server that listens nowhere: it is given connections which have agreed on it. */
export interface Http2 {
  /** Emit `connection` on it. */
  readonly server: { emit(event: 'connection', socket: Duplex): boolean }
  /** Takes no new requests on any connection; each ends with its last one. */
  close(): void
  /** Ends all connections. */
  destroy(): void
}

/**
 * Makes {@link Http2}. A connection on which nothing moves for `timeoutMs` is ended, and so is a single answer; see
 * {@link Http2Response}.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9113
 */
export function createHttp2(handle: RequestListener, timeoutMs: number): Http2 {
  const sessions = new Set<Pick<Http2Session, 'close' | 'destroy'>>()
  const server = createServer({
    Http2ServerRequest: Http2Request,
    Http2ServerResponse: Http2Response,
    settings: { initialWindowSize: STREAM_WINDOW, maxConcurrentStreams: MAX_STREAMS },
    maxSessionMemory: SESSION_MEMORY
  })
  server.setTimeout(timeoutMs)
  server.on('session', (session) => {
    session.setLocalWindowSize(SESSION_WINDOW)
    sessions.add(session)
    session.once('close', () => sessions.delete(session))
  })
  server.on('request', (request, response) => {
    response.timeoutMs = timeoutMs
    // they behave like these as far as it matters here
    handle(
      request as unknown as IncomingMessage,
      response as unknown as ServerResponse & { req: IncomingMessage }
    )
  })
  return {
    server,
    close() {
      for (const session of sessions) session.close()
    },
    destroy() {
      for (const session of sessions) session.destroy()
    }
  }
}
