import type { Gateway } from './gateway.ts'
import type { Wire, WireReader } from './wire.ts'

/** A gateway to which a connection is being made before anything is asked of it. */
export interface EarlyGateway {
  /** The same gateway; the first connection to it is the one that was made early. */
  readonly gateway: Gateway
  /** Ends that connection if nobody has come for it. */
  close(): void
}

/**
 * Begins to connect to `gateway` now. Where it has to be waited for something else before the first request can
 * be sent, the round trips of the connection (TCP's and TLS's, or those of a stream's negotiation) pass meanwhile.
 *
 * A connection that was closed before anybody came for it isn't used: another one is made then.
 */
export function connectEarly(gateway: Gateway): EarlyGateway {
  const dialling = new AbortController()
  let reader: WireReader | undefined
  let closed = false
  const stand: WireReader = {
    intake: {
      room: () => reader?.intake.room(),
      took: (count) => reader?.intake.took(count)
    },
    closed(error) {
      closed = true
      reader?.closed(error)
    }
  }
  const early = gateway.connect(stand, dialling.signal)
  // one that nobody comes for may fail as it likes
  early.catch(() => undefined)
  let taken = false

  async function take(given: WireReader, signal: AbortSignal): Promise<Wire> {
    const giveUp = () => dialling.abort(signal.reason)
    if (signal.aborted) giveUp()
    signal.addEventListener('abort', giveUp, { once: true })
    try {
      const wire = await early
      if (closed) return await gateway.connect(given, signal)
      reader = given
      return wire
    } finally {
      signal.removeEventListener('abort', giveUp)
    }
  }

  return {
    gateway: {
      ...gateway,
      connect(given, signal) {
        if (taken) return gateway.connect(given, signal)
        taken = true
        return take(given, signal)
      }
    },
    close() {
      if (taken) return
      taken = true
      dialling.abort(new Error('nobody came for it'))
      void early.then(
        (wire) => wire.close(),
        () => undefined // there is none
      )
    }
  }
}
