import type { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import type { Listener, Startable } from '@libp2p/interface'

/** What {@link trustListeners} uses of libp2p. */
type Components = Pick<Parameters<ReturnType<typeof circuitRelayTransport>>[0], 'addressManager' | 'events'>

/**
 * Tells libp2p to believe that the addresses it listens on are its own. It believes that of private ones only;
 * of public ones it wants to be assured by others (AutoNAT, a package and a service more), and without that
 * tells nobody of them, so that a gateway on a server with a public address would have none to publish.
 */
export function trustListeners(): (components: Components) => Startable {
  return ({ addressManager, events }) => {
    const believe = ({ detail }: CustomEvent<Listener>) => {
      for (const address of detail.getAddrs())
        addressManager.confirmObservedAddr(address, { type: 'transport' })
    }
    return {
      start: () => events.addEventListener('transport:listening', believe),
      stop: () => events.removeEventListener('transport:listening', believe)
    }
  }
}
