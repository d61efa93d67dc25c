/** An HTTP relay in front of a registry: counts what that sends, and does what bad registries do. */
import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as sleep } from 'node:timers/promises'

/** A request that came, and what it got. */
export interface Asked {
  readonly method: string
  readonly path: string
  readonly range: string | undefined
  readonly status: number
  /** Bytes of the body that were passed on. */
  readonly sent: number
}

/** What goes wrong. */
export interface Fault {
  /** With which requests, as `METHOD /path`; with all unless given. */
  readonly on?: RegExp
  /** Answers instead of the registry. */
  readonly answer?: (request: IncomingMessage, response: ServerResponse) => void
  /** Bytes instead of the registry's; an error cuts the connection. */
  readonly body?: (bytes: AsyncIterable<Buffer>) => AsyncIterable<Buffer>
}

/** One that is in the bytes. */
export type BodyFault = Required<Pick<Fault, 'on' | 'body'>>

/** A relay that listens. */
export interface UpstreamRelay {
  readonly url: string
  readonly asked: readonly Asked[]
  /** What goes wrong from now on: the first that a request fits. */
  faults: readonly Fault[]
  /** Those requests of {@link UpstreamRelay.asked} whose `METHOD /path` fits. */
  matching(pattern: RegExp): Asked[]
  stop(): Promise<void>
}

/** Starts a relay on 127.0.0.1 to the registry at `target`. */
export async function startUpstreamRelay(target: string): Promise<UpstreamRelay> {
  const asked: Asked[] = []
  const state = { faults: [] as readonly Fault[] }
  const matches = (pattern: RegExp, { method, path }: Asked) => pattern.test(`${method} ${path}`)

  const server = createServer((incoming, response) => {
    const { method = '', url: path = '', headers } = incoming
    const entry = { method, path, range: headers.range, status: 0, sent: 0 }
    asked.push(entry)
    const fault = state.faults.find(({ on }) => on === undefined || matches(on, entry))
    response.once('close', () => {
      entry.status = response.statusCode
    })
    if (fault?.answer !== undefined) return fault.answer(incoming, response)
    const onward = request(new URL(path, target), { method, headers }, (given) => {
      response.writeHead(given.statusCode ?? 502, given.headers)
      const bytes = fault?.body === undefined || method === 'HEAD' ? given : fault.body(given)
      const counted = async function* () {
        for await (const chunk of bytes as AsyncIterable<Buffer>) {
          entry.sent += chunk.length
          yield chunk
        }
      }
      pipeline(Readable.from(counted(), { objectMode: false }), response).catch(() => response.destroy())
    })
    onward.on('error', () => response.destroy())
    response.once('close', () => onward.destroy())
    incoming.pipe(onward)
    return undefined
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    get faults() {
      return state.faults
    },
    set faults(faults) {
      state.faults = faults
    },
    matching: (pattern) => asked.filter((entry) => matches(pattern, entry)),
    async stop() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
  }
}

/** Answers everything so. */
export function answering(status: number, headers: Record<string, string> = {}, body = ''): Fault {
  return { answer: (_, response) => void response.writeHead(status, headers).end(body) }
}

/** Sends whoever asks to where they are. */
export function redirecting(): Fault {
  return {
    answer: ({ url = '' }, response) => void response.writeHead(307, { location: url }).end()
  }
}

/** Cuts answers after so many bytes, the first `times` of them. */
export function cutting(on: RegExp, after: number, times = Number.POSITIVE_INFINITY): BodyFault {
  let left = times
  return {
    on,
    async *body(bytes) {
      let room = left-- > 0 ? after : Number.POSITIVE_INFINITY
      for await (const chunk of bytes) {
        yield chunk.subarray(0, room)
        room -= chunk.length
        if (room > 0) continue
        await sleep(20) // what was sent goes out before the connection is reset
        throw new Error('cut')
      }
    }
  }
}

/** Sends as many other bytes. */
export function turning(on: RegExp): BodyFault {
  return {
    on,
    async *body(bytes) {
      for await (const chunk of bytes) yield Buffer.from(chunk.map((byte) => byte ^ 0x55))
    }
  }
}

/** Sends a byte a second, head included. */
export function dripping(): Fault {
  return {
    answer(_, { socket }) {
      const text = Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n')
      let at = 0
      const drip = setInterval(() => {
        socket?.write(text.subarray(at, at + 1))
        at = (at + 1) % text.length
      }, 1000)
      socket?.once('close', () => clearInterval(drip))
    }
  }
}

/** Sends so much of an answer at once, and then a byte a second. */
export function dryingUp(on: RegExp, after: number): BodyFault {
  return {
    on,
    async *body(bytes) {
      let room = after
      for await (const chunk of bytes) {
        if (room > 0) yield chunk.subarray(0, room)
        for (let at = Math.max(0, room); at < chunk.length; at++) {
          await sleep(1000)
          yield chunk.subarray(at, at + 1)
        }
        room -= chunk.length
      }
    }
  }
}

/** Sends so many bytes a second at most. */
export function slowly(on: RegExp, rate: number): BodyFault {
  return {
    on,
    async *body(bytes) {
      for await (const chunk of bytes) {
        yield chunk
        await sleep((chunk.length / rate) * 1000)
      }
    }
  }
}
