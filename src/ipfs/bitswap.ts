import { withBitswap } from '@helia/bitswap'
import type { HeliaMixin } from '@helia/interface'
import type { Libp2p } from '@libp2p/interface'
import type { createHeliaLight } from 'helia'
import type { Blockstore } from 'interface-blockstore'
import type { Bitswap } from './wants.ts'

/** What peers that speak bitswap say they do (https://specs.ipfs.tech/bitswap-protocol/). */
export const BITSWAP_PROTOCOL = '/ipfs/bitswap/1.2.0'

/**
 * Bitswap as the other side of our links sees it. Messages may take two minutes instead of ten seconds
 * (4 MiB at 35 KB/s); one peer's wants that are answered in one go, all of them in memory, are 128 instead
 * of 1024. The package reads `maxWantListSize`, its type says `maxWantlistSize`.
 */
const BITSWAP_LIMITS = {
  messageReceiveTimeout: 120_000,
  messageSendTimeout: 120_000,
  maxWantListSize: 128,
  maxWantlistSize: 128
}

/** The block broker that `withBitswap` makes, which its package doesn't export by itself. */
export interface Broker {
  bitswap: Bitswap
  start(): Promise<void>
  stop(): Promise<void>
}

/** Lets `withBitswap` make its broker over our blockstore (why: see `createIpfs`). */
export async function seatBitswap(
  helia: ReturnType<typeof createHeliaLight>,
  libp2p: Libp2p,
  blockstore: Blockstore
): Promise<Broker> {
  let broker: Broker | undefined
  let mixin: HeliaMixin | undefined
  const seat = {
    status: 'starting',
    logger: helia.logger,
    routing: helia.routing,
    getHasher: helia.getHasher,
    libp2p,
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
  return broker
}
