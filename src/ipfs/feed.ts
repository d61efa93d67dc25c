import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import { createDeliveries } from './deliveries.ts'
import type { Gateway } from './gateway.ts'
import { type Lane, openLane, type Segment } from './lane.ts'
import type { Limiter } from './limits.ts'
import { createPace, TICK_MS } from './pace.ts'
import type { Presence } from './presence.ts'
import { createQueue, type Waiter } from './queue.ts'
import { createShares, SHARED_SEGMENT } from './shares.ts'
import { PeerFault } from './wants.ts'

/** A file's blocks out of CAR streams, handed to whoever asks for them. */
export interface Feed {
  /**
   * The block, or `undefined` when no gateway has it to give, or when it turns out not to be `needed` (it is
   * in the own store, into which a look takes time). `offset` is where in the file the block's content
   * begins and `depth` how deep it lies: together its place in the stream.
   */
  take(
    cid: CID,
    options: { offset: number; depth: number; needed: Promise<boolean>; signal: AbortSignal }
  ): Promise<Uint8Array | undefined>
  /** Looks again at what is here already. */
  look(): void
  /** Says that a block that was taken isn't used any more, so that its memory can be the next one's. */
  giveBack(block: Uint8Array): void
}

/** What {@link createFeed} is made from. */
export interface FeedOptions {
  file: CID
  /** Whom to ask, best first. */
  gateways: readonly Gateway[]
  /** Others, who turn up later and are better. */
  more?: Promise<readonly Gateway[]> | undefined
  /** What is here already, so that nobody is asked for it. */
  presence: Pick<Presence, 'hereAfter' | 'unknownAfter'>
  /** What may come in all; `undefined` for no limit. */
  down: Limiter | undefined
  /** For a connection, in milliseconds. */
  dialMs: number
  /** How long a source may say nothing while somebody waits for it. */
  silenceMs: number
  /** Ends the feed. */
  signal: AbortSignal
  /** Told of each gateway that is given up; `lie` says what it did if that can't be an accident. */
  failed(gateway: Gateway, lie: string | undefined): void
  /** Told what came of a gateway, in bytes and the milliseconds for which it was waited, when it has ended. */
  delivered(gateway: Gateway, bytes: number, ms: number): void
  log: Log
}

/**
 * Makes the feed of one file. It opens its first lane when the first block is needed, and reads on only
 * while somebody waits, so that the consumer's pace is the stream's.
 *
 * One source after the other is the rule. One that fails or sends a wrong block gives way to the next at the
 * first block that is still missing; one that is slow gets company (see `pace.ts`), and then each lane is
 * asked for the next few leaves that none of the others brings. A source is asked again only if it had
 * delivered something since (a connection may be cut behind a slow reader). A block that all of them have
 * left out is nobody's to give.
 */
export function createFeed(options: FeedOptions): Feed {
  const { file, presence, silenceMs, signal, log } = options
  const left = [...options.gateways]
  const queue = createQueue(() => plan())
  const lanes: Lane[] = []
  /** Segments of which less is wanted now than was asked for. */
  const cut = new WeakSet<Segment>()
  /** Gateways that go before the others. */
  const preferred = new Set<Gateway>()
  const pace = createPace(silenceMs)
  let timer: NodeJS.Timeout | undefined
  let planned = false
  let expected = options.more !== undefined
  const shares = createShares({ lanes, left, cut, preferred, presence, pace, expected: () => expected })
  const { brings, within } = shares
  const deliveries = createDeliveries({ lanes, queue, shares, cut, drop })
  const covered = (waiter: Waiter) =>
    deliveries.checking(waiter) || lanes.some((lane) => !lane.doubted && brings(lane, waiter))

  /** Sees to it that whatever is waited for is on its way. Once a turn: many come and go together. */
  function plan(): void {
    if (planned) return
    planned = true
    queueMicrotask(() => {
      planned = false
      if (signal.aborted) return
      for (const { segments } of lanes)
        for (const segment of segments) cutAt(segment, presence.hereAfter(segment.offset))
      while (assign()) {
        // each turn finds somebody something
      }
      for (const lane of Array.from(lanes)) lane.resume()
    })
  }

  function assign(): boolean {
    const waiter = queue.waiters.find((one) => one.needed !== false && !covered(one))
    if (waiter === undefined || waiter.needed === undefined) return false
    if (!left.some((gateway) => !waiter.without.has(gateway))) {
      if (!expected) waiter.settle(undefined)
      return !expected
    }
    const lane = laneFor(waiter)
    lane?.ask(waiter.offset, shares.endFor(waiter, lane))
    if (lane !== undefined || lanes.length === 0 || lanes.some(({ doubted }) => !doubted))
      return lane !== undefined
    // nobody else is there, so whoever was doubted has to do
    for (const one of lanes) one.doubted = false
    return true
  }

  function laneFor(waiter: Waiter): Lane | undefined {
    const choice = shares.choose(waiter)
    return choice !== undefined && 'open' in choice ? open(choice.open) : choice?.lane
  }

  function open(gateway: Gateway): Lane {
    const lane: Lane = openLane({
      gateway,
      file,
      down: options.down,
      dialMs: options.dialMs,
      blocks: {
        begin: (cid, bytes) => deliveries.begin(lane, cid, bytes),
        end: () => deliveries.ended(lane)
      },
      onSegment(segment) {
        // what didn't come with it, isn't in it
        for (const waiter of queue.waiters) if (within(segment, waiter)) waiter.without.add(gateway)
        plan()
      },
      onEnd: (error) => drop(lane, error)
    })
    lanes.push(lane)
    timer ??= setInterval(tick, TICK_MS)
    return lane
  }

  /** Leaves what is at `offset` and behind it to others. */
  function cutAt(segment: Segment, offset: number): void {
    if (offset >= segment.to) return
    segment.to = offset
    cut.add(segment)
  }

  /** Ends a lane; what it was to bring is somebody else's work then. */
  function drop(lane: Lane, error: Error | undefined): void {
    const index = lanes.indexOf(lane)
    if (index < 0) return
    lanes.splice(index, 1)
    lane.close()
    if (lanes.length === 0) {
      clearInterval(timer)
      timer = undefined
    }
    deliveries.leave(lane)
    const { gateway, blocks, bytes, waitedMs } = lane
    if (blocks > 0) options.delivered(gateway, bytes, waitedMs)
    if (error !== undefined && !signal.aborted) {
      const fault = error instanceof PeerFault
      const what = { gateway: gateway.name, file: file.toString(), err: reason(error) }
      log[fault ? 'warn' : 'debug'](what, 'CAR failed')
      if (blocks === 0 || fault) {
        const at = left.indexOf(gateway)
        // it isn't there any more when another of its lanes has failed before
        if (at >= 0) {
          left.splice(at, 1)
          // one that was only slow may be all that there is in the end
          if (fault && blocks > 0 && error.timeout && lane.doubted) left.push(gateway)
        }
        options.failed(gateway, fault && error.lie ? error.message : undefined)
      }
    }
    plan()
  }

  function tick(): void {
    const first = queue.waiters.find(({ needed }) => needed === true)
    pace.tick({
      lanes: Array.from(lanes),
      waiting: first !== undefined,
      first: first && lanes.find((lane) => !lane.doubted && brings(lane, first)),
      // those who fetch the same file feed each other so that its publisher's link is spared: no company then
      spare: preferred.size === 0 && shares.spare().length > 0 && (queue.waiters.length > 0 || expected),
      fail: drop,
      doubt: (lane) => {
        lane.doubted = true
        plan()
      }
    })
    // what one was asked for alone is too much of what the others could bring
    if (pace.wanted > 1) {
      for (const { segments } of lanes) {
        for (const segment of segments) {
          if (segment.to - segment.from > SHARED_SEGMENT)
            cutAt(segment, Math.max(segment.from, segment.offset) + SHARED_SEGMENT)
        }
      }
    }
    plan()
  }

  signal.addEventListener(
    'abort',
    () => {
      for (const lane of Array.from(lanes)) drop(lane, undefined)
      queue.dismiss()
    },
    { once: true }
  )

  async function expect(more: Promise<readonly Gateway[]>): Promise<void> {
    const late = await more.catch((error: unknown) => {
      log.debug({ file: file.toString(), err: reason(error) }, 'no more sources')
      return []
    })
    expected = false
    const names = new Set(late.map(({ name }) => name))
    // those that are at work already go on with what they have
    const others = left.filter(({ name }) => !names.has(name))
    for (const gateway of late) preferred.add(gateway)
    left.splice(0, left.length, ...late, ...others)
    plan()
  }
  if (options.more !== undefined) void expect(options.more)

  return {
    giveBack: deliveries.giveBack,
    look: plan,
    async take(cid, { offset, depth, needed, signal: until }) {
      if (left.length === 0 && !expected) return undefined
      const key = cid.toString()
      const { waiter, given } = queue.wait({ key, offset, depth }, until)
      const decide = async () => {
        waiter.needed = await needed
        if (!waiter.needed) {
          deliveries.pass(key)
          waiter.settle(undefined)
        }
        plan()
      }
      void decide()
      return given
    }
  }
}
