import { Readable } from 'node:stream'
import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import type { BlobInfo, ByteRange, Store } from '../store/index.ts'
import { streamOf } from '../store/piece-stream.ts'
import { type Arrival, readArrival } from './client-pieces.ts'
import type { Lent } from './lend.ts'
import type { LiveFile } from './live.ts'
import { createReceiver, tailOf, type Wanted } from './receive.ts'
import type { Ipfs } from './types.ts'
import { waitedFor, within } from './waiting.ts'

export { type Origin, type Wanted, WrongStart } from './receive.ts'

/** A blob on its way into the store. */
export interface Transfer {
  /** In bytes, as the file's root says; content of any other length is refused. */
  readonly size: number
  /** Whether it goes on where an earlier one broke off, with bytes that nothing proves yet: see {@link WrongStart}. */
  readonly resumed: boolean
  /**
   * The bytes as they are verified. The last piece comes only when the digest of the whole has been
   * checked, so that whoever gets all bytes has got the right ones.
   */
  read(range?: ByteRange): Readable
  /** Ends when the blob is in the store. @throws {RegistryError} when it can't be had */
  done(signal: AbortSignal): Promise<BlobInfo>
}

/** Fetches blobs into the store; those who want the same blob at the same time share one transfer. */
export interface Transfers {
  open(wanted: Wanted, signal: AbortSignal): Promise<Transfer>
  /** How long a blob is that is wanted, in bytes, as those say who have it. */
  size(wanted: Wanted, signal: AbortSignal): Promise<number>
  /** The file with the CID `file`, if it is arriving now: what is verified of it can be passed on to others. */
  live(file: CID): LiveFile | undefined
  /** Ends all transfers; what was verified so far stays for the next try. */
  stop(): Promise<void>
}

/** Leaves of one transfer, and of all, that are kept in memory for clients that read as fast as they come. */
const MOST_RECENT = 4
const MOST_REMEMBERED = 12

/** How long a leaf waits for a client, in milliseconds: one that reads 100 MB/s is in time. */
const CATCH_UP_MS = 10

interface Active extends Arrival {
  readonly resumed: boolean
  readonly recent: Lent[]
  /** How far each client has come that takes leaves out of memory. */
  readonly readers: Map<object, number>
  readonly onReached: Set<() => void>
  readonly result: Promise<BlobInfo>
  readonly controller: AbortController
  users: number
  tail: Uint8Array | undefined
  info: BlobInfo | undefined
  failure: unknown
}

/**
 * @param options.lingerMs how long a transfer goes on when its last client has gone, in milliseconds:
 *   clients whose connection broke come back for the rest
 */
export function createTransfers(options: {
  ipfs: Ipfs
  store: Store
  log: Log
  lingerMs: number
}): Transfers {
  const { ipfs, store, log } = options
  const receive = createReceiver({ ipfs, store, log })
  const active = new Map<string, Promise<Active>>()
  const running = new Set<Promise<unknown>>()
  const live = new Map<string, LiveFile>()
  let remembered = 0

  /** As peers say, or the origin where there are none who can. */
  async function sizeOf(wanted: Wanted, signal: AbortSignal): Promise<number> {
    if (wanted.cid === undefined) return wanted.origin.size(signal)
    const { cid, origin } = wanted
    try {
      return (await ipfs.stat(cid, { peers: await wanted.peers(signal), signal })).size
    } catch (error) {
      signal.throwIfAborted()
      if (origin === undefined) throw error
      return origin.size(signal)
    }
  }

  async function begin(wanted: Wanted): Promise<Active> {
    const controller = new AbortController()
    const { signal } = controller
    const size = wanted.size ?? (await sizeOf(wanted, signal))
    const id = `pull-${wanted.cid ?? wanted.digest.replace(':', '-')}`
    let writer = await store.incoming.resume(id).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return store.incoming.create(id)
      throw error
    })
    if (writer.size > size) {
      // a source said once that it was longer
      await writer.abort()
      writer = store.incoming.create(id)
    }
    if (writer.size > 0)
      log.info({ digest: wanted.digest, have: writer.size, of: size }, 'resuming a transfer')
    const verified = (tail: Uint8Array | undefined) => {
      transfer.tail = tail
      notify()
    }
    let move = Promise.withResolvers<void>()
    const notify = () => {
      move.resolve()
      move = Promise.withResolvers()
    }
    writer.onProgress(notify)
    const arrived = async (leaf: Lent) => {
      const remembering = remember(transfer, leaf)
      notify()
      await remembering
    }
    const transfer: Active = {
      size,
      resumed: wanted.cid === undefined && writer.size > 0,
      writer,
      recent: [],
      readers: new Map(),
      onReached: new Set(),
      reached(reader, at) {
        if (at >= size) transfer.readers.delete(reader)
        else transfer.readers.set(reader, at)
        for (const listener of Array.from(transfer.onReached)) listener()
      },
      result: receive({ wanted, writer, size, signal, arrived, verified }),
      controller,
      users: 0,
      moved: () => move.promise,
      tail: undefined,
      info: undefined,
      failure: undefined
    }
    const settled = transfer.result
      .then(
        (info) => {
          transfer.info = info
          active.delete(wanted.digest)
          wanted.kept?.(info)
        },
        (error: unknown) => {
          transfer.failure = error
          active.delete(wanted.digest)
          log.warn(
            { digest: wanted.digest, cid: wanted.cid?.toString(), cause: reason(error) },
            'a transfer failed'
          )
        }
      )
      .finally(() => {
        if (wanted.cid !== undefined) live.delete(wanted.cid.toString())
        running.delete(settled)
        while (transfer.recent.length > 0) forget(transfer)
        notify()
      })
    running.add(settled)
    // what nothing proves yet isn't passed on to peers
    if (wanted.origin === undefined && wanted.cid !== undefined)
      live.set(wanted.cid.toString(), {
        path: writer.path,
        written: () => writer.written,
        tail: () => transfer.tail && { from: tailOf(size), bytes: transfer.tail },
        ended: () => transfer.info !== undefined || transfer.failure !== undefined,
        moved: transfer.moved
      })
    return transfer
  }

  function release(transfer: Active): void {
    transfer.users--
    if (transfer.users > 0 || transfer.info !== undefined || transfer.tail !== undefined) return
    const timer = setTimeout(() => {
      if (transfer.users === 0) transfer.controller.abort(new Error('nobody wants it any more'))
    }, options.lingerMs)
    timer.unref()
    void transfer.result.catch(() => undefined).finally(() => clearTimeout(timer)) // the failure was logged where it arose
  }

  /**
   * Keeps a leaf in memory for the clients that are up to it. One that is about to read what has to be
   * forgotten for that is waited for, for a moment: else it would never again be in time, and have all of it
   * from the disk.
   */
  async function remember(transfer: Active, leaf: Lent): Promise<void> {
    const { recent, readers } = transfer
    if (readers.size === 0 || remembered >= MOST_REMEMBERED) return
    leaf.hold()
    remembered++
    recent.push(leaf)
    const [oldest] = recent
    if (oldest === undefined || recent.length <= MOST_RECENT) return
    const next = oldest.offset + oldest.data.length
    const late = () => Array.from(readers.values()).some((at) => at >= oldest.offset && at < next)
    if (late()) await within(CATCH_UP_MS, transfer.onReached, () => !late())
    if (recent[0] === oldest) forget(transfer)
  }
  function forget(transfer: Active): void {
    const oldest = transfer.recent.shift()
    if (oldest === undefined) return
    remembered--
    oldest.release()
  }

  /** A transfer of what is in the store. */
  function arrived(info: BlobInfo): Transfer {
    return {
      size: info.size,
      resumed: false,
      read: (range) =>
        Readable.from(
          (async function* () {
            yield* await store.blobs.read(info, range)
          })(),
          { objectMode: false }
        ),
      done: async () => info
    }
  }

  return {
    size: sizeOf,
    async open(wanted, signal) {
      let pending = active.get(wanted.digest)
      if (pending === undefined) {
        // another transfer may have brought it since the caller looked
        const here = await store.blobs.stat(wanted.digest)
        pending = active.get(wanted.digest)
        if (here !== undefined && pending === undefined) return arrived(here)
      }
      if (pending === undefined) {
        pending = begin(wanted)
        active.set(wanted.digest, pending)
        pending.catch(() => active.delete(wanted.digest))
      }
      const transfer = await waitedFor(pending, signal)
      return {
        size: transfer.size,
        resumed: transfer.resumed,
        read(range) {
          transfer.users++
          return streamOf(
            readArrival(transfer, { range, blobs: store.blobs, closed: () => release(transfer) })
          )
        },
        async done(waitSignal) {
          transfer.users++
          try {
            return await waitedFor(transfer.result, waitSignal)
          } finally {
            release(transfer)
          }
        }
      }
    },
    live: (file) => live.get(file.toString()),
    async stop() {
      for (const pending of active.values()) {
        const transfer = await pending.catch(() => undefined) // it never began
        transfer?.controller.abort(new Error('the gateway is stopping'))
      }
      await Promise.all(running)
    }
  }
}
