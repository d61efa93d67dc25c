import { circuitRelayServer, type circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import type { Startable } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'

/** How often it is seen to that every relay has a place for us, in milliseconds. */
const CHECK_MS = 15_000

/** How many gateways may be reached through this one at a time. */
const MAX_RESERVATIONS = 64

/**
 * The relay that others can use. It doesn't limit what a connection carries: a relay that stops after
 * 128 KiB, as the protocol's default is, helps nobody to pull an image. So it is off unless the operator
 * says otherwise, and serves few.
 *
 * @see https://github.com/libp2p/specs/blob/master/relay/circuit-v2.md
 */
export function relayServer(): ReturnType<typeof circuitRelayServer> {
  return circuitRelayServer({
    reservations: { maxReservations: MAX_RESERVATIONS, applyDefaultLimit: false }
  })
}

/** What {@link relayKeeper} uses of libp2p. */
type Components = Pick<Parameters<ReturnType<typeof circuitRelayTransport>>[0], 'transportManager'>
type TransportManager = Components['transportManager']

/**
 * Keeps a place at each of `relays`, so that this node can be reached through them. A relay that is down, or
 * goes down, is tried again every quarter of a minute: it must neither keep a gateway from starting nor be
 * lost when it restarts.
 */
export function relayKeeper(relays: readonly string[], log: Log): (components: Components) => Startable {
  return ({ transportManager }) => {
    const keepers = relays.map((text) => keep(transportManager, text, log))
    let timer: NodeJS.Timeout | undefined
    const check = () => Promise.all(keepers.map((look) => look()))
    return {
      start: () => {},
      async afterStart() {
        await check()
        timer = setInterval(() => void check(), CHECK_MS)
        timer.unref()
      },
      stop: () => clearInterval(timer)
    }
  }
}

/** The check of one relay: it does nothing while we can be reached through it. */
function keep(transports: TransportManager, text: string, log: Log): () => Promise<void> {
  const address = multiaddr(`${text}/p2p-circuit`)
  const through = text.slice(text.lastIndexOf('/p2p/'))
  const transport = transports.listenTransportForMultiaddr(address)
  let listener: ReturnType<TransportManager['getListeners']>[number] | undefined
  let busy = false
  let reported = false
  return async () => {
    if (busy) return
    if (listener?.getAddrs().some((one) => one.toString().includes(through)) === true) return
    busy = true
    try {
      if (listener === undefined) {
        const before = new Set(transports.getListeners())
        // what comes of it is seen below; one that failed is used again
        await transports.listen([address]).catch((error: unknown) => {
          if (transport === undefined) throw error
        })
        listener = transports.getListeners().find((one) => !before.has(one))
        if (listener !== undefined && listener.getAddrs().length === 0) await listener.listen(address)
      } else await listener.listen(address)
      reported = false
      log.info({ relay: text }, 'reachable through a relay')
    } catch (error) {
      const level = reported ? 'debug' : 'warn'
      log[level]({ relay: text, cause: reason(error) }, 'not reachable through a relay; trying again')
      reported = true
    } finally {
      busy = false
    }
  }
}
