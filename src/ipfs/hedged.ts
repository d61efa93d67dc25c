/** One candidate's failure, in the order in which they failed. */
export interface Failure<C> {
  candidate: C
  error: unknown
}

/** Every candidate failed. */
export class AllFailed<C> extends Error {
  override readonly name = 'AllFailed'
  readonly failures: readonly Failure<C>[]

  constructor(failures: readonly Failure<C>[]) {
    super(`all ${failures.length} candidates failed`)
    this.failures = failures
  }
}

/** What {@link hedged} works on. */
export interface Hedge<C, T> {
  candidates: Iterable<C>
  attempt(candidate: C, signal: AbortSignal): Promise<T>
  /** Milliseconds that the latest candidate still has to itself before the next is tried beside it; asked
   * again when they have passed, so that a slow but working one can earn more. */
  patience(candidate: C, startedAt: number): number
  /** Ends everything; the promise rejects with its reason. */
  signal: AbortSignal
}

/**
 * The first success among candidates tried in order, each beginning when the one before it has failed or
 * has used up its patience; the others are aborted.
 *
 * @throws AllFailed with every failure, or the signal's reason.
 */
export function hedged<C, T>(plan: Hedge<C, T>): Promise<T> {
  const rest = plan.candidates[Symbol.iterator]()
  const others = new AbortController()
  const failures: Failure<C>[] = []
  let running = 0
  let settled = false
  let timer: NodeJS.Timeout | undefined

  return new Promise((resolve, reject) => {
    const settle = (finish: () => void) => {
      if (settled) return
      settled = true
      clearTimeout(timer)
      plan.signal.removeEventListener('abort', onAbort)
      finish()
      others.abort()
    }
    const onAbort = () => settle(() => reject(plan.signal.reason))
    const wait = (candidate: C, startedAt: number) => {
      const left = plan.patience(candidate, startedAt)
      timer = setTimeout(
        () => (plan.patience(candidate, startedAt) > 0 ? wait(candidate, startedAt) : next()),
        Math.max(1, left)
      )
    }
    const run = async (candidate: C) => {
      try {
        const value = await plan.attempt(candidate, others.signal)
        settle(() => resolve(value))
      } catch (error) {
        running--
        failures.push({ candidate, error })
        next()
      }
    }
    const next = () => {
      clearTimeout(timer)
      if (settled) return
      const step = rest.next()
      if (step.done === true) {
        if (running === 0) settle(() => reject(new AllFailed(failures)))
        return
      }
      const candidate = step.value
      running++
      void run(candidate)
      if (!settled) wait(candidate, Date.now())
    }

    if (plan.signal.aborted) return onAbort()
    plan.signal.addEventListener('abort', onAbort)
    next()
  })
}
