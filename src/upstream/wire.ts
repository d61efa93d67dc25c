import {
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
  type OutgoingHttpHeaders
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { getCACertificates } from 'node:tls'
import { chunksOf } from '../ipfs/chunks.ts'
import type { DialPolicy } from '../ipfs/policy.ts'
import { isAbort, reason } from '../oci/errors.ts'
import { UpstreamError } from './failure.ts'

/** An answer, its body still to come. */
export interface Reply {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  /** What was asked in the end, after redirects. */
  readonly url: URL
  readonly body: IncomingMessage
}

/** What is sent. */
export interface Ask {
  readonly method: 'GET' | 'HEAD' | 'POST'
  readonly url: URL
  readonly headers: OutgoingHttpHeaders
  readonly content?: string
  readonly signal: AbortSignal
}

/** HTTP(S) requests to one upstream's servers, and to those that they send us to. */
export interface Wire {
  /** Sends a request, and follows redirects. @throws {UpstreamError} `down`, `wrong`; the signal's reason */
  send(ask: Ask): Promise<Reply>
  /** All of a small body. @throws {UpstreamError} `wrong` when it is longer than `limit` bytes */
  read(reply: Reply, limit: number): Promise<Buffer>
  /** A body as it comes. Ends with `down` when it is silent, or next to it, for too long. */
  chunks(reply: Reply): AsyncGenerator<Uint8Array>
  close(): void
}

/** Redirects that are followed for one request. */
const MAX_REDIRECTS = 5

/** What a source must send at least, in bytes a second, not to count as silent. */
const LEAST_RATE = 1024

/** Connections to one host. */
const MAX_SOCKETS = 32

/** Headers that are for one host alone. */
const PRIVATE = new Set(['authorization', 'cookie'])

/**
 * @param options.ca certificates of further authorities, PEM
 * @param options.timeoutMs for an answer to begin, and for its silence
 * @param options.trusted hosts that the operator named; of others, those that `policy` refuses aren't dialled
 */
export function createWire(options: {
  ca: string | undefined
  timeoutMs: number
  trusted: ReadonlySet<string>
  policy: DialPolicy
}): Wire {
  const { ca, timeoutMs, trusted, policy } = options
  const agentOptions = { keepAlive: true, maxSockets: MAX_SOCKETS, maxFreeSockets: 8, timeout: 60_000 }
  const plain = new HttpAgent(agentOptions)
  const secure = new HttpsAgent({ ...agentOptions, ...(ca && { ca: [...getCACertificates('default'), ca] }) })

  function once({ method, url, headers, content, signal }: Ask): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted()
      const own = trusted.has(url.hostname)
      const refused = own ? undefined : policy.hostRefusal(url.hostname.replace(/^\[|\]$/g, ''))
      if (refused !== undefined) throw new UpstreamError('wrong', `${url.host} is not dialled: ${refused}`)
      const https = url.protocol === 'https:'
      const sending = (https ? httpsRequest : httpRequest)(url, {
        method,
        headers,
        signal,
        agent: https ? secure : plain,
        ...(own ? {} : { lookup: policy.lookup })
      })
      const late = setTimeout(() => {
        const what = `${url.host} did not answer within ${timeoutMs} ms`
        sending.destroy(new UpstreamError('down', what, { silent: true }))
      }, timeoutMs)
      sending.once('response', (reply) => {
        clearTimeout(late)
        resolve(reply)
      })
      sending.once('error', (error) => {
        clearTimeout(late)
        reject(failed(error, url, signal))
      })
      sending.end(content)
    })
  }

  return {
    async send(ask) {
      let { url } = ask
      let headers = ask.headers
      for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
        const body = await once({ ...ask, url, headers })
        const status = body.statusCode ?? 0
        const { location } = body.headers
        if (![301, 302, 303, 307, 308].includes(status) || location === undefined)
          return { status, headers: body.headers, url, body }
        body.destroy()
        if (!URL.canParse(location, url.href))
          throw new UpstreamError('wrong', `${url.host} redirects to what is no URL`)
        const next = new URL(location, url)
        if (!/^https?:$/.test(next.protocol) || (url.protocol === 'https:' && next.protocol === 'http:'))
          throw new UpstreamError(
            'wrong',
            `${url.host} redirects to ${next.protocol}//${next.host}, which is refused`
          )
        if (next.origin !== url.origin)
          headers = Object.fromEntries(
            Object.entries(headers).filter(([name]) => !PRIVATE.has(name.toLowerCase()))
          )
        url = next
      }
      throw new UpstreamError('wrong', `${ask.url.host} redirects more than ${MAX_REDIRECTS} times`)
    },

    async read(reply, limit) {
      const chunks: Uint8Array[] = []
      let size = 0
      for await (const chunk of this.chunks(reply)) {
        size += chunk.length
        if (size > limit)
          throw new UpstreamError('wrong', `${reply.url.host} answered with more than ${limit} bytes`)
        chunks.push(chunk)
      }
      return Buffer.concat(chunks)
    },

    async *chunks({ body, url }) {
      let bytes = 0
      let waited = 0
      let since: number | undefined
      const account = () => {
        if (since === undefined) return
        const now = performance.now()
        waited += now - since
        since = now
      }
      const watch = setInterval(() => {
        account()
        const silent = waited > timeoutMs * 0.8 && bytes < (LEAST_RATE * waited) / 1000
        if (silent)
          body.destroy(
            new UpstreamError('down', `${url.host} sent ${bytes} bytes in ${Math.round(waited)} ms`, {
              silent: true
            })
          )
        bytes = 0
        waited = 0
      }, timeoutMs)
      const chunks = chunksOf(body)
      try {
        for (;;) {
          since = performance.now()
          const { done, value } = await chunks.next()
          account()
          since = undefined
          if (done === true) return
          bytes += value.length
          yield value
        }
      } catch (error) {
        if (error instanceof UpstreamError || isAbort(error)) throw error
        throw new UpstreamError('down', `${url.host} broke off: ${reason(error)}`, { cause: error })
      } finally {
        clearInterval(watch)
        await chunks.return?.()
      }
    },

    close() {
      plain.destroy()
      secure.destroy()
    }
  }
}

/** What a request failed with, in words. */
function failed(error: Error, url: URL, signal: AbortSignal): unknown {
  if (error instanceof UpstreamError) return error
  if (signal.aborted) return signal.reason
  const { code } = error as NodeJS.ErrnoException
  const why: Record<string, string> = {
    ECONNREFUSED: 'nobody listens there (connection refused)',
    ENOTFOUND: 'its name is not known to DNS',
    EAI_AGAIN: 'its name cannot be looked up now',
    SELF_SIGNED_CERT_IN_CHAIN: 'its authority is not trusted: name the certificate with ca=',
    UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its authority is not trusted: name the certificate with ca=',
    UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its authority is not trusted: name the certificate with ca=',
    DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is self-signed: name it with ca='
  }
  return new UpstreamError('down', `${url.host}: ${why[code ?? ''] ?? reason(error)}`, { cause: error })
}
