/**
 * Runs `work` with a signal that aborts after `ms` milliseconds, and with `signal` where one is given.
 * Nothing of it is left when the work ends: a timeout signal would live on, with all that it knows, for the
 * whole time, at a thousand changes a second.
 */
export async function withDeadline<T>(
  ms: number,
  signal: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>
): Promise<T> {
  signal?.throwIfAborted()
  const controller = new AbortController()
  const late = () => controller.abort(new DOMException('the deadline passed', 'TimeoutError'))
  const gone = () => controller.abort(signal?.reason)
  const timer = setTimeout(late, ms)
  signal?.addEventListener('abort', gone)
  try {
    return await work(controller.signal)
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', gone)
  }
}
