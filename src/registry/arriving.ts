import type { Readable } from 'node:stream'
import { type Transfers, type Wanted, WrongStart } from '../ipfs/transfer.ts'
import type { Log } from '../log.ts'
import { RegistryError } from '../oci/errors.ts'
import type { RepositoryName } from '../oci/reference.ts'
import type { ByteRange } from '../store/index.ts'
import { begun } from './begun.ts'
import type { BlobContent } from './pull.ts'
import { timed } from './timings.ts'

/**
 * Blobs up to this many bytes that only a peer says it has, one that was never right before, or of which an earlier transfer
 * has left a part, are given to clients once they are proven, and not as they come: what a client has got it cannot unread.
 */
const PROVEN_FIRST = 64 * 1024 * 1024

/** Makes what gives clients the blobs that transfers bring. */
export function createArriving(options: {
  transfers: Pick<Transfers, 'open' | 'size'>
  /** Told of bytes that came from peers, and for which repository. */
  received: (name: RepositoryName, bytes: number) => void
  /** How long a client waits for the proof at most, in milliseconds: then it gets what comes. */
  proofMs: number
  log: Log
}): (wanted: Wanted, name: RepositoryName, signal: AbortSignal) => Promise<BlobContent> {
  const { transfers, log } = options

  async function open(wanted: Wanted, range: ByteRange | undefined, signal: AbortSignal): Promise<Readable> {
    const transfer = await transfers.open(wanted, signal)
    const claim = wanted.cid === undefined ? undefined : wanted.claim
    const doubtful = transfer.resumed || claim?.proven === false
    if (doubtful && transfer.size <= PROVEN_FIRST) {
      const late = AbortSignal.timeout(options.proofMs)
      await transfer.done(AbortSignal.any([signal, late])).catch((error: unknown) => {
        if (signal.aborted || !late.aborted) throw error
      })
    }
    return begun(transfer.read(range), signal)
  }

  return async function arriving(wanted, name, signal) {
    const { digest, origin, kept } = wanted
    const size = wanted.size ?? (await timed(signal, 'fetch', () => transfers.size(wanted, signal)))
    const received = (bytes: number) => options.received(name, bytes)

    /**
     * Where peers turn out not to have what they say, it is had from the origin alone; where what was left of an earlier
     * transfer turns out wrong, it is fetched anew.
     */
    async function have<T>(how: (wanted: Wanted) => Promise<T>): Promise<T> {
      try {
        return await how({ ...wanted, received })
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof WrongStart) return how({ ...wanted, received })
        const claimed = wanted.cid !== undefined && wanted.claim !== undefined
        if (!claimed || origin === undefined || !(error instanceof RegistryError)) throw error
        log.info(
          { digest, from: origin.what, cause: error.message },
          'peers were wrong, so the origin is asked'
        )
        return how({ digest, size, origin, ...(kept && { kept }) })
      }
    }

    return {
      digest,
      size,
      open: (range) => timed(signal, 'fetch', () => have((one) => open(one, range, signal))),
      bring: (within) => have(async (one) => (await transfers.open(one, signal)).done(within))
    }
  }
}
