import type { EventEmitter } from 'node:events'

/** Signals that ask the program to end. */
export const SIGNALS = ['SIGINT', 'SIGTERM'] as const

/**
 * A signal within this time after the first is the same once more, in milliseconds: a terminal sends Ctrl-C to all that run
 * on it, and npm and our launcher pass it on to the program, which has it twice.
 */
const ECHO = 1000

/**
 * Called at the first signal: from now on one ends the program at once, by `end`, unless it is an echo of the first.
 *
 * @param now the time in milliseconds
 */
export function endAtNext(
  signals: Pick<EventEmitter, 'on'>,
  end: () => void,
  now: () => number = () => performance.now()
): void {
  const since = now()
  for (const name of SIGNALS)
    signals.on(name, () => {
      if (now() - since > ECHO) end()
    })
}
