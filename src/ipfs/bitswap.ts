import { withBitswap } from '@helia/bitswap'
import type { HeliaMixin } from '@helia/interface'
import type { Libp2p, PeerId, StreamHandler } from '@libp2p/interface'
import type { createHeliaLight } from 'helia'
import type { Blockstore } from 'interface-blockstore'
import type { Log } from '../log.ts'
import { type Answers, createAnswers } from './bitswap-answers.ts'
import { MeteredStream } from './metered-stream.ts'
import type { Bitswap } from './wants.ts'

/** What peers that speak bitswap say they do (https://specs.ipfs.tech/bitswap-protocol/). */
export const BITSWAP_PROTOCOL = '/ipfs/bitswap/1.2.0'

/**
 * Bitswap as the other side of our links sees it. Messages may take two minutes instead of ten seconds
 * (4 MiB at 35 KB/s).
 *
 * The streams of one peer stay at the package's 1024, though each may be in the middle of a message: Helia opens
 * one for every block that it wants, and waits for ever where one is refused. What is in them is what
 * `surplus.ts` counts.
 */
const BITSWAP_LIMITS = {
  messageReceiveTimeout: 120_000,
  messageSendTimeout: 120_000
}

/** The block broker that `withBitswap` makes, which its package doesn't export by itself. */
export interface Broker {
  bitswap: Bitswap
  start(): Promise<void>
  stop(): Promise<void>
}

/** Told of what peers send. */
export interface Incoming {
  /** So many bytes of a message have come. */
  read(peer: PeerId, bytes: number): void
  /** The peer has said that it is going to send more than a message can hold. */
  overlong(peer: PeerId): void
}

/** The package's name for the error with which it ends a stream whose next message is too long. */
const TOO_LONG = 'InvalidDataLengthError'

/** What bitswap needs of a libp2p node; what it reads of peers is reported on the way. */
function watched(libp2p: Libp2p, incoming: Incoming): Libp2p {
  const handle: Libp2p['handle'] = (protocols, handler, options) => {
    const meter: StreamHandler = (stream, connection) => {
      const peer = connection.remotePeer
      stream.addEventListener('close', ({ error, local }) => {
        if (local === true && error?.name === TOO_LONG) incoming.overlong(peer)
      })
      const metered = new MeteredStream(stream, (bytes) => incoming.read(peer, bytes))
      return handler(metered as unknown as typeof stream, connection)
    }
    return libp2p.handle(protocols, meter, options)
  }
  const rest: Partial<Libp2p> = {
    register: (protocol, topology) => libp2p.register(protocol, topology),
    unregister: (id) => libp2p.unregister(id),
    unhandle: (protocols) => libp2p.unhandle(protocols),
    getConnections: (peer) => libp2p.getConnections(peer),
    isDialable: (address, options) => libp2p.isDialable(address, options),
    dialProtocol: (peer, protocols, options) => libp2p.dialProtocol(peer, protocols, options),
    dial: (peer, options) => libp2p.dial(peer, options)
  }
  return { ...rest, handle } as Libp2p
}

/**
 * Lets `withBitswap` make its broker over our blockstore (why: see `createIpfs`), and has want lists answered by
 * our own {@link createAnswers}.
 *
 * @throws Error when the package has changed
 */
export async function seatBitswap(
  helia: ReturnType<typeof createHeliaLight>,
  libp2p: Libp2p,
  blockstore: Blockstore,
  incoming: Incoming,
  log: Log
): Promise<Broker> {
  let broker: Broker | undefined
  let mixin: HeliaMixin | undefined
  const seat = {
    status: 'starting',
    logger: helia.logger,
    routing: helia.routing,
    getHasher: helia.getHasher,
    libp2p: watched(libp2p, incoming),
    blockstore,
    addMixin: (made: HeliaMixin) => {
      mixin = made
    },
    hasBlockBroker: () => false,
    addBlockBroker: (made: unknown) => {
      broker = made as Broker
    }
  } as unknown as Parameters<typeof withBitswap>[0]
  withBitswap(seat, BITSWAP_LIMITS)
  await mixin?.start?.(seat)
  if (broker === undefined) throw new Error('@helia/bitswap made no block broker: its mixin has changed')
  const { network, peerWantLists } = broker.bitswap
  const answers = createAnswers({ blockstore, network, log })
  for (const name of Object.keys(answers) as (keyof Answers)[]) {
    if (typeof peerWantLists[name] !== 'function') throw new Error(`@helia/bitswap has no ${name} any more`)
  }
  Object.assign(peerWantLists, answers)
  return broker
}
