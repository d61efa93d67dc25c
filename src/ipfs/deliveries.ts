import type { CID } from 'multiformats/cid'
import { createBlockMemory } from './block-memory.ts'
import type { Lane, Segment } from './lane.ts'
import { before, type Queue, type Waiter } from './queue.ts'
import type { Shares } from './shares.ts'
import { PeerFault } from './wants.ts'

const RAW = 0x55

/** Bytes of blocks that nobody needs which a gateway may send in a row (nodes above the first leaf, blocks
 * that are here already) before it is given up. */
const MAX_UNWANTED = 256 * 1024 * 1024

/** A block on its way. */
interface Arriving {
  waiter: Waiter
  cid: CID
  block: Uint8Array
}

/** What comes on the lanes of a file, on its way to those who wait for it. */
export interface Deliveries {
  /** As `CarBlocksTo.begin`, on that lane. @throws PeerFault when too much came that nobody had asked for */
  begin(lane: Lane, cid: CID, size: number): Uint8Array | null | undefined
  /** As `CarBlocksTo.end`: the block is verified, and handed over if it is right. */
  ended(lane: Lane): void
  /** Whether somebody's block has come and is being hashed. */
  checking(waiter: Waiter): boolean
  /** The block may come though nobody waits for it. */
  pass(key: string): void
  /** Forgets what was arriving on a lane that has ended. */
  leave(lane: Lane): void
  /** A block isn't used any more. */
  giveBack(block: Uint8Array): void
}

/** What {@link createDeliveries} is made from. All of it is the feed's, and changes. */
export interface DeliveriesOptions {
  lanes: readonly Lane[]
  queue: Pick<Queue, 'waiters'>
  shares: Pick<Shares, 'within' | 'brings'>
  /** Segments of which less is wanted now than was asked for. */
  cut: WeakSet<Segment>
  /** Ends a lane, for an error or because nothing more is wanted of it. */
  drop(lane: Lane, error: Error | undefined): void
}

/** Makes it for one file. */
export function createDeliveries({ lanes, queue, shares, cut, drop }: DeliveriesOptions): Deliveries {
  const { within, brings } = shares
  const memory = createBlockMemory()
  const arriving = new Map<Lane, Arriving>()
  /** Those whose block has come and is being hashed. */
  const checking = new Set<Waiter>()
  const unwanted = new WeakMap<Lane, number>()
  /** Blocks that may come though nobody waits for them: inner nodes that were given out, blocks that are here. */
  const passed = new Set<string>()

  function verified(lane: Lane, { waiter, cid, block }: Arriving, right: boolean): void {
    waiter.lanes.delete(lane)
    if (!right) {
      memory.giveBack(block)
      return drop(lane, new PeerFault(`sent a wrong block for ${cid.toString()}`, { lie: true }))
    }
    lane.blocks++
    const { key } = waiter
    if (cid.code !== RAW || lanes.some((one) => one !== lane && brings(one, waiter))) passed.add(key)
    const { open: wanted } = waiter
    if (!wanted) return memory.giveBack(block)
    const beaten = lanes.filter((one) => one !== lane && one.doubted && brings(one, waiter))
    waiter.settle(block)
    for (const one of beaten) drop(one, new PeerFault('was slower than another', { timeout: true }))
    return undefined
  }

  return {
    begin(lane, cid, size) {
      if (!lanes.includes(lane)) return undefined
      const key = cid.toString()
      const others = ({ lanes: on }: Waiter) => Array.from(on).some((one) => one === lane || !one.doubted)
      const known = queue.waiters.filter((one) => one.key === key)
      const waiter = known.find((one) => one.needed !== false && !others(one))
      const [segment] = lane.segments
      if (waiter === undefined || segment === undefined) {
        // while the same block is hashed for all who wait for it, whoever wants it next may not have come yet
        if (!passed.has(key) && known.every((one) => one.lanes.has(lane))) return undefined
        const sum = (unwanted.get(lane) ?? 0) + size
        unwanted.set(lane, sum)
        if (sum > MAX_UNWANTED) throw new PeerFault(`sent ${sum} bytes that nobody had asked for`)
        return null
      }
      if (waiter.needed === undefined) return undefined
      for (const one of queue.waiters)
        if (within(segment, one) && before(one, waiter) && !one.lanes.has(lane)) one.without.add(lane.gateway)
      segment.offset = waiter.offset
      segment.depth = waiter.depth
      unwanted.set(lane, 0)
      const block = memory.room(cid, size)
      waiter.lanes.add(lane)
      arriving.set(lane, { waiter, cid, block })
      return block
    },

    ended(lane) {
      const done = arriving.get(lane)
      if (done === undefined) return
      arriving.delete(lane)
      const { cid, block, waiter } = done
      const hashed = memory.verify(cid, block)
      if (typeof hashed === 'boolean') verified(lane, done, hashed)
      else {
        checking.add(waiter)
        hashed
          .finally(() => checking.delete(waiter))
          .then(
            (right) => verified(lane, done, right),
            (error: unknown) => drop(lane, error as Error)
          )
      }
      const [segment] = lane.segments
      // its answer goes on beyond what is still wanted of it, so its connection is of no more use
      if (segment !== undefined && cut.has(segment) && waiter.offset + block.length >= segment.to)
        setImmediate(() => drop(lane, undefined))
    },

    checking: (waiter) => checking.has(waiter),
    pass: (key) => void passed.add(key),
    giveBack: (block) => memory.giveBack(block),

    leave(lane) {
      const half = arriving.get(lane)
      arriving.delete(lane)
      if (half !== undefined) memory.giveBack(half.block)
      for (const waiter of queue.waiters) waiter.lanes.delete(lane)
    }
  }
}
