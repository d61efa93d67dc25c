import type { ServerResponse } from 'node:http'

/** The least that a peer must take of an answer, in bytes a second, on average and with `idleMs` to spare. */
const MIN_RATE = 2048

/** A timer takes no longer time, in milliseconds. */
const MAX_MS = 2 ** 31 - 1

/** One to whom an answer is sent. */
export interface Reader {
  /**
   * Writes one chunk; it has left for the kernel, or the stream, then.
   *
   * @throws {@link PeerGone}
   */
  write(chunk: Uint8Array): Promise<void>
}

/** The reader went away, or took so little that it was ended. */
export class PeerGone extends Error {}

/**
 * Ends an answer whose reader takes less than {@link MIN_RATE} over `idleMs`, as it could hold its seat for ever
 * otherwise. Only time in which the socket is what is waited for counts: not that of our own upload limit, nor that
 * of reading, nor that of the answers before it on the same connection.
 */
export function createReader(answer: ServerResponse, idleMs: number): Reader {
  /** For how long it may still be waited for. */
  let patience = idleMs
  let writing = false
  let drop = () => {}
  answer.once('close', () => drop())
  // the server's limit is for whatever does not move; here it may be our turn
  answer.on('timeout', () => {
    if (writing) answer.destroy()
  })

  return {
    async write(chunk) {
      if (answer.destroyed) throw new PeerGone()
      let begun: number | undefined
      let timer: NodeJS.Timeout | undefined
      patience += (chunk.length * 1000) / MIN_RATE
      const watch = () => {
        begun = performance.now()
        timer = setTimeout(() => answer.destroy(), Math.min(patience, MAX_MS))
      }
      if (answer.socket === null) answer.once('socket', watch)
      else watch()
      writing = true
      try {
        await new Promise<void>((resolve, reject) => {
          drop = () => reject(new PeerGone())
          answer.write(chunk, (error) => {
            if (error == null) resolve()
            else reject(new PeerGone('the answer could not be written', { cause: error }))
          })
        })
      } finally {
        writing = false
        answer.off('socket', watch)
        clearTimeout(timer)
        patience = Math.min(idleMs, patience - (begun === undefined ? 0 : performance.now() - begun))
      }
    }
  }
}
