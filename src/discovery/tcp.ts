import { connect } from 'node:net'
import { reason } from '../oci/errors.ts'
import { ServerFailure } from './failure.ts'
import { judge, type Message, type Query } from './message.ts'

/** An answer over TCP, and whether the server gave the name back in the case it was asked in. */
export interface TcpAnswer {
  readonly message: Message
  readonly keptCase: boolean
}

/**
 * Asks once over a TCP connection of its own. Nobody off the path can forge an answer here, so the
 * name's case is only noted. Messages are at most 64 KiB by their length prefix, and what follows the
 * first is not read.
 *
 * @throws ServerFailure for whatever the server does wrong; the signal's reason when that aborts
 * @see https://www.rfc-editor.org/rfc/rfc7766
 */
export function exchangeTcp(
  to: { address: string; port: number },
  query: Query,
  { signal }: { signal: AbortSignal }
): Promise<TcpAnswer> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    const socket = connect(to.port, to.address)
    const chunks: Buffer[] = []
    let size = 0
    const end = (settle: () => void): void => {
      signal.removeEventListener('abort', leave)
      socket.removeAllListeners()
      socket.on('error', () => {}) // being destroyed; what comes now concerns nobody
      socket.destroy()
      settle()
    }
    const leave = (): void => end(() => reject(signal.reason as Error))
    const fail = (what: string, cause?: unknown): void =>
      end(() => reject(new ServerFailure(what, { cause, unreachable: cause !== undefined })))
    signal.addEventListener('abort', leave, { once: true })
    socket.on('error', (error) => fail(`failed over TCP (${reason(error)})`, error))
    socket.on('end', () => fail('closed the TCP connection before its answer was complete'))
    socket.on('connect', () => {
      const prefix = Buffer.alloc(2)
      prefix.writeUInt16BE(query.bytes.length)
      socket.write(Buffer.concat([prefix, query.bytes]))
    })
    socket.on('data', (chunk) => {
      chunks.push(chunk)
      size += chunk.length
      const whole = size < 2 ? undefined : frame(chunks)
      if (whole === undefined) return
      const verdict = judge(whole, query)
      if (verdict.kind === 'answer') return end(() => resolve({ message: verdict.message, keptCase: true }))
      if (verdict.kind === 'case' && verdict.message !== undefined) {
        const { message } = verdict
        return end(() => resolve({ message, keptCase: false }))
      }
      if (verdict.kind === 'foreign') return fail('answered another question over TCP')
      if (verdict.kind === 'truncated') return fail('truncated its answer over TCP too')
      fail(`sent a malformed answer over TCP${verdict.kind === 'malformed' ? ` (${verdict.why})` : ''}`)
    })
  })
}

/** The first message of the stream, once all its bytes are there. */
function frame(chunks: Buffer[]): Buffer | undefined {
  if (chunks.length > 1 && (chunks[0]?.length ?? 0) < 2)
    chunks.splice(0, chunks.length, Buffer.concat(chunks))
  const length = chunks[0]?.readUInt16BE(0) ?? 0
  const size = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  return size < length + 2 ? undefined : Buffer.concat(chunks).subarray(2, length + 2)
}
