/** A client that speaks HTTP/2 over TLS, and trusts the test authority. */
import {
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions
} from 'node:http2'
import { Readable } from 'node:stream'
import { AUTHORITY } from './certificate.ts'

/** An answer with its whole body. */
export interface Http2Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** One connection. */
export interface Http2Client {
  /** Asks for something; rejects when the stream breaks off. */
  call(
    method: string,
    path: string,
    ask?: { headers?: OutgoingHttpHeaders; body?: Uint8Array | string | Readable }
  ): Promise<Http2Answer>
  readonly session: ReturnType<typeof connect>
  close(): Promise<void>
}

/** Connects to a port of localhost. */
export function http2Client(port: number, options: SecureClientSessionOptions = {}): Http2Client {
  const session = connect(`https://localhost:${port}`, {
    ca: AUTHORITY,
    settings: { initialWindowSize: 1024 * 1024 },
    // what waits to be sent counts
    maxSessionMemory: 1000,
    ...options
  })
  session.on('error', () => {}) // every call hears of it
  session.once('connect', () => session.setLocalWindowSize(16 * 1024 * 1024))
  return {
    session,
    call: (method, path, { headers = {}, body } = {}) =>
      new Promise((resolve, reject) => {
        const stream = session.request(
          { ...headers, ':method': method, ':path': path },
          { endStream: body === undefined }
        )
        let given: IncomingHttpHeaders = {}
        const chunks: Buffer[] = []
        stream.on('response', (answer) => {
          given = answer
        })
        stream.on('data', (chunk: Buffer) => chunks.push(chunk))
        stream.on('end', () =>
          resolve({ status: Number(given[':status']), headers: given, body: Buffer.concat(chunks) })
        )
        stream.on('error', reject)
        stream.on('close', () => reject(new Error(`${method} ${path}: closed with ${stream.rstCode}`)))
        if (body instanceof Readable) body.pipe(stream)
        else if (body !== undefined) stream.end(body)
      }),
    async close() {
      if (session.destroyed) return
      const closed = new Promise<void>((resolve) => session.once('close', () => resolve()))
      session.destroy()
      await closed
    }
  }
}
