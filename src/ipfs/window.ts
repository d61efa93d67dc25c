/** Bytes that all files of a node may have read ahead together. */
export interface Window {
  /** Takes `bytes` if they are free. */
  take(bytes: number): boolean
  /** Takes them in any case: the one leaf that a waiting file can't go on without. */
  force(bytes: number): void
  give(bytes: number): void
  /** Calls `listener` whenever bytes come free, longest subscribed first; returns the way to stop that. */
  onFree(listener: () => void): () => void
}

/** A window of `total` bytes. */
export function createWindow(total: number): Window {
  const listeners = new Set<() => void>()
  let used = 0
  return {
    take(bytes) {
      if (used + bytes > total) return false
      used += bytes
      return true
    },
    force(bytes) {
      used += bytes
    },
    give(bytes) {
      used -= bytes
      // one that was served goes to the end, so that the next free bytes are another's
      for (const listener of Array.from(listeners)) {
        if (used >= total) return
        if (!listeners.delete(listener)) continue
        listeners.add(listener)
        listener()
      }
    },
    onFree(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    }
  }
}
