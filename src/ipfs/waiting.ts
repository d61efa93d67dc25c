import { isAbort, RegistryError } from '../oci/errors.ts'
import { untilAborted } from '../oci/waiting.ts'

/**
 * Waits for what others may wait for, too, no longer than `signal` allows.
 *
 * @throws {RegistryError} SOURCE_TIMEOUT where the work has a deadline of its own; else what it throws, or the signal's reason
 */
export async function waitedFor<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return await untilAborted(promise, signal)
  } catch (error) {
    if (isAbort(error) && !signal.aborted)
      throw new RegistryError('SOURCE_TIMEOUT', 'no source answered within the deadline', { cause: error })
    throw error
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
