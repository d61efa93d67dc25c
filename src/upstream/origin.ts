import { setTimeout as sleep } from 'node:timers/promises'
import type { Origin } from '../ipfs/transfer.ts'
import type { Digest } from '../oci/digest.ts'
import { asRefusal, UpstreamError } from './failure.ts'
import type { Mirror } from './mirror.ts'
import type { Ask } from './mirrors.ts'
import type { Reply, Wire } from './wire.ts'

/** How often a broken body is begun again without having gained {@link GAIN} bytes, and in all. */
const MAX_FRUITLESS = 4
const MAX_BREAKS = 100
const GAIN = 256 * 1024

/** A silence counts for so many breaks, because each takes its whole deadline. */
const SILENT = 2

/** The wait before it is begun again, doubled each time, in milliseconds. */
const WAIT_MS = 100

/** What an origin is made from. */
export interface OriginOptions {
  readonly ask: Ask
  readonly wire: Pick<Wire, 'chunks'>
  readonly repository: string
  readonly digest: Digest
  /** In bytes, where a manifest said so. */
  readonly size: number | undefined
  /** For messages. */
  readonly what: string
  /** What readers are told of a failure: what clients are, unless given. */
  readonly refusal?: (error: unknown) => unknown
  /** Told of the mirror whose bytes turned out wrong. */
  readonly onWrong: (mirror: Mirror) => void
}

/**
 * A blob of an upstream. A body that breaks off, or dries up, goes on at the byte where it ended: with a Range where the
 * server knows that, else by leaving out what is known already; from the next mirror where this one goes on failing.
 */
export function createOrigin(options: OriginOptions): Origin {
  const { ask, wire, repository, digest, what } = options
  const refusal = options.refusal ?? ((error: unknown) => asRefusal(error, 'BLOB_UNKNOWN'))
  const path = `blobs/${digest}`
  const from = new Set<Mirror>()
  let known = options.size

  async function size(signal: AbortSignal): Promise<number> {
    if (known !== undefined) return known
    try {
      known = await ask(signal, { patient: true }, async (mirror) => {
        const { headers, body } = await mirror.ask({ method: 'HEAD', repository, path, signal })
        body.resume()
        const length = Number(headers['content-length'] ?? Number.NaN)
        if (!Number.isSafeInteger(length) || length < 0)
          throw new UpstreamError('wrong', `${mirror.url.host} doesn't say how long ${digest} is`)
        return length
      })
      return known
    } catch (error) {
      throw refusal(error)
    }
  }

  /** Where in the blob an answer begins. @throws {UpstreamError} when it isn't what was asked for */
  function startOf(reply: Reply, at: number, whole: number): number {
    const { headers, status, url } = reply
    const wrong = (why: string) => {
      reply.body.destroy()
      return new UpstreamError('wrong', `${url.host} ${why}`)
    }
    const encoding = headers['content-encoding'] ?? 'identity'
    if (encoding !== 'identity') throw wrong(`sends ${digest} in the encoding ${encoding.slice(0, 20)}`)
    const range = /^bytes (\d{1,15})-\d{1,15}\/(\d{1,15}|\*)$/.exec(headers['content-range'] ?? '')
    if (status === 206 && Number(range?.[1]) !== at) throw wrong('sends another range than was asked for')
    const start = status === 206 ? at : 0
    const length = headers['content-length']
    // a page that says how long it is, is refused for that
    if (length === undefined && /^text\/html\b/i.test(headers['content-type'] ?? ''))
      throw wrong(`sends a page (text/html) instead of ${digest}`)
    if (length !== undefined && start + Number(length) !== whole)
      throw wrong(`says that ${digest} has ${start + Number(length)} bytes, but it has ${whole}`)
    return start
  }

  return {
    what,
    size,

    async *read(begin, signal) {
      const whole = await size(signal)
      let at = begin
      let gained = begin
      let fruitless = 0
      for (let breaks = 0; at < whole; breaks++) {
        let mirror: Mirror | undefined
        let answered = false
        try {
          const { reply, start } = await ask(signal, { patient: true }, async (one) => {
            mirror = one
            const range: Record<string, string> = at > 0 ? { range: `bytes=${at}-` } : {}
            const headers = { 'accept-encoding': 'identity', ...range }
            const answer = await one.ask({ method: 'GET', repository, path, headers, signal })
            return { reply: answer, start: startOf(answer, at, whole) }
          })
          answered = true
          if (mirror !== undefined) from.add(mirror)
          let skip = at - start
          for await (const chunk of wire.chunks(reply)) {
            const part = skip > 0 ? chunk.subarray(skip) : chunk
            skip = Math.max(0, skip - chunk.length)
            if (part.length === 0) continue
            at += part.length
            yield part
          }
          if (at < whole) throw new UpstreamError('down', `${what} ended after ${at} of ${whole} bytes`)
        } catch (error) {
          signal.throwIfAborted()
          const broken = error instanceof UpstreamError && error.fault === 'down' && mirror !== undefined
          // who doesn't even begin was asked often enough; who has begun may be starting again
          if (!answered && at === begin) throw refusal(error)
          if (at - gained >= GAIN) fruitless = 0
          gained = at
          fruitless += broken && error.silent ? SILENT : 1
          if (!broken || fruitless > MAX_FRUITLESS || breaks >= MAX_BREAKS) throw refusal(error)
          if (fruitless > 1) mirror?.failed(error)
          await sleep(WAIT_MS * 2 ** fruitless, undefined, { signal })
        }
      }
    },

    refuted() {
      for (const mirror of from) options.onWrong(mirror)
    }
  }
}
