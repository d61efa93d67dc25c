import type { RetentionRule } from '../config/publishing.ts'
import type { DomainRules } from './domain-rules.ts'
import type { PrefetchRequest } from './prefetch.ts'
import type { PublishSettings } from './publishing-types.ts'
import type { Limits } from './quota.ts'

/** What is kept, and for how long; times in milliseconds. */
export interface CollectSettings {
  /** How many published roots of a domain are kept. */
  readonly keepRoots: number
  /** How long what nothing names stays after it was pushed or used last. */
  readonly graceMs: number
  /** Bytes that cached content may take; `undefined` for all there is. */
  readonly cacheLimit: number | undefined
  /** How often to collect, retention included, without being asked. */
  readonly intervalMs: number | undefined
  readonly retention: readonly RetentionRule[]
}

/** Settings of the registry; times in milliseconds. */
export interface RegistrySettings {
  readonly pushBase: 'published' | 'empty'
  readonly treeDeadlineMs: number
  readonly transferLingerMs: number
  readonly uploadExpiryMs: number
  /** Multiaddrs of peers that are asked for roots named by CID. */
  readonly peers: readonly string[]
  readonly collect: CollectSettings
  /** Which domains clients may write to; all unless given. */
  readonly pushRules?: DomainRules
  /** Images that are brought here again and again; none unless given. */
  readonly prefetch?: PrefetchRequest & { readonly intervalMs: number }
  /** None unless given. */
  readonly limits?: Limits
  /** Fetch what strangers ask for and isn't here, from whoever has it. */
  readonly fetchForPeers?: boolean
  /** For one look at images; {@link LOOK_MS} unless given. */
  readonly lookMs?: number
  /** For one search of the network for who has something; {@link SEARCH_MS} unless given. */
  readonly searchMs?: number
  /** Nothing is published by itself, and the system's name servers are asked, if not given. */
  readonly publish?: PublishSettings
}

/** Searches of a large network take seconds, and what they find after this long comes too late for a client. */
export const SEARCH_MS = 30_000

/** As long as a pull waits for its first byte, unless that is set otherwise. */
export const LOOK_MS = 60_000

/** How publishing works where nothing is set. */
export const PUBLISH_NOTHING: PublishSettings = {
  publishers: new Map(),
  dnsServers: [],
  dnsTimeoutMs: 10_000,
  execTimeoutMs: 60_000,
  afterMs: 5000
}
