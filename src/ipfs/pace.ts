import { performance } from 'node:perf_hooks'
import type { Lane } from './lane.ts'
import { PeerFault } from './wants.ts'

/** How often lanes are looked at, in milliseconds. */
export const TICK_MS = 100

/** Lanes that work on one file at most, besides those that are doubted. */
export const MAX_LANES = 4

/** A source that brings less than this in that time, while it is waited for, is doubted where there is another. */
const DOUBT_MS = 1000
const DOUBT_BYTES = 32 * 1024

/** A source that brings less than this a second, while it is waited for, is given up in any case. */
const LEAST_RATE = 512

/** How long the file has to wait for its source before another is put beside it, in milliseconds. */
const ALONE_MS = 1000

/** A lane this many times slower than the fastest one only holds up what comes after its part. */
const TOO_SLOW = 12

/** How much of the time this process may be at work itself: above that it is what is slow, not the source. */
const BUSY = 0.8

/** Looks at the lanes of one file. */
export interface Pace {
  /** How many lanes should be at work. */
  readonly wanted: number
  /** To be called every {@link TICK_MS} while there are lanes. */
  tick(state: PaceState): void
}

/** What a look is taken at. */
export interface PaceState {
  lanes: readonly Lane[]
  /** Somebody waits for a block, and the lane that is to bring the first of them. */
  waiting: boolean
  first: Lane | undefined
  /** There is a source that none of the lanes uses. */
  spare: boolean
  fail(lane: Lane, error: Error): void
  /** Has another do the work of a lane as well. */
  doubt(lane: Lane): void
}

/**
 * Decides when a source is too slow: it is given up, doubted, or gets company.
 *
 * @param silenceMs how long a source may bring (next to) nothing while it is waited for, in milliseconds
 */
export function createPace(silenceMs: number): Pace {
  let wanted = 1
  let starved = 0
  let load = performance.eventLoopUtilization()
  const stuck = new WeakMap<Lane, number>()

  function tooSlow(lane: Lane): Error | undefined {
    const bytes = lane.lately(silenceMs)
    if (bytes === 0) return new PeerFault(`sent nothing for ${silenceMs} ms`, { timeout: true })
    if (bytes === undefined || bytes * 1000 >= LEAST_RATE * silenceMs) return undefined
    return new PeerFault(`sent only ${bytes} bytes in ${silenceMs} ms`, { timeout: true })
  }

  return {
    get wanted() {
      return wanted
    },

    tick({ lanes, waiting, first, spare, fail, doubt }) {
      const now = performance.eventLoopUtilization()
      const { utilization } = performance.eventLoopUtilization(now, load)
      load = now
      for (const lane of lanes) {
        const before = lane.waitedMs
        lane.tick(TICK_MS)
        const held = lane.waitedMs === before && lane.segments.length > 0
        stuck.set(lane, held && waiting && lane === first ? (stuck.get(lane) ?? 0) + TICK_MS : 0)
        const slow =
          (stuck.get(lane) ?? 0) > silenceMs
            ? new Error('sent a block that nobody waited for')
            : tooSlow(lane)
        if (slow !== undefined) fail(lane, slow)
      }
      const lately = first?.lately(DOUBT_MS)
      if (first !== undefined && spare && !first.doubted && lately !== undefined && lately < DOUBT_BYTES)
        doubt(first)

      const able = lanes.filter(({ doubted }) => !doubted)
      const fastest = Math.max(0, ...able.map((lane) => lane.rate()))
      const slowest = able.find(
        (lane) => lane.lately(2 * DOUBT_MS) !== undefined && lane.rate() < fastest / TOO_SLOW
      )
      if (slowest !== undefined) {
        wanted = Math.max(1, wanted - 1)
        doubt(slowest)
      }
      starved = waiting && utilization < BUSY ? starved + TICK_MS : 0
      if (starved >= ALONE_MS && spare && able.length === wanted && wanted < MAX_LANES) {
        wanted++
        starved = 0
      }
    }
  }
}
