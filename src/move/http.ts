/** HTTP to engines, gateways and registries: over TCP or a Unix socket, bodies streamed both ways. */
import { Agent, request as httpRequest, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { chunksOf } from '../ipfs/chunks.ts'
import { reason } from '../oci/errors.ts'
import { MoveError } from './types.ts'

/** Where somebody is reached. */
export interface Address {
  /** `http://127.0.0.1:5000`; the host of a Unix socket is only a word. */
  readonly url: URL
  readonly socketPath?: string
  /** How messages call it. */
  readonly name: string
}

/** An answer, its body still to come. */
export interface Reply {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: IncomingMessage
}

/** What is sent. */
export interface Ask {
  readonly method: string
  /** A path, or the whole URL that a server gave. */
  readonly path: string
  readonly headers?: OutgoingHttpHeaders
  readonly content?: Uint8Array | string | AsyncIterable<Uint8Array>
  /** For an answer to begin, after all was sent, in milliseconds; the client's unless given. */
  readonly answerMs?: number
  readonly signal: AbortSignal
}

/** One server. */
export interface Http {
  readonly address: Address
  /** @throws {MoveError} when it can't be reached, breaks off or is silent; the signal's reason */
  send(ask: Ask): Promise<Reply>
  /** A body as it comes, which may be silent for as long as an answer may take. */
  chunks(reply: Reply): AsyncIterable<Uint8Array>
  /** All of a small body. */
  read(reply: Reply, limit?: number): Promise<Buffer>
  close(): void
}

/** The most of an answer that is read as a whole, in bytes. */
const MAX_ANSWER = 16 * 1024 * 1024

const MAX_SOCKETS = 16

/** Makes it. `timeoutMs` is for an answer to begin, and for its silence. */
export function createHttp(address: Address, timeoutMs: number): Http {
  const agentOptions = { keepAlive: true, maxSockets: MAX_SOCKETS }
  const plain = new Agent(agentOptions)
  const secure = new HttpsAgent(agentOptions)

  const broken = (error: unknown, signal: AbortSignal): unknown => {
    if (signal.aborted) return signal.reason
    if (error instanceof MoveError) return error
    return new MoveError(`${address.name} ${whyOf(error)}`, { cause: error })
  }

  return {
    address,
    async send({ method, path, headers = {}, content, answerMs = timeoutMs, signal }) {
      signal.throwIfAborted()
      const url = new URL(path, address.url)
      const own = url.origin === address.url.origin
      const https = url.protocol === 'https:'
      const socket = own && address.socketPath !== undefined ? { socketPath: address.socketPath } : {}
      const length =
        typeof content === 'string' || content instanceof Uint8Array
          ? { 'content-length': Buffer.byteLength(content) }
          : content === undefined && ['POST', 'PUT', 'PATCH'].includes(method)
            ? { 'content-length': 0 }
            : {}
      const sending = (https ? httpsRequest : httpRequest)(url, {
        ...socket,
        method,
        headers: { 'user-agent': 'seaway', ...length, ...headers },
        agent: https ? secure : plain,
        signal
      })
      let late: NodeJS.Timeout | undefined
      const wait = () => {
        clearTimeout(late)
        late = setTimeout(
          () => sending.destroy(new MoveError(`${address.name} did not answer within ${answerMs} ms`)),
          answerMs
        )
      }
      // while a body goes out, every piece that is taken shows that somebody is there
      const watched = async function* (source: AsyncIterable<Uint8Array>) {
        for await (const chunk of source) {
          clearTimeout(late)
          yield chunk
          wait()
        }
      }
      const answered = new Promise<Reply>((resolve, reject) => {
        sending.once('response', (body) => {
          clearTimeout(late)
          resolve({ status: body.statusCode ?? 0, headers: body.headers, body })
        })
        sending.on('error', (error) => {
          clearTimeout(late)
          reject(broken(error, signal))
        })
      })
      wait()
      if (content === undefined || typeof content === 'string' || content instanceof Uint8Array) {
        sending.end(content)
        return answered
      }
      let sourceFailed: unknown
      const sent = pipeline(
        Readable.from(watched(content), { objectMode: false, highWaterMark: 1 << 20 }),
        sending
      ).catch((error: unknown) => {
        sourceFailed = error
      })
      try {
        return await answered
      } catch (error) {
        await sent
        signal.throwIfAborted()
        throw sourceFailed instanceof Error && isOurs(sourceFailed) ? sourceFailed : error
      }
    },

    async *chunks({ body }) {
      let late: NodeJS.Timeout | undefined
      const wait = () => {
        clearTimeout(late)
        late = setTimeout(
          () => body.destroy(new MoveError(`${address.name} went silent for ${timeoutMs} ms`)),
          timeoutMs
        )
      }
      try {
        const chunks = chunksOf(body)
        wait()
        for await (const chunk of chunks) {
          clearTimeout(late)
          yield chunk
          wait()
        }
      } catch (error) {
        if (error instanceof MoveError || (error as Error).name === 'AbortError') throw error
        throw new MoveError(`${address.name} ${whyOf(error)}`, { cause: error })
      } finally {
        clearTimeout(late)
      }
    },

    async read(reply, limit = MAX_ANSWER) {
      const chunks: Uint8Array[] = []
      let size = 0
      for await (const chunk of this.chunks(reply)) {
        size += chunk.length
        if (size > limit) throw new MoveError(`${address.name} answered with more than ${limit} bytes`)
        chunks.push(chunk)
      }
      return Buffer.concat(chunks)
    },

    close() {
      plain.destroy()
      secure.destroy()
    }
  }
}

/** Whether an error is one that says what to do, rather than a stream's own. */
function isOurs(error: Error): boolean {
  return error instanceof MoveError || error.name === 'RegistryError'
}

const WHY: Readonly<Record<string, string>> = {
  ENOENT: 'is not there: no such socket',
  ECONNREFUSED: 'cannot be reached: nobody listens there',
  EACCES: 'may not be used: this user has no permission for its socket',
  ENOTFOUND: 'cannot be reached: its name is not known to DNS',
  EAI_AGAIN: 'cannot be reached: its name cannot be looked up now',
  ECONNRESET: 'broke the connection off',
  EPIPE: 'broke the connection off'
}

/** What a request failed with, in words. */
function whyOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException
  return WHY[code ?? ''] ?? `failed: ${reason(error)}`
}
