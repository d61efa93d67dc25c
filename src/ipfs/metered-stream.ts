import type { Stream } from '@libp2p/interface'
import { garbage } from '../store/garbage.ts'

type Listener = (event: Event) => void

/**
 * A stream whose bytes are counted as they are handed out, with no more of a stream's members than
 * `@helia/bitswap` uses to read one.
 */
export class MeteredStream {
  readonly #stream: Stream
  readonly #read: (bytes: number) => void

  /** @param read told of the bytes before they are handed out */
  constructor(stream: Stream, read: (bytes: number) => void) {
    this.#stream = stream
    this.#read = read
  }

  get id(): string {
    return this.#stream.id
  }

  get protocol(): string {
    return this.#stream.protocol
  }

  get status(): Stream['status'] {
    return this.#stream.status
  }

  abort(why: Error): void {
    this.#stream.abort(why)
  }

  close(options?: { signal?: AbortSignal }): Promise<void> {
    return this.#stream.close(options)
  }

  addEventListener(type: 'message' | 'remoteCloseWrite' | 'close', listener: Listener): void {
    if (type !== 'message') return this.#stream.addEventListener(type, listener)
    this.#stream.addEventListener('message', (event) => {
      garbage(event.data.byteLength)
      this.#read(event.data.byteLength)
      // one that is closed by now may still have a whole message to hand out
      if (this.#stream.status !== 'aborted') listener(event)
    })
    return undefined
  }
}
