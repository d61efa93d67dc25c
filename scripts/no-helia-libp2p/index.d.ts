import type { Helia } from '@helia/interface'
import type { Libp2p, ServiceMap } from '@libp2p/interface'

/** What `@helia/bitswap` and others mean by a Helia node with libp2p. */
export type HeliaWithLibp2p<M extends ServiceMap = ServiceMap> = Helia & { libp2p: Libp2p<M> }

/** Always throws: Seaway composes its own libp2p. */
export function withLibp2p(helia: unknown, init?: unknown): never
