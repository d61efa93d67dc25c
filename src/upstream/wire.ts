import type { Readable } from 'node:stream'
import { request } from 'undici'
import { chunksOf } from '../ipfs/chunks.ts'
import type { DialPolicy } from '../ipfs/policy.ts'
import { isAbort, reason } from '../oci/errors.ts'
import { type Dispatchers, hostOf, isLoopback } from './dispatch.ts'
import { UpstreamError } from './failure.ts'
import { type Content, isStream, sending } from './sending.ts'

/** By names in lower case; what came several times is joined by commas. */
export type Headers = Readonly<Record<string, string | undefined>>

/** An answer, its body still to come. */
export interface Reply {
  readonly status: number
  readonly headers: Headers
  /** What was asked in the end, after redirects. */
  readonly url: URL
  readonly body: Readable
}

/** What is sent. */
export interface Ask {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly content?: Content
  /** For an answer to begin after all was sent, and for what is sent to be taken, in ms; the wire's unless given. */
  readonly answerMs?: number
  readonly signal: AbortSignal
}

/** HTTP(S) requests to one upstream's servers, and to those that they send us to. */
export interface Wire {
  /**
   * Sends a request, and follows redirects, unless it carried bytes that are gone.
   *
   * @throws {UpstreamError} `down`, `wrong`; the signal's reason; what a content throws that is sent as it comes
   */
  send(ask: Ask): Promise<Reply>
  /** All of a small body. @throws {UpstreamError} `wrong` when it is longer than `limit` bytes */
  read(reply: Reply, limit: number, silenceMs?: number): Promise<Buffer>
  /**
   * A body as it comes. Ends with `down` when it is silent, or next to it, for too long.
   *
   * @param silenceMs how long that is; the wire's unless given
   */
  chunks(reply: Reply, silenceMs?: number): AsyncGenerator<Uint8Array>
  close(): void
}

/** Redirects that are followed for one request. */
const MAX_REDIRECTS = 5

/** What a source must send at least, in bytes a second, not to count as silent. */
const LEAST_RATE = 1024

/** How much of a body is taken from the network before it is asked for, in bytes. */
const READ_AHEAD = 256 * 1024

/** How much of a redirect's own body is read so that its connection can be used again, in bytes. */
const MAX_REDIRECT_BODY = 16 * 1024

/** Headers that are for one host alone. */
const PRIVATE = new Set(['authorization', 'cookie'])

/**
 * @param options.timeoutMs for an answer to begin, and for its silence
 * @param options.trusted what the operator named; of other servers, those that `policy` refuses aren't dialled. Another port
 *   of such a host is as good (a token service, a storage service), except on this machine, where it may be anything of ours
 * @param options.trusting how a further authority is trusted, for people
 * @param options.name how messages call a server that has no host of its own; each by its host unless given
 */
export function createWire(options: {
  dispatchers: Dispatchers
  timeoutMs: number
  trusted: readonly URL[]
  policy: Pick<DialPolicy, 'hostRefusal'>
  trusting?: string
  name?: string
}): Wire {
  const { dispatchers, timeoutMs, trusted, policy, trusting = 'name the certificate with ca=' } = options
  const nameOf = (url: URL) => options.name ?? url.host
  const isTrusted = (url: URL) =>
    trusted.some((one) => (isLoopback(url) ? one.host === url.host : one.hostname === url.hostname))

  /** Sends a request without following where it leads. */
  async function once(ask: Ask): Promise<Reply & Dumped> {
    const { method, url, headers, content, answerMs = timeoutMs, signal } = ask
    signal.throwIfAborted()
    const own = isTrusted(url)
    const refused = own ? undefined : policy.hostRefusal(hostOf(url))
    if (refused !== undefined) throw new UpstreamError('wrong', `${url.host} is not dialled: ${refused}`)
    const late = new AbortController()
    let timer: NodeJS.Timeout | undefined
    let answered = false
    const rest = () => clearTimeout(timer)
    const wait = () => {
      rest()
      if (answered) return
      timer = setTimeout(() => {
        const what = `${nameOf(url)} did not answer within ${answerMs} ms`
        late.abort(new UpstreamError('down', what, { silent: true }))
      }, answerMs)
    }
    const source = content === undefined || !isStream(content) ? undefined : sending(content, rest, wait)
    wait()
    try {
      const answer = await request(url, {
        dispatcher: dispatchers.to(url, own),
        method,
        headers,
        signal: AbortSignal.any([signal, late.signal]),
        highWaterMark: READ_AHEAD,
        ...(content !== undefined && { body: source?.body ?? (content as string | Uint8Array) })
      })
      const { body } = answer
      body.on('error', () => undefined) // whoever reads hears of it
      return {
        status: answer.statusCode,
        headers: joined(answer.headers),
        url,
        body,
        dump: () => body.dump({ limit: MAX_REDIRECT_BODY, signal }).catch(() => undefined)
      }
    } catch (error) {
      if (signal.aborted) throw signal.reason
      if (source?.failure() !== undefined) throw source.failure()
      throw failed(late.signal.aborted ? late.signal.reason : error, nameOf(url), trusting)
    } finally {
      answered = true
      rest()
    }
  }

  return {
    async send(ask) {
      let { url } = ask
      let headers = ask.headers
      for (let hops = 0; hops <= MAX_REDIRECTS; hops++) {
        const { dump, ...reply } = await once({ ...ask, url, headers })
        const { location } = reply.headers
        if (![301, 302, 303, 307, 308].includes(reply.status) || location === undefined) return reply
        if (ask.content !== undefined && isStream(ask.content)) return reply
        await dump()
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

    async read(reply, limit, silenceMs) {
      const chunks: Uint8Array[] = []
      let size = 0
      for await (const chunk of this.chunks(reply, silenceMs)) {
        size += chunk.length
        if (size > limit)
          throw new UpstreamError('wrong', `${nameOf(reply.url)} answered with more than ${limit} bytes`)
        chunks.push(chunk)
      }
      return Buffer.concat(chunks)
    },

    async *chunks({ body, url }, silenceMs = timeoutMs) {
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
        const silent = waited > silenceMs * 0.8 && bytes < (LEAST_RATE * waited) / 1000
        if (silent)
          body.destroy(
            new UpstreamError('down', `${nameOf(url)} sent ${bytes} bytes in ${Math.round(waited)} ms`, {
              silent: true
            })
          )
        bytes = 0
        waited = 0
      }, silenceMs)
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
        throw new UpstreamError('down', `${nameOf(url)} broke off: ${reason(error)}`, { cause: error })
      } finally {
        clearInterval(watch)
        await chunks.return?.()
      }
    },

    close: () => dispatchers.close()
  }
}

interface Dumped {
  /** Reads the rest of the answer away. */
  dump(): Promise<void>
}

function joined(headers: Readonly<Record<string, string | string[] | undefined>>): Headers {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value])
  )
}

/** What a request failed with, in words. */
function failed(error: unknown, name: string, trusting: string): UpstreamError {
  if (error instanceof UpstreamError) return error
  const { code } = error as NodeJS.ErrnoException
  const why: Record<string, string> = {
    ECONNREFUSED: `nobody listens ${whereIn(error)} (connection refused)`,
    UND_ERR_CONNECT_TIMEOUT: 'it does not take a connection',
    ENOENT: 'it is not there: no such socket',
    EACCES: 'it may not be used: this user has no permission for its socket',
    ENOTFOUND: 'its name is not known to DNS',
    EAI_AGAIN: 'its name cannot be looked up now',
    SELF_SIGNED_CERT_IN_CHAIN: `its authority is not trusted: ${trusting}`,
    UNABLE_TO_VERIFY_LEAF_SIGNATURE: `its authority is not trusted: ${trusting}`,
    UNABLE_TO_GET_ISSUER_CERT_LOCALLY: `its authority is not trusted: ${trusting}`,
    DEPTH_ZERO_SELF_SIGNED_CERT: `its certificate is self-signed: ${trusting}`
  }
  const silent = code === 'UND_ERR_CONNECT_TIMEOUT'
  return new UpstreamError('down', `${name}: ${why[code ?? ''] ?? reason(error)}`, {
    cause: error,
    silent
  })
}

/** Where a connection was tried: at a proxy, perhaps. */
function whereIn(error: unknown): string {
  const tried = error instanceof AggregateError ? (error.errors as unknown[])[0] : error
  const { address, port } = tried as { address?: string; port?: number }
  return address === undefined ? 'there' : `at ${address.includes(':') ? `[${address}]` : address}:${port}`
}
