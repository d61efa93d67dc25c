import { Duplex } from 'node:stream'
import type { Connection, Stream } from '@libp2p/interface'

import { garbage } from '../store/garbage.ts'

/** Unsent bytes above which a writer is held back. */
const FULL = 256 * 1024

/**
 * A libp2p stream as a socket that `node:http` can use, with back-pressure in both directions.
 *
 * `streamToSocket` of `@libp2p/http-utils` has none: it never pauses a stream, so that a slow reader has the
 * whole answer in memory, and it writes on as soon as `stream.onDrain()` resolves, which after the first
 * time is always (libp2p 3.3 never renews that promise), so that a slow reader has it in its server's
 * memory too.
 */
export class StreamSocket extends Duplex {
  /** The other side's IP address; where that is a relay's, the peer's id instead. */
  readonly remoteAddress: string
  /** As `net.Socket` has it. */
  bytesRead = 0
  readonly #stream: Stream
  #idleMs = 0
  #timer: NodeJS.Timeout | undefined
  /** What was unsent when something last moved. */
  #unsent = 0
  #silent = false

  constructor(stream: Stream, connection: Connection) {
    super({ allowHalfOpen: true })
    this.#stream = stream
    this.remoteAddress = addressOf(connection)
    stream.addEventListener('message', ({ data }) => {
      this.bytesRead += data.byteLength
      garbage(data.byteLength)
      this.#moved()
      if (!this.push(data.subarray()) && stream.readStatus === 'readable') stream.pause()
    })
    stream.addEventListener('remoteCloseWrite', () => this.#ending())
    stream.addEventListener('close', ({ error }) => {
      if (error === undefined) this.#ending()
      else this.destroy(error)
    })
    // its user sees the error too; a socket without a listener would end the process
    this.on('error', () => {})
  }

  override _read(): void {
    if (this.#stream.readStatus === 'paused') this.#stream.resume()
    if (this.#stream.remoteWriteStatus === 'closed') this.#ending()
  }

  override _write(chunk: Uint8Array, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const stream = this.#stream
    garbage(chunk.length)
    try {
      // the stream keeps what it can't send at once beyond the callback, after which the writer may use the
      // memory for the next bytes
      stream.send(new Uint8Array(chunk))
    } catch (error) {
      return done(error as Error)
    }
    this.#moved()
    let waiting = true
    const look = () => {
      const open = stream.status === 'open'
      if (!waiting || (open && stream.writeBufferLength > FULL)) return
      waiting = false
      stream.removeEventListener('drain', later)
      stream.removeEventListener('close', look)
      done(open ? null : new Error('the stream was closed by the other side'))
    }
    // the stream writes on in a microtask of its own after the event
    const later = () => setImmediate(look)
    if (stream.writeBufferLength <= FULL) return done()
    stream.addEventListener('drain', later)
    stream.addEventListener('close', look)
  }

  override _final(done: (error?: Error | null) => void): void {
    void (async () => {
      try {
        await this.#stream.close()
        done()
      } catch (error) {
        done(error as Error)
      }
    })()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#timer)
    // what was ended in order has been flushed; anything else is broken off, so that the other side knows
    const inOrder = this.writableFinished || (this.#silent && this.#isSent())
    if (error === null && inOrder) this.#part()
    else this.#stream.abort(error ?? new Error('the socket was closed'))
    done(error)
  }

  /** Ends, and closes when everything has been written; as `net.Socket` has it. */
  destroySoon(): void {
    if (!this.writableEnded) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }

  /**
   * Emits `timeout` when nothing has moved for `ms` milliseconds, and each time again after something has; 0 for
   * never. libp2p's own `inactivityTimeout` is a number that nobody looks at (@libp2p/utils 7.4.1).
   */
  setTimeout(ms: number, onTimeout?: () => void): this {
    this.#idleMs = ms
    if (onTimeout !== undefined) this.once('timeout', onTimeout)
    this.#moved()
    return this
  }

  /** Without effect, as are the next three: streams have nothing of the kind. */
  setNoDelay(): this {
    return this
  }
  setKeepAlive(): this {
    return this
  }
  ref(): this {
    return this
  }
  unref(): this {
    return this
  }

  #moved(): void {
    this.#silent = false
    this.#unsent = this.#stream.writeBufferLength
    clearTimeout(this.#timer)
    if (this.#idleMs > 0 && !this.destroyed)
      this.#timer = setTimeout(() => this.#onSilence(), this.#idleMs).unref()
  }

  #onSilence(): void {
    // some of what was written before has gone meanwhile
    if (this.#stream.writeBufferLength < this.#unsent) return this.#moved()
    this.#silent = true
    this.emit('timeout')
  }

  #isSent(): boolean {
    return this.writableLength === 0 && this.#stream.writeBufferLength === 0
  }

  /**
   * Closes the stream so that the other side can still read what is on its way, as TCP does. Where there is a time
   * limit it has as long again to close its own side, and loses the stream then.
   */
  #part(): void {
    const stream = this.#stream
    const cut = () => stream.abort(new Error('the stream was not closed by the other side'))
    if (this.#idleMs > 0 && stream.status === 'open') {
      const late = setTimeout(cut, this.#idleMs).unref()
      stream.addEventListener('close', () => clearTimeout(late), { once: true })
    }
    stream.close().catch(cut)
  }

  /** The other side has said all: the end, once everything that it said has been passed on. */
  #ending(): void {
    setImmediate(() => {
      if (this.#stream.readBufferLength === 0 && !this.destroyed) this.push(null)
    })
  }
}

function addressOf({ remoteAddr, remotePeer }: Connection): string {
  const parts = remoteAddr.getComponents()
  const host = parts.some(({ name }) => name === 'p2p-circuit') ? undefined : parts[0]?.value
  return host ?? `/p2p/${remotePeer.toString()}`
}
