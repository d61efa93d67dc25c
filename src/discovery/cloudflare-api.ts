import { setTimeout as sleep } from 'node:timers/promises'
import { RegistryError, reason } from '../oci/errors.ts'
import { quote } from './failure.ts'

// More than a page of a hundred records takes, and little enough to hold.
const MAX_ANSWER = 4 * 1024 * 1024
// How often a request that was turned away for now is sent again.
const MAX_RETRIES = 5
// The wait when the answer doesn't say how long (ms); it doubles.
const RETRY_MS = 500

/** What an answer of the API holds. */
export interface ApiAnswer<T> {
  readonly result: T
  readonly info: { readonly total_count?: number } | undefined
}

/** One request to the API. @throws RegistryError with the API's error codes as its detail */
export type Call = <T = unknown>(
  method: 'GET' | 'POST',
  path: string,
  body?: unknown
) => Promise<ApiAnswer<T>>

interface Envelope {
  readonly success?: boolean
  readonly errors?: readonly { readonly code?: number; readonly message?: string }[]
  readonly result?: unknown
  readonly result_info?: { readonly total_count?: number }
}

/**
 * Speaks to Cloudflare's API: bearer token, JSON envelopes, and waits where the API says that there are too
 * many requests (429 with Retry-After) or is out of order for a moment (5xx). Redirects aren't followed: the
 * token is for this address alone.
 *
 * @see https://developers.cloudflare.com/fundamentals/api/reference/limits/
 * @see https://developers.cloudflare.com/fundamentals/api/how-to/make-api-calls/
 */
export function createApi(options: { base: string; token: string; signal: AbortSignal }): Call {
  const { base, token, signal } = options

  async function attempt(
    method: string,
    path: string,
    body: unknown
  ): Promise<{ status: number; wait: number; envelope: Envelope | undefined }> {
    const response = await fetch(`${base}${path}`, {
      method,
      redirect: 'error',
      signal,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' })
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) })
    })
    const wait = Number(response.headers.get('retry-after') ?? Number.NaN) * 1000
    return { status: response.status, wait, envelope: parse(await textOf(response)) }
  }

  const call: Call = async (method, path, body) => {
    for (let tries = 0; ; tries++) {
      const { status, wait, envelope } = await attempt(method, path, body).catch((error: unknown) => {
        if (signal.aborted) throw signal.reason
        const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
        throw new RegistryError(
          'SOURCE_FAILED',
          `Cloudflare's API at ${base} cannot be reached: ${reason(cause)}`,
          { cause }
        )
      })
      // a write that may have been carried out isn't sent again: the next look tells
      const again = status === 429 || (status >= 500 && method === 'GET')
      if (again && tries < MAX_RETRIES) {
        await sleep(Number.isFinite(wait) ? wait : RETRY_MS * 2 ** tries, undefined, { signal })
        continue
      }
      if (status >= 200 && status < 300 && envelope?.success === true)
        return { result: envelope.result as never, info: envelope.result_info }
      throw refusal(status, envelope)
    }
  }
  return call
}

function refusal(status: number, envelope: Envelope | undefined): RegistryError {
  const errors = (envelope?.errors ?? []).slice(0, 5)
  const said = errors.map(({ code, message }) => `${code ?? '?'} ${quote(message ?? '')}`).join(', ')
  const code =
    status === 429 ? 'TOOMANYREQUESTS' : status === 401 || status === 403 ? 'DENIED' : 'SOURCE_FAILED'
  const advice = code === 'DENIED' ? ': make a token with Zone:Read and DNS:Edit for the zone' : ''
  return new RegistryError(
    code,
    `Cloudflare's API answered ${status}${said === '' ? '' : ` (${said})`}${advice}`,
    { detail: errors.map((error) => error.code) }
  )
}

async function textOf(response: Response): Promise<string> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of response.body ?? []) {
    size += chunk.length
    if (size > MAX_ANSWER) throw new Error(`its answer is longer than ${MAX_ANSWER} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function parse(text: string): Envelope | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined // an error page; its status says what there is to say
  }
}
