import type { ClientHttp2Session, IncomingHttpHeaders } from 'node:http2'
import type { Readable } from 'node:stream'
import { reason } from '../oci/errors.ts'
import { ServerFailure } from './failure.ts'

// With a question out for so long and not a word from the other side, a connection may be dead (ms): a
// laptop that changed networks, a router that forgot it.
const SILENT_MS = 1000

/** Turns an HTTP answer into what its content says. */
export type ReadAnswer<T> = (status: number, headers: IncomingHttpHeaders, body: Readable) => Promise<T>

/** An HTTP/2 connection that is kept for the questions to come. */
export interface Line {
  /** Nothing came back for what was asked a while ago: the next question had better go over another one. */
  isDoubtful(): boolean
  /** Closes it as soon as what is under way has ended. */
  retire(): void
  /** @throws ServerFailure, what `read` throws, the signal's reason */
  exchange<T>(
    url: URL,
    headers: Record<string, string>,
    body: Buffer,
    options: { signal: AbortSignal; read: ReadAnswer<T> }
  ): Promise<T>
}

/** @param options.onEnd called when no more can be asked over it */
export function openLine(session: ClientHttp2Session, options: { idleMs: number; onEnd: () => void }): Line {
  let silentSince: number | undefined
  let ended = false
  const end = (): void => {
    if (!ended) options.onEnd()
    ended = true
  }
  session.unref() // an open connection is no reason for a command not to end
  session.setTimeout(options.idleMs, () => session.close())
  session.on('error', () => {}) // told by the streams, or nobody asked
  session.on('goaway', end)
  session.on('close', end)

  return {
    isDoubtful: () => silentSince !== undefined && Date.now() - silentSince >= SILENT_MS,
    retire() {
      end()
      session.close()
    },
    exchange(url, headers, body, { signal, read }) {
      return new Promise((resolve, reject) => {
        if (signal.aborted) return reject(signal.reason as Error)
        const fail = (error: unknown): void =>
          reject(
            new ServerFailure(`ended the HTTPS connection (${reason(error)})`, {
              unreachable: true,
              cause: error
            })
          )
        if (session.closed || session.destroyed) return fail(new Error('it is closed'))
        const path = `${url.pathname}${url.search}`
        const stream = session.request({ ...headers, ':method': 'POST', ':path': path })
        silentSince ??= Date.now()
        let answered = false
        const leave = (): void => {
          reject(signal.reason as Error)
          stream.destroy()
        }
        signal.addEventListener('abort', leave, { once: true })
        stream.on('close', () => {
          signal.removeEventListener('abort', leave)
          if (!answered) fail(new Error('no answer came'))
        })
        stream.on('error', (error) => answered || fail(error)) // a broken body is told by `read`
        stream.on('response', (answer) => {
          answered = true
          silentSince = undefined
          const taken = read(answer[':status'] ?? 0, answer, stream)
          // a body that is cut off ends like any other; only the stream knows
          taken.then(
            (value) =>
              (stream.rstCode ?? 0) === 0 ? resolve(value) : fail(new Error('it was cut in mid-answer')),
            (error: unknown) => {
              reject(error)
              stream.destroy()
            }
          )
        })
        stream.end(body)
      })
    }
  }
}
