import { createSocket } from 'node:dgram'
import { isIP } from 'node:net'
import { reason } from '../oci/errors.ts'
import { ServerFailure } from './failure.ts'
import { judge, type Query, type Verdict } from './message.ts'

// So many answers with a wrong id or question aren't an accident: someone is guessing (RFC 5452 section 5).
const MAX_FOREIGN = 16

/** How a UDP exchange ended; `flooded` means that forged answers were arriving. */
export type UdpOutcome = Exclude<Verdict, { kind: 'foreign' }> | { kind: 'flooded' }

/**
 * Sends one query and waits for its answer on a socket of its own: bound to port 0, so that the kernel
 * draws a random source port, and connected, so that it drops packets from any other address. What
 * doesn't match the query is skipped, and the wait goes on.
 *
 * @throws ServerFailure when the server is unreachable; the signal's reason when that aborts
 * @see https://www.rfc-editor.org/rfc/rfc5452
 */
export function exchangeUdp(
  to: { address: string; port: number },
  query: Query,
  { signal }: { signal: AbortSignal }
): Promise<UdpOutcome> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    const socket = createSocket(isIP(to.address) === 6 ? 'udp6' : 'udp4')
    let foreign = 0
    let ended = false
    const end = (settle: () => void): void => {
      if (ended) return // a send that fails after the answer came
      ended = true
      signal.removeEventListener('abort', leave)
      socket.removeAllListeners()
      socket.on('error', () => {}) // closing; what comes now concerns nobody
      socket.close()
      settle()
    }
    const leave = (): void => end(() => reject(signal.reason as Error))
    const fail = (cause: Error): void => {
      const what = `could not be reached (${reason(cause)})`
      end(() => reject(new ServerFailure(what, { unreachable: true, cause })))
    }
    signal.addEventListener('abort', leave, { once: true })
    socket.on('error', fail)
    socket.on('message', (bytes, from) => {
      const verdict: Verdict = from.port === to.port ? judge(bytes, query) : { kind: 'foreign' }
      if (verdict.kind !== 'foreign') return end(() => resolve(verdict))
      foreign += 1
      if (foreign > MAX_FOREIGN) end(() => resolve({ kind: 'flooded' }))
    })
    socket.on('connect', () => socket.send(query.bytes, (error) => error && fail(error)))
    socket.connect(to.port, to.address)
  })
}
