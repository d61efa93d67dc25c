import type { Readable } from 'node:stream'

/**
 * The body once its first bytes are there, or its end: what can't be had at all is an error with a status then,
 * and not an answer that breaks off.
 *
 * @throws what ends the body before it began, or the signal's reason
 */
export async function begun(body: Readable, signal: AbortSignal): Promise<Readable> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const onAbort = () => reject(signal.reason)
  const onClose = () => reject(new Error('closed before its first byte'))
  body.once('readable', resolve)
  body.once('error', reject)
  body.once('close', onClose)
  signal.addEventListener('abort', onAbort)
  try {
    signal.throwIfAborted()
    await promise
    return body
  } catch (error) {
    // it may fail once more as it is closed, which is no news
    body.on('error', () => {})
    body.destroy()
    throw error
  } finally {
    body.off('readable', resolve)
    body.off('error', reject)
    body.off('close', onClose)
    signal.removeEventListener('abort', onAbort)
  }
}
