import { retryAfterMs, UpstreamError } from './failure.ts'
import { type Content, isStream } from './sending.ts'
import { type Access, scopeOf, type Tokens } from './tokens.ts'
import type { Ask, Reply, Wire } from './wire.ts'

/** One server of an upstream: how it is asked, and how it has behaved. */
export interface Mirror {
  readonly url: URL
  /**
   * Asks below `/v2/<repository>/`. The answer has status 200, 206 or 304; to what is put there, another 2xx.
   *
   * @throws {UpstreamError} for every other one, and as {@link Wire.send}
   */
  ask(question: Question): Promise<Reply>
  /** Why it is to be left alone for now, and for how long yet (ms): it failed, or asked for that. */
  resting(): { readonly error: UpstreamError; readonly ms: number } | undefined
  /** It was given up with this. */
  failed(error: UpstreamError): void
  /** What it said last of how often it may be asked: the `RateLimit-…` headers, and Docker Hub's `Docker-RateLimit-Source`. */
  readonly limits: Readonly<Record<string, string>>
}

/** What is asked of a mirror. */
export interface Question extends Pick<Access, 'repository' | 'from'> {
  readonly method: Ask['method']
  /** Below the repository: `manifests/<reference>`, `blobs/<digest>`, `tags/list`. Or where it said that something goes on. */
  readonly path: string | URL
  readonly content?: Content
  readonly headers?: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}

/** How long a mirror that failed is left alone: twice as long each time, in milliseconds. */
const REST_MS = 2000
const MAX_REST_MS = 60_000

/** How long one is left alone that says it is busy, but not for how long, in milliseconds. */
const BUSY_MS = 30_000

/** @see https://docs.docker.com/docker-hub/usage/pulls/ */
const LIMITS = /^(?:docker-)?ratelimit-/

/** How much of a refusal's body is read so that its connection can be used again, in bytes. */
const MAX_REFUSAL = 64 * 1024

/** Statuses of answers to what is read, and to what is put there or asked of an upload. */
const READ: readonly number[] = [200, 206, 304]
const WRITTEN: readonly number[] = [200, 201, 202, 204]

/** Makes it. */
export function createMirror(options: { url: URL; wire: Wire; tokens: Tokens }): Mirror {
  const { url, wire, tokens } = options
  let restingUntil = 0
  let failures = 0
  let failure: UpstreamError | undefined
  let limits: Record<string, string> = {}

  /** A refusal, read to its end: what it says, if it says it as registries do. */
  async function drop(reply: Reply): Promise<string | undefined> {
    try {
      return messageIn((await wire.read(reply, MAX_REFUSAL)).toString())
    } catch {
      reply.body.destroy()
      return undefined
    }
  }

  function targetOf({ repository, path }: Question): URL {
    if (typeof path !== 'string') return path
    const base = url.href.endsWith('/') ? url.href : `${url.href}/`
    return new URL(repository === '' ? `v2/${path}` : `v2/${repository}/${path}`, base)
  }

  async function once(question: Question): Promise<Reply> {
    const { repository, method, headers, content, from, signal } = question
    const target = targetOf(question)
    const reads = method === 'GET' || method === 'HEAD'
    const scope = scopeOf({ repository, push: !reads || typeof question.path !== 'string', from })
    let shown = target.origin === url.origin ? tokens.known(scope) : undefined
    for (let tries = 0; ; tries++) {
      const reply = await wire.send({
        method,
        url: target,
        headers: { 'user-agent': 'seaway', ...headers, ...(shown !== undefined && { authorization: shown }) },
        ...(content !== undefined && { content }),
        signal
      })
      note(reply)
      if ((reads && typeof question.path === 'string' ? READ : WRITTEN).includes(reply.status)) return reply
      const said = await drop(reply)
      const what = `${url.host}/${repository}`
      // a storage service behind it that says so has no business with what we show to the registry
      const home = reply.url.origin === url.origin
      if (reply.status !== 401 || !home) throw refusal(reply, what, said)
      tokens.refused(scope)
      // what was known may have become too old; what was made for this hasn't
      if (tries > 0) throw refusal(reply, what, said)
      shown = await tokens.challenged(scope, reply.headers['www-authenticate'], signal)
      if (content !== undefined && isStream(content))
        throw new UpstreamError('down', `${what} asked for a login while something was sent to it`)
    }
  }

  function note({ headers }: Reply): void {
    const said = Object.entries(headers).filter(([name]) => LIMITS.test(name))
    if (said.length > 0)
      limits = Object.fromEntries(said.map(([name, value]) => [name, String(value).slice(0, 100)]))
  }

  return {
    url,
    resting() {
      const ms = restingUntil - performance.now()
      return ms > 0 && failure !== undefined ? { error: failure, ms } : undefined
    },
    failed(error) {
      if (error.fault !== 'down' && error.fault !== 'busy') return
      failure = error
      const rest =
        error.fault === 'busy' ? BUSY_MS : Math.min(MAX_REST_MS, REST_MS * 2 ** Math.min(failures++, 10))
      restingUntil = performance.now() + (error.retryAfterMs ?? rest)
    },
    get limits() {
      return limits
    },
    async ask(question) {
      const reply = await once(question)
      failures = 0
      failure = undefined
      return reply
    }
  }
}

/** The longest message of a registry that is passed on, in characters. */
const MAX_SAID = 500

/** What a refusal says, on one line. @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes */
function messageIn(text: string): string | undefined {
  try {
    const [first] = (JSON.parse(text) as { errors?: { code?: unknown; message?: unknown }[] }).errors ?? []
    const said = [first?.message, first?.code].find((one) => typeof one === 'string' && one !== '')
    return typeof said === 'string' ? said.replace(/\s+/g, ' ').slice(0, MAX_SAID) : undefined
  } catch {
    return undefined
  }
}

/** What a status that is no success means. */
function refusal({ status, headers, url }: Reply, what: string, said: string | undefined): UpstreamError {
  const wait = retryAfterMs(headers['retry-after'])
  if (status === 404) return new UpstreamError('unknown', `${what} hasn't got it`, { status, said })
  if (status === 401 || status === 403)
    return new UpstreamError('denied', `${what} refuses access (${status})`, { status, said })
  if (status === 429) {
    const when = wait === undefined ? '' : `, and wants to be left alone for ${Math.ceil(wait / 1000)} s`
    return new UpstreamError('busy', `${what} is asked too often (429)${when}`, {
      retryAfterMs: wait,
      status,
      said
    })
  }
  if (status === 408 || status >= 500)
    return new UpstreamError('down', `${what} fails (${status} from ${url.host})`, {
      retryAfterMs: wait,
      status,
      said
    })
  return new UpstreamError('wrong', `${what} answers ${status}, which means nothing here`, { status, said })
}
