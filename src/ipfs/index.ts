/**
 * The IPFS node: one Helia node over libp2p, from which the rooms above get peers, verified blocks and the
 * leaves of files.
 */

export type { SmallAnswer, SmallQuestion } from './ask.ts'
export type { Health } from './health.ts'
export type { Network } from './libp2p.ts'
export { createLimiter, createSeats, type Limits, type Seats } from './limits.ts'
export type { Mapped, Mapping, Mappings } from './mappings.ts'
export { createIpfs, type IpfsOptions } from './node.ts'
export type { AllowDial } from './policy.ts'
export type { ContentWay, Probe } from './probe.ts'
export { ProbeFailure, type ProbeKind } from './probe-failure.ts'
export { createProvider, type Provider, type Providing } from './providing.ts'
export type { Routing } from './routing.ts'
export { createOffer, type Offer, type SeedPolicy } from './seeding.ts'
export type { FetchOptions, Ipfs, Leaf, LeavesOptions, PeerId, Timeouts } from './types.ts'
