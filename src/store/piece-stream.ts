import { Readable, type Writable } from 'node:stream'
import { WINDOW } from './windows.ts'

/** Bytes for a client. They stay as they are until they are released. */
export interface Piece {
  readonly data: Uint8Array
  release(): void
}

/** Where a client's bytes come from, one piece after the other. */
export interface Pieces {
  /** The next one, or `undefined` at the end. One call at a time, each after the piece before was released. */
  next(): Promise<Piece | undefined>
  /** Ends it, also in the middle of a {@link Pieces.next}. */
  close(): Promise<void>
}

/**
 * The stream of a client. Piped into a socket it hands over each piece as it is, and takes it back when the
 * socket has sent it: what was read from the disk or came from a peer goes out without being copied, and its
 * memory is used again. Read in any other way, it gives copies of at most {@link WINDOW} bytes.
 */
export function streamOf(pieces: Pieces): Readable {
  return new PieceStream(pieces)
}

class PieceStream extends Readable {
  readonly #pieces: Pieces
  #piece: Piece | undefined
  #at = 0
  #lending = false
  #copying: Promise<void> | undefined

  constructor(pieces: Pieces) {
    super({ highWaterMark: WINDOW })
    this.#pieces = pieces
  }

  override _read(): void {
    if (this.#lending) return
    this.#copying = this.#copy().catch((error: Error) => void this.destroy(error))
  }

  async #copy(): Promise<void> {
    this.#piece ??= await this.#pieces.next()
    if (this.destroyed) {
      this.#return()
      return
    }
    if (this.#piece === undefined) {
      this.push(null)
      return
    }
    const part = Buffer.from(this.#piece.data.subarray(this.#at, this.#at + WINDOW))
    this.#at += part.length
    if (this.#at === this.#piece.data.length) this.#return()
    this.push(part)
  }

  #return(): void {
    this.#piece?.release()
    this.#piece = undefined
    this.#at = 0
  }

  override pipe<T extends NodeJS.WritableStream>(to: T, options?: { end?: boolean }): T {
    this.once('end', () => {
      if (options?.end !== false) to.end()
    })
    this.#lend(to as unknown as Writable)
      .finally(() => this.#return())
      .catch((error: Error) => this.destroy(error))
    return to
  }

  async #lend(to: Writable): Promise<void> {
    this.#lending = true
    let gone = () => {}
    to.once('close', () => gone())
    const write = (data: Uint8Array) =>
      new Promise<void>((resolve, reject) => {
        gone = () => reject(new Error('the client went away'))
        to.write(data, (error) => (error == null ? resolve() : reject(error)))
      })
    // somebody may have waited for the first bytes before saying where they should go
    await this.#copying
    for (let part = this.read() as Buffer | null; part !== null; part = this.read() as Buffer | null)
      await write(part)
    while (!this.destroyed) {
      this.#piece ??= await this.#pieces.next()
      if (this.#piece === undefined) break
      try {
        await write(this.#piece.data.subarray(this.#at))
      } finally {
        this.#return()
      }
    }
    if (this.readableEnded || this.destroyed) return
    this.push(null)
    this.resume()
  }

  async #close(error: Error | null, done: (error?: Error | null) => void): Promise<void> {
    try {
      await this.#pieces.close()
      done(error)
    } catch (failure) {
      done(error ?? (failure as Error))
    }
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#lending) this.#return()
    void this.#close(error, done)
  }
}
