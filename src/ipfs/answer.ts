import { type BodyIntake, type Intake, offer } from './intake.ts'
import { PeerFault } from './wants.ts'

/** The head of an HTTP answer; names of headers in lower case. */
export interface AnswerHead {
  readonly status: number
  readonly headers: ReadonlyMap<string, string>
}

/** Where the parts of answers go. */
export interface AnswerParts {
  /** Called with each head; gives what takes the body. */
  head(head: AnswerHead): BodyIntake
  /** Called at the end of each body; `last` when the connection can't be used for another answer. */
  end(last: boolean): void
}

/** The bytes of a connection on which answers come one after another. */
export interface AnswerIntake extends Intake {
  /** The connection was closed in order: an end for a body that has no other. @throws Error in the middle of an answer */
  closed(): void
}

/** More than this is no head of an answer to our requests. */
const MAX_HEAD = 16 * 1024

/** A chunk of a chunked body that has at least so many bytes left is read straight to where it belongs. */
const DIRECT = 64 * 1024

const END_OF_HEAD = Buffer.from('\r\n\r\n')

/** What the next bytes are. */
type State = 'head' | 'body' | 'chunk head' | 'chunk' | 'chunk end' | 'trailers' | 'ending' | 'over'

/**
 * Reads HTTP/1.1 answers off a connection: bodies with a length, chunked, or to the connection's end. Only
 * what a GET can be answered with, and strictly: what isn't well-formed ends the connection.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9112
 */
export function createAnswerIntake(parts: AnswerParts): AnswerIntake {
  /** What was read and isn't understood yet: heads, and what came after them. */
  const buffer = Buffer.allocUnsafeSlow(DIRECT)
  let start = 0
  let filled = 0
  let state: State = 'head'
  let body: BodyIntake | undefined
  /** Bytes left of the body or chunk. */
  let left = 0
  let chunked = false
  let lasting = true
  /** Whether the room that was given last is the body's own. */
  let direct = false

  function line(most: number): string | undefined {
    const end = buffer.indexOf('\n', start)
    if (end < 0 || end >= filled) {
      if (filled - start > most) throw new PeerFault('sent a line without an end')
      return undefined
    }
    const text = buffer.toString('latin1', start, end).replace(/\r$/, '')
    start = end + 1
    return text
  }

  function readHead(): boolean {
    const end = buffer.indexOf(END_OF_HEAD, start)
    if (end < 0 || end + 4 > filled) {
      if (filled - start > MAX_HEAD) throw new PeerFault(`sent a head of more than ${MAX_HEAD} bytes`)
      return false
    }
    const head = parseHead(buffer.toString('latin1', start, end))
    start = end + 4
    // 100 and 103 come before the answer
    if (head.status < 200) return true
    const { headers } = head
    const length = headers.get('content-length')
    const coding = headers.get('transfer-encoding')?.toLowerCase()
    const connection = headers.get('connection')?.toLowerCase() ?? ''
    chunked = coding === 'chunked'
    if (coding !== undefined && !chunked)
      throw new PeerFault(`answered in the coding '${coding.slice(0, 40)}'`)
    if (length !== undefined && (!/^\d{1,15}$/.test(length) || chunked))
      throw new PeerFault('answered with a length that is none')
    const none = head.status === 204 || head.status === 304
    lasting = !connection.includes('close') && (chunked || length !== undefined || none)
    body = parts.head(head)
    left = none ? 0 : length === undefined ? Number.POSITIVE_INFINITY : Number(length)
    state = chunked && !none ? 'chunk head' : 'body'
    if (state === 'body' && left === 0) state = 'ending'
    return true
  }

  /** Whether the body has been passed on to its end. */
  function finish(): boolean {
    if (body?.drained() === false) return false
    state = lasting ? 'head' : 'over'
    body = undefined
    parts.end(!lasting)
    return true
  }

  /** One step with what is in the buffer; whether there may be another. */
  function step(): boolean {
    if (state === 'ending') return finish()
    if (start === filled) return false
    switch (state) {
      case 'head':
        return readHead()
      case 'chunk head': {
        const text = line(1024)
        if (text === undefined) return false
        const size = /^([0-9a-f]{1,8})[\t ]*(?:;|$)/i.exec(text)?.[1]
        if (size === undefined) throw new PeerFault('sent a chunk without a size')
        left = Number.parseInt(size, 16)
        state = left === 0 ? 'trailers' : 'chunk'
        return true
      }
      case 'chunk end': {
        const text = line(2)
        if (text === undefined) return false
        if (text !== '') throw new PeerFault('sent a chunk of another size than it said')
        state = 'chunk head'
        return true
      }
      case 'trailers': {
        const text = line(MAX_HEAD)
        if (text === undefined) return false
        if (text === '') state = 'ending'
        return true
      }
      case 'over':
        throw new PeerFault('sent more after the end of its answer')
      default: {
        const most = Math.min(filled, start + left)
        const taken = offer(body as Intake, buffer.subarray(start, most))
        start += taken
        passed(taken)
        return taken > 0
      }
    }
  }

  /** So many bytes of the body have been passed on. */
  function passed(count: number): void {
    left -= count
    if (left > 0) return
    state = chunked ? 'chunk end' : 'ending'
  }

  function drain(): void {
    while (step()) {
      // each step says whether another is possible
    }
    if (start === filled) start = filled = 0
  }

  return {
    room() {
      drain()
      const inBody = state === 'body' || state === 'chunk'
      if (state === 'ending' || (start < filled && inBody)) return undefined
      direct = inBody && (!chunked || left >= DIRECT)
      if (direct) return body?.room()?.subarray(0, left)
      if (inBody && body?.room() === undefined) return undefined
      if (filled === buffer.length) {
        buffer.copyWithin(0, start, filled)
        filled -= start
        start = 0
      }
      // a head is read in small pieces where a large body may follow, which then needs no copying
      const most = state === 'chunk head' || state === 'chunk end' ? 64 : state === 'head' ? 1024 : DIRECT
      return buffer.subarray(filled, Math.min(buffer.length, filled + most))
    },

    took(count) {
      if (direct) {
        body?.took(count)
        passed(count)
      } else filled += count
      drain()
    },

    closed() {
      if ((state === 'body' && left === Number.POSITIVE_INFINITY) || state === 'ending') finish()
      else if (body !== undefined || filled > start)
        throw new Error('the connection was closed in the middle of an answer')
    }
  }
}

function parseHead(text: string): AnswerHead {
  const [first = '', ...lines] = text.split('\r\n')
  const status = /^HTTP\/1\.[01] (\d{3})(?: |$)/.exec(first)?.[1]
  if (status === undefined) throw new PeerFault('answered with something that is no HTTP')
  const headers = new Map<string, string>()
  for (const line of lines) {
    const [, name, value = ''] = /^([^\s:]+):[\t ]*(.*?)[\t ]*$/.exec(line) ?? []
    if (name === undefined) throw new PeerFault('answered with a header that is none')
    const key = name.toLowerCase()
    const before = headers.get(key)
    if (before !== undefined && key === 'content-length' && before !== value)
      throw new PeerFault('answered with two lengths')
    headers.set(key, before === undefined || key === 'content-length' ? value : `${before}, ${value}`)
  }
  return { status: Number(status), headers }
}
