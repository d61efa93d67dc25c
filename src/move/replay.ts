import { MoveError } from './types.ts'

/** Content that can be read once, but gone back in by some bytes. */
export interface Replay {
  /** From a byte on. One reader at a time; when the next begins, the one before is over. */
  from(at: number): AsyncGenerator<Uint8Array>
  /** How much there is, in bytes, once all has been read. */
  size(): number | undefined
  /** Whether the content itself failed: whoever reads is told why each time. */
  failed(): boolean
  /** No more of it is wanted. */
  close(): void
}

/**
 * Keeps the last `limit` bytes of content, so that what got lost on its way can be sent again.
 *
 * @param seen called with each piece of the content once, in order
 */
export function createReplay(
  content: AsyncIterable<Uint8Array>,
  limit: number,
  seen: (chunk: Uint8Array) => void
): Replay {
  const source = content[Symbol.asyncIterator]()
  const kept: Uint8Array[] = []
  let start = 0
  let end = 0
  let whole = false
  let reading: Promise<void> | undefined
  let failure: { readonly error: unknown } | undefined

  /** Reads one piece more; who reads at the same time waits for the same. */
  async function more(): Promise<void> {
    // a source that failed says afterwards that it has ended
    if (failure !== undefined) throw failure.error
    reading ??= source
      .next()
      .then(({ done, value }) => {
        whole = done === true
        if (done === true) return
        seen(value)
        kept.push(value)
        end += value.length
        for (
          let first = kept[0];
          first !== undefined && end - start - first.length >= limit;
          first = kept[0]
        ) {
          kept.shift()
          start += first.length
        }
      })
      .catch((error: unknown) => {
        failure = { error }
        throw error
      })
      .finally(() => {
        reading = undefined
      })
    await reading
  }

  return {
    size: () => (whole ? end : undefined),
    failed: () => failure !== undefined,
    close: () => void source.return?.().catch(() => undefined),
    async *from(at) {
      let position = at
      for (;;) {
        if (position < start || position > end)
          throw new MoveError(
            `it broke off, and ${position} bytes have arrived: too far back to go on from there; try again`
          )
        if (position === end) {
          if (whole) return
          await more()
          continue
        }
        let skipped = start
        for (const chunk of kept) {
          if (position < skipped + chunk.length) {
            const rest = chunk.subarray(position - skipped)
            position += rest.length
            yield rest
            break
          }
          skipped += chunk.length
        }
      }
    }
  }
}
