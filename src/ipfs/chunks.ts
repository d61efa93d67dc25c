import type { Readable } from 'node:stream'
import { garbage } from '../store/garbage.ts'

/** Bytes that may wait for the reader before the stream is paused. */
const WAITING = 512 * 1024

/**
 * The chunks of a stream as they came. A stream's own iterator joins what has gathered since the last step:
 * one more copy of every byte when the reader is the slower side.
 *
 * A stream that is closed before its end throws; leaving the loop destroys it.
 */
export function chunksOf(stream: Readable): AsyncIterableIterator<Uint8Array> {
  const queue: Uint8Array[] = []
  let bytes = 0
  let ended = false
  // what was cut off before anybody listened will not say so again
  let failure = stream.errored ?? (stream.destroyed ? new Error('the answer was cut off') : undefined)
  let wake = () => {}

  stream.on('data', (chunk: Uint8Array) => {
    garbage(chunk.length)
    queue.push(chunk)
    bytes += chunk.length
    if (bytes >= WAITING) stream.pause()
    wake()
  })
  stream.once('end', () => {
    ended = true
    wake()
  })
  stream.once('error', (error) => {
    failure ??= error
    wake()
  })
  stream.once('close', () => {
    if (!ended) failure ??= new Error('the answer was cut off')
    wake()
  })
  stream.pause()

  return {
    [Symbol.asyncIterator]() {
      return this
    },
    async next() {
      for (;;) {
        const chunk = queue.shift()
        if (chunk !== undefined) {
          bytes -= chunk.length
          if (bytes < WAITING / 2 && stream.isPaused()) stream.resume()
          return { done: false, value: chunk }
        }
        if (failure !== undefined) throw failure
        if (ended) return { done: true, value: undefined }
        if (stream.isPaused()) stream.resume()
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
    async return() {
      queue.length = 0
      stream.destroy()
      return { done: true, value: undefined }
    }
  }
}
