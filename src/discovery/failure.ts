import { RegistryError } from '../oci/errors.ts'

/**
 * One server gave no usable answer. `message` continues the server's name: `answered SERVFAIL`.
 * `unreachable` says that this is about the server, and not about the name asked for.
 */
export class ServerFailure extends Error {
  override readonly name = 'ServerFailure'
  readonly unreachable: boolean

  constructor(message: string, options: { unreachable?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.unreachable = options.unreachable ?? false
  }
}

/**
 * Nobody could be asked: every server failed, or IPNS did. Unlike an answer that says "there is no such
 * record", it leaves the last good answer in force.
 */
export class Outage extends RegistryError {}

/**
 * `promise`, or the signal's reason if that comes first. The work behind the promise goes on: this is how
 * one caller leaves a lookup that others share.
 */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    promise.catch(() => {}) // the one who leaves doesn't hear how it ended
    return Promise.reject(signal.reason as Error)
  }
  return new Promise((resolve, reject) => {
    const leave = (): void => reject(signal.reason as Error)
    signal.addEventListener('abort', leave, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave))
  })
}

/** Runs `work` with a signal that aborts after `ms` milliseconds or with `signal`; the timer never outlives it. */
export async function within<T>(
  ms: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>
): Promise<T> {
  signal.throwIfAborted()
  const clock = new AbortController()
  const timer = setTimeout(() => clock.abort(new DOMException(`nothing in ${ms} ms`, 'TimeoutError')), ms)
  const leave = (): void => clock.abort(signal.reason)
  signal.addEventListener('abort', leave, { once: true })
  try {
    return await work(clock.signal)
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', leave)
  }
}

/** Foreign text for a message: quoted, control characters escaped, cut at 200 characters. */
export function quote(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text)
}
