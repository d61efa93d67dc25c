/** Runs work one after another where it is about the same thing. */
export interface Locks {
  run<T>(key: string, work: () => Promise<T>): Promise<T>
}

export function createLocks(): Locks {
  const last = new Map<string, Promise<unknown>>()
  return {
    run<T>(key: string, work: () => Promise<T>): Promise<T> {
      const before = last.get(key)
      const mine = before === undefined ? work() : before.then(work)
      const settled = mine
        .catch(() => undefined) // told to its caller; who comes next only waits for the end
        .finally(() => {
          if (last.get(key) === settled) last.delete(key)
        })
      last.set(key, settled)
      return mine
    }
  }
}
