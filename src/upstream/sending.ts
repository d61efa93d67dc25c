import { Readable } from 'node:stream'

/** What a request carries: all of it, or bytes as they come. */
export type Content = string | Uint8Array | AsyncIterable<Uint8Array>

/** How much of what is sent as it comes is taken from its source before it can leave, in bytes. */
const SEND_AHEAD = 1024 * 1024

/** Whether a content can be sent only once. */
export const isStream = (content: Content): content is AsyncIterable<Uint8Array> =>
  typeof content !== 'string' && !(content instanceof Uint8Array)

/**
 * Content on its way. `wait` is called when the other side has to take something, or to answer, and `rest` while it
 * waits itself: for the next bytes of their source. `failure` is what the source threw, if it did.
 */
export function sending(
  source: AsyncIterable<Uint8Array>,
  rest: () => void,
  wait: () => void
): { readonly body: Readable; failure(): unknown } {
  let failure: unknown
  async function* watched() {
    const iterator = source[Symbol.asyncIterator]()
    const next = () =>
      iterator.next().catch((error: unknown) => {
        failure = error
        throw error
      })
    try {
      for (;;) {
        rest()
        const { done, value } = await next()
        wait()
        if (done === true) return
        yield value
      }
    } finally {
      await iterator.return?.()
    }
  }
  const body = Readable.from(watched(), { objectMode: false, highWaterMark: SEND_AHEAD })
  body.on('error', () => undefined) // whoever sends it hears of it
  return { body, failure: () => failure }
}
