import type { CID } from 'multiformats/cid'
import type { PublisherSetting, TxtRecord } from '../discovery/index.ts'
import type { Report } from './publishing-check.ts'
import type { PublishState } from './publishing-state.ts'

/** How a domain is to be published; what isn't given is as the settings say for the domain. */
export interface PublishRequest {
  readonly domain: string
  /** How the records get into DNS. */
  readonly publisher?: PublisherSetting
  /** Publish by an IPNS name. */
  readonly ipns?: boolean
  /** Of the records, in seconds. */
  readonly ttl?: number
  /** Publish even over a root that the tree here doesn't descend from. */
  readonly force?: boolean
  /** Change nothing, only say what would be. */
  readonly dryRun?: boolean
  /** How long to wait until all resolvers see the records, in milliseconds. */
  readonly waitMs?: number
}

/** What one name server says of a domain. */
export interface ServerReport {
  readonly server: string
  /** Whether a reader finds what is to be published. */
  readonly agrees: boolean
  /** Of which records it shows another, or none: `dnslink=`, `ipfsnode=`. */
  readonly differs?: readonly string[]
  /** The link that it shows. */
  readonly link?: string
  /** For how many seconds it may go on showing it. */
  readonly ttl?: number
  /** Whether it says that it validated its answers with DNSSEC. */
  readonly authenticated?: boolean
  readonly problem?: string
}

/** What came of publishing. */
export interface PublishReport {
  readonly domain: string
  readonly root: string
  readonly records: readonly TxtRecord[]
  /** The IPNS name, where the domain is published by one. */
  readonly ipns?: string
  /** The root that was published before, where there was one that can be told. */
  readonly before?: string
  /**
   * `published`: the records were changed, or that of the IPNS name which the link leads to. `unchanged`: they
   * were right already. `printed`: they are not right,
   * and nobody but the reader can put them in.
   */
  readonly outcome: 'published' | 'unchanged' | 'printed'
  /** By what the records were changed. */
  readonly via?: string
  /** What the resolvers said in the end. */
  readonly servers: readonly ServerReport[]
  /** What the publisher should know. */
  readonly advice: readonly string[]
}

/** Settings of publishing; times in milliseconds. */
export interface PublishSettings {
  /** How domains are published; those that are not listed have their records printed. */
  readonly publishers: ReadonlyMap<string, PublisherSetting>
  readonly dnsServers: readonly string[]
  readonly dnsTimeoutMs: number
  /** For a command that publishes. */
  readonly execTimeoutMs: number
  /** How long a domain must be quiet before it is published by itself. */
  readonly afterMs: number
}

/** The IPNS side of publishing, where there is one. */
export interface PublishByIpns {
  /** The domain's IPNS name; its key is made if it has none. */
  name(domain: string): Promise<string>
  /** Signs a record for the root, and gives it to whoever keeps such records. */
  publish(
    domain: string,
    root: CID,
    addresses: readonly string[],
    options: { ttlMs: number; signal: AbortSignal }
  ): Promise<{ notes: readonly string[] }>
  /** The root that a name leads to now, past every cache; `undefined` when nobody has a record of it. */
  current(name: string, hints: readonly string[], signal: AbortSignal): Promise<CID | undefined>
}

/** What a domain publishes, as its records say it now. */
export interface PublishedNow {
  readonly root: CID
  /** The peers that its `ipfsnode=` records name. */
  readonly providers: readonly string[]
  /** Whether the root is published by an IPNS name, whose record names peers too. */
  readonly byName: boolean
}

/** Makes a domain's current root its published one. */
export interface Publishing {
  /**
   * Works out the domain's records, compares them with DNS, and puts them there if the domain has a publisher.
   *
   * @throws {RegistryError} NAME_UNKNOWN without a tree; NAME_INVALID for what can't have records; DENIED when the
   *   published root isn't part of this tree's past, or a server refuses; SOURCE_FAILED and SOURCE_TIMEOUT
   */
  publish(request: PublishRequest, options: { signal: AbortSignal; report: Report }): Promise<PublishReport>
  /** What is published now, past every cache. */
  published(domain: string, signal: AbortSignal): Promise<PublishedNow | undefined>
  /** The newest root known to have been published and to be part of this tree's past. */
  common(domain: string): Promise<CID | undefined>
  noteCommon(domain: string, root: CID): Promise<void>
  /** What was published last. */
  state(domain: string): Promise<PublishState>
  /** Where the multiaddrs come from once the gateway listens: those to publish for a domain, and the gateway's own. */
  announce(addresses: (domain: string) => Promise<readonly string[]>, own: () => readonly string[]): void
  /** The gateway's own multiaddrs; those of when it last ran for a command that works alone. */
  addresses(): Promise<readonly string[]>
  /** Called with every root that was published. */
  onPublished(listener: (domain: string, root: CID) => void): void
}
