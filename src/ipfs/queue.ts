import type { Gateway } from './gateway.ts'
import type { Lane } from './lane.ts'

/** The place of a block in a CAR stream: in the order of the file's content, nodes before their children. */
export interface Position {
  key: string
  offset: number
  depth: number
}

/** Somebody who waits for a block. */
export interface Waiter extends Position {
  /** Whether it has to come from somewhere; `undefined` until it is known. */
  needed: boolean | undefined
  /** Nothing was given yet. */
  open: boolean
  /** Lanes on which it is arriving now. */
  readonly lanes: Set<Lane>
  /** Gateways that left it out. */
  readonly without: Set<Gateway>
  settle(block: Uint8Array | undefined): void
}

/** Those who wait for blocks of one file, in the order of its content. */
export interface Queue {
  wait(at: Position, until: AbortSignal): { waiter: Waiter; given: Promise<Uint8Array | undefined> }
  /** All of them, in order. */
  readonly waiters: readonly Waiter[]
  /** Gives nothing to everybody. */
  dismiss(): void
}

/** Whether the place of `a` is before that of `b`. */
export function before(
  a: Pick<Position, 'offset' | 'depth'>,
  b: Pick<Position, 'offset' | 'depth'>
): boolean {
  return a.offset < b.offset || (a.offset === b.offset && a.depth < b.depth)
}

/** An empty queue; `changed` is called whenever somebody comes or goes. */
export function createQueue(changed: () => void): Queue {
  const waiters: Waiter[] = []

  const insert = (waiter: Waiter) => {
    const later = waiters.findLastIndex((one) => !before(waiter, one))
    waiters.splice(later + 1, 0, waiter)
  }

  return {
    waiters,

    wait(at, until) {
      const { promise, resolve, reject } = Promise.withResolvers<Uint8Array | undefined>()
      const leave = () => {
        until.removeEventListener('abort', onAbort)
        waiter.open = false
        const index = waiters.indexOf(waiter)
        if (index < 0) return
        waiters.splice(index, 1)
        changed()
      }
      const onAbort = () => {
        leave()
        reject(until.reason as Error)
      }
      const waiter: Waiter = {
        ...at,
        needed: undefined,
        open: true,
        lanes: new Set(),
        without: new Set(),
        settle(block) {
          leave()
          resolve(block)
        }
      }
      until.addEventListener('abort', onAbort)
      if (until.aborted) onAbort()
      else insert(waiter)
      return { waiter, given: promise }
    },

    dismiss() {
      for (const waiter of Array.from(waiters)) waiter.settle(undefined)
    }
  }
}
