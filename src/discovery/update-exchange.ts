import { createSocket } from 'node:dgram'
import { connect, isIP } from 'node:net'
import { reason } from '../oci/errors.ts'
import { ServerFailure } from './failure.ts'

// Unanswered datagrams are sent again after so long, then twice as long, as resolvers do (ms).
const RESEND_MS = 1000

/** Where messages go. */
export interface Endpoint {
  readonly address: string
  readonly port: number
}

/**
 * Sends one message over a TCP connection of its own and gives back the answer, which has the message's id.
 *
 * @throws ServerFailure that continues the server's name; the signal's reason when that aborts
 * @see https://www.rfc-editor.org/rfc/rfc7766
 */
export function exchangeOverTcp(to: Endpoint, message: Buffer, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    const socket = connect(to.port, to.address)
    let received = Buffer.alloc(0)
    const end = (settle: () => void): void => {
      signal.removeEventListener('abort', leave)
      socket.removeAllListeners()
      socket.on('error', () => {}) // being destroyed; what comes now concerns nobody
      socket.destroy()
      settle()
    }
    const fail = (what: string, cause?: unknown): void =>
      end(() => reject(new ServerFailure(what, { cause, unreachable: cause !== undefined })))
    const leave = (): void => end(() => reject(signal.reason as Error))
    signal.addEventListener('abort', leave, { once: true })
    socket.on('error', (error) => fail(`could not be reached over TCP (${reason(error)})`, error))
    socket.on('end', () => fail('closed the connection before its answer was complete'))
    socket.on('connect', () => {
      const length = Buffer.alloc(2)
      length.writeUInt16BE(message.length)
      socket.write(Buffer.concat([length, message]))
    })
    socket.on('data', (chunk) => {
      // at most the 64 KiB that the length can say, and what came along with them
      received = Buffer.concat([received, chunk])
      const length = received.length < 2 ? 65_535 : received.readUInt16BE(0)
      if (received.length < length + 2) return
      const answer = received.subarray(2, length + 2)
      if (isAnswerTo(message, answer)) end(() => resolve(answer))
      else fail('answered something else than what it was asked')
    })
  })
}

/**
 * The same over UDP, from a port that the kernel draws; sent again while nothing comes, so the other side may
 * see it more than once. `undefined` when the answer is too long for a datagram.
 *
 * @throws ServerFailure, the signal's reason
 */
export function exchangeOverUdp(
  to: Endpoint,
  message: Buffer,
  signal: AbortSignal
): Promise<Buffer | undefined> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    const socket = createSocket(isIP(to.address) === 6 ? 'udp6' : 'udp4')
    let timer: NodeJS.Timeout | undefined
    let ended = false
    const end = (settle: () => void): void => {
      if (ended) return
      ended = true
      clearTimeout(timer)
      signal.removeEventListener('abort', leave)
      socket.removeAllListeners()
      socket.on('error', () => {}) // closing; what comes now concerns nobody
      socket.close()
      settle()
    }
    const leave = (): void => end(() => reject(signal.reason as Error))
    const fail = (cause: Error): void =>
      end(() =>
        reject(new ServerFailure(`could not be reached (${reason(cause)})`, { unreachable: true, cause }))
      )
    const send = (again: number): void => {
      if (ended) return
      socket.send(message, (error) => error && fail(error))
      timer = setTimeout(() => send(again * 2), again)
    }
    signal.addEventListener('abort', leave, { once: true })
    socket.on('error', fail)
    socket.on('message', (answer) => {
      if (!isAnswerTo(message, answer)) return
      const truncated = ((answer[2] ?? 0) & 2) !== 0
      end(() => resolve(truncated ? undefined : answer))
    })
    socket.on('connect', () => send(RESEND_MS))
    socket.connect(to.port, to.address)
  })
}

/** The same id and kind of message, and an answer. */
function isAnswerTo(message: Buffer, answer: Buffer): boolean {
  if (answer.length < 12 || answer.readUInt16BE(0) !== message.readUInt16BE(0)) return false
  const [asked, answered] = [message.readUInt16BE(2), answer.readUInt16BE(2)]
  return (answered & 0x8000) !== 0 && (answered & 0x7800) === (asked & 0x7800)
}
