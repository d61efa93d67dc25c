import { isAbort, RegistryError } from '../oci/errors.ts'

/**
 * Waits for `promise` no longer than `signal` allows; the work itself goes on for others.
 *
 * @throws {RegistryError} SOURCE_TIMEOUT where the work has a deadline of its own; else what it throws, or the signal's reason
 */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const { promise: aborted, reject } = Promise.withResolvers<never>()
  const onAbort = () => reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, aborted])
  } catch (error) {
    if (isAbort(error) && !signal.aborted)
      throw new RegistryError('SOURCE_TIMEOUT', 'no source answered within the deadline', { cause: error })
    throw error
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/** Waits until `condition` holds, looking whenever one of `listeners` is called, but for `ms` at most. */
export function within(ms: number, listeners: Set<() => void>, condition: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      listeners.delete(look)
      resolve()
    }
    const look = () => {
      if (condition()) end()
    }
    const timer = setTimeout(end, ms)
    listeners.add(look)
  })
}
