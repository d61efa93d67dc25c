import type { Gateway } from './gateway.ts'
import type { Lane, Segment } from './lane.ts'
import type { Pace } from './pace.ts'
import type { Presence } from './presence.ts'
import { before, type Waiter } from './queue.ts'

const MiB = 1024 * 1024

/** What a source is asked for at once while it works alone, though others could help: at first, and at most. */
const FIRST_SEGMENT = 8 * MiB
const MOST_SEGMENT = 64 * MiB

/** The same while several work on the file: few leaves, for all of them have to fit into its window. */
export const SHARED_SEGMENT = 2 * MiB

/** The next segment is asked for when less than this is left of the one before. */
const ASK_AHEAD = 8 * MiB

/** What a file's work is shared out by. All of it is the feed's, and changes. */
export interface SharesOptions {
  lanes: readonly Lane[]
  /** Gateways that may be asked, best first. */
  left: readonly Gateway[]
  /** Those that go before the others. */
  preferred: ReadonlySet<Gateway>
  /** Segments of which less is wanted now than was asked for. */
  cut: WeakSet<Segment>
  presence: Pick<Presence, 'hereAfter' | 'unknownAfter'>
  pace: Pick<Pace, 'wanted'>
  /** Whether other gateways may still turn up. */
  expected: () => boolean
}

/** Who brings what. */
export interface Shares {
  /** Whether somebody's block is still to come in a segment. */
  within(segment: Segment, waiter: Waiter): boolean
  /** Whether a lane was asked for somebody's block, and it can still come. */
  brings(lane: Lane, waiter: Waiter): boolean
  /** Sources that no lane uses. */
  spare(): Gateway[]
  /** The lane to ask for somebody's block, or a gateway to open one to; `undefined` while all are busy. */
  choose(waiter: Waiter): { lane: Lane } | { open: Gateway } | undefined
  /** Up to where a lane is asked then: what others bring, and what is here, is left out. */
  endFor(waiter: Waiter, lane: Lane): number
}

/** Shares out the work on one file. */
export function createShares(options: SharesOptions): Shares {
  const { lanes, left, preferred, cut, presence, pace, expected } = options

  /** A lane whose connection ends with what is still wanted of it. */
  const parting = ({ segments }: Lane) => segments.some((segment) => cut.has(segment))
  /** What is still to come of what a lane was asked for. */
  const ahead = ({ segments }: Lane) =>
    segments.reduce((sum, { to, offset }) => sum + Math.max(0, to - offset), 0)
  const within = (segment: Segment, waiter: Waiter) =>
    waiter.offset >= segment.from && waiter.offset < segment.to && before(segment, waiter)
  const spare = () =>
    left.filter(({ source }) => !lanes.some((lane) => lane.gateway.source === source && !parting(lane)))

  return {
    within,
    spare,

    brings: (lane, waiter) =>
      waiter.lanes.has(lane) ||
      (!waiter.without.has(lane.gateway) && lane.segments.some((segment) => within(segment, waiter))),

    choose(waiter) {
      const free = (gateway: Gateway) =>
        !waiter.without.has(gateway) && !lanes.some((lane) => lane.gateway === gateway && !parting(lane))
      const able = lanes.filter(
        (lane) => !lane.doubted && !parting(lane) && !waiter.without.has(lane.gateway)
      )
      const better = Array.from(preferred).find((gateway) => left.includes(gateway) && free(gateway))
      if (better !== undefined && !able.some(({ gateway }) => preferred.has(gateway))) return { open: better }
      const idle = able.find(({ segments }) => segments.length === 0)
      if (idle !== undefined) return { lane: idle }
      const working = lanes.filter((lane) => !lane.doubted && !parting(lane)).length
      if (working < pace.wanted || able.length === 0) {
        const gateway = spare().find(free) ?? (able.length === 0 ? left.find(free) : undefined)
        if (gateway !== undefined) return { open: gateway }
      }
      const next = able.filter((lane) => lane.segments.length < 2 && ahead(lane) < ASK_AHEAD)
      const [lane] = next.toSorted((a, b) => ahead(a) / (a.rate() + 1) - ahead(b) / (b.rate() + 1))
      return lane && { lane }
    },

    endFor({ offset }, lane) {
      const others = new Set(left.map(({ source }) => source)).size > 1 || expected()
      const alone = Math.min(MOST_SEGMENT, Math.max(FIRST_SEGMENT, lane.rate()))
      const size = pace.wanted > 1 ? SHARED_SEGMENT : others ? alone : Number.POSITIVE_INFINITY
      const starts = lanes.flatMap((one) => (one.doubted ? [] : one.segments.map(({ from }) => from)))
      const known = Math.min(presence.hereAfter(offset), presence.unknownAfter(offset))
      return Math.min(offset + size, known, ...starts.filter((from) => from > offset))
    }
  }
}
