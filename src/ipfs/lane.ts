import type { CID } from 'multiformats/cid'
import { type AnswerIntake, createAnswerIntake } from './answer.ts'
import { type CarBlocksTo, type CarIntake, createCarIntake } from './car-intake.ts'
import { CAR, type Gateway, retryAfter } from './gateway.ts'
import type { Limiter } from './limits.ts'
import { PeerBusy, PeerFault } from './wants.ts'
import type { Wire } from './wire.ts'

/** A part of a file that a lane was asked for. */
export interface Segment {
  readonly from: number
  /** The byte after its last one; infinite where it goes to the file's end. */
  to: number
  /** The place in the stream of the block that came last. */
  offset: number
  depth: number
}

/** One source at work on one file: a connection on which parts of the file are asked for one after another. */
export interface Lane {
  readonly gateway: Gateway
  /** What has been asked for and hasn't ended, in the order in which it comes. */
  readonly segments: readonly Segment[]
  /** Bytes that came, and for how many milliseconds it was waited for them. */
  readonly bytes: number
  readonly waitedMs: number
  /** Blocks that turned out right. */
  blocks: number
  /** Another one does its work meanwhile; whichever is first counts. */
  doubted: boolean
  ask(from: number, to: number): void
  /** Looks again whether there is room for what comes next. */
  resume(): void
  /** Takes the measure of the last `ms` milliseconds; whether the lane waited for its source in them. */
  tick(ms: number): void
  /** Bytes a second while it waited for its source, over the last seconds. */
  rate(): number
  /** Bytes that came in the last `ms` milliseconds of waiting; `undefined` if it hasn't waited that long. */
  lately(ms: number): number | undefined
  /** Ends it; `onEnd` isn't told. */
  close(): void
}

/** What {@link openLane} is made from. */
export interface LaneOptions {
  gateway: Gateway
  file: CID
  /** What may come in all; `undefined` for no limit. */
  down: Limiter | undefined
  /** For the connection, in milliseconds. */
  dialMs: number
  blocks: CarBlocksTo
  /** The first segment has come to its end in order. */
  onSegment(segment: Segment): void
  /** The lane has ended: without an error where the connection was closed between two answers. */
  onEnd(error: Error | undefined): void
}

/** Measures that are kept: one a tick. */
const MARKS = 1200

/** So many bytes are accounted for at once, where there is a limit. */
const OWED = 32 * 1024

/** Opens a lane; the connection is made at once. */
export function openLane(options: LaneOptions): Lane {
  const { gateway, file } = options
  const segments: Segment[] = []
  const dialling = new AbortController()
  const marks: { bytes: number; ms: number }[] = []
  let unsent: string[] = []
  let wire: Wire | undefined
  let car: CarIntake | undefined
  let over = false
  let held = false
  let marked = 0
  /** Bytes that came and aren't accounted for yet; nothing is read while they are. */
  let owed = 0
  let paying = false

  /** How long the source, which is busy, wants to be left alone. */
  let busyMs: number | undefined
  let retry: NodeJS.Timeout | undefined
  let answers = createAnswers()

  function createAnswers(): AnswerIntake {
    return createAnswerIntake({
      head({ status, headers }) {
        busyMs = retryAfter(status, headers.get('retry-after'))
        if (busyMs !== undefined) throw new PeerBusy(busyMs)
        const type = headers.get('content-type') ?? 'nothing'
        if (status !== 200 || !type.startsWith(CAR))
          throw new PeerFault(`answered ${status} with ${type.slice(0, 80)}, not with a CAR`)
        if (segments.length === 0) throw new PeerFault('answered without being asked')
        car = createCarIntake(options.blocks)
        return car
      },
      end(last) {
        car?.closed()
        car = undefined
        const done = segments.shift()
        if (done !== undefined) options.onSegment(done)
        if (last && !over) end(undefined)
      }
    })
  }

  /** Asks again, on another connection, when the source has said that it may. */
  function later(ms: number): void {
    busyMs = undefined
    answers = createAnswers()
    wire = undefined
    unsent = segments.map(({ from, to }) => gateway.request(file, from, to))
    retry = setTimeout(() => void connect(), ms)
  }

  async function pay(down: Limiter): Promise<void> {
    const bytes = owed
    owed = 0
    paying = true
    await down.take(bytes, dialling.signal).catch(() => undefined) // the lane has ended
    paying = false
    lane.resume()
  }

  function end(error: Error | undefined): void {
    if (over) return
    lane.close()
    const nothing = segments.length > 0 && lane.bytes === 0
    options.onEnd(error ?? (nothing ? new PeerFault('closed the connection without an answer') : undefined))
  }

  const reader = {
    intake: {
      room() {
        const room = over || paying ? undefined : answers.room()
        held = room === undefined
        return room
      },
      took(count: number) {
        if (over) return
        lane.bytes += count
        answers.took(count)
        owed += count
        if (options.down !== undefined && owed >= OWED) void pay(options.down)
      }
    },
    closed(error: Error | undefined) {
      if (busyMs !== undefined && !over) return later(busyMs)
      try {
        if (error === undefined) answers.closed()
        end(error)
      } catch (fault) {
        end(fault as Error)
      }
    }
  }

  /** A connection that can't be used any more ends the lane, and nothing else. */
  function guarded(use: () => void): void {
    try {
      use()
    } catch (error) {
      // whoever asked goes through the lanes just now
      queueMicrotask(() => end(error as Error))
    }
  }

  async function connect(): Promise<void> {
    const late = setTimeout(
      () =>
        dialling.abort(new PeerFault(`can't be connected to within ${options.dialMs} ms`, { timeout: true })),
      options.dialMs
    )
    try {
      const opened = await gateway.connect(reader, dialling.signal)
      if (over) return opened.close()
      wire = opened
      for (const text of unsent) wire.send(text)
      unsent = []
    } catch (error) {
      end(error as Error)
    } finally {
      clearTimeout(late)
    }
  }

  const lane = {
    gateway,
    segments,
    bytes: 0,
    waitedMs: 0,
    blocks: 0,
    doubted: false,

    ask(from: number, to: number) {
      segments.push({ from, to, offset: from, depth: -1 })
      const text = gateway.request(file, from, to)
      if (wire === undefined) unsent.push(text)
      else guarded(() => wire?.send(text))
    },
    resume() {
      if (held && !over) guarded(() => wire?.resume())
    },
    tick(ms: number) {
      const bytes = lane.bytes - marked
      marked = lane.bytes
      if (segments.length === 0 || (held && bytes === 0)) return
      lane.waitedMs += ms
      marks.push({ bytes, ms })
      if (marks.length > MARKS) marks.shift()
    },
    rate() {
      const last = marks.slice(-20)
      const ms = last.reduce((sum, mark) => sum + mark.ms, 0)
      return ms === 0 ? 0 : (last.reduce((sum, mark) => sum + mark.bytes, 0) * 1000) / ms
    },
    lately(ms: number) {
      let bytes = 0
      let left = ms
      for (let i = marks.length - 1; i >= 0 && left > 0; i--) {
        bytes += marks[i]?.bytes ?? 0
        left -= marks[i]?.ms ?? 0
      }
      return left > 0 ? undefined : bytes
    },
    close() {
      over = true
      clearTimeout(retry)
      dialling.abort(new Error('nobody waits for it any more'))
      wire?.close()
    }
  } satisfies Lane

  void connect()
  return lane
}
