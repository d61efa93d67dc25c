import type { Discovery, IpnsBook, IpnsResolver } from '../discovery/index.ts'
import type { Ipfs, Offer } from '../ipfs/index.ts'
import type { Log } from '../log.ts'
import type { Store } from '../store/index.ts'
import type { Upstreams } from '../upstream/index.ts'
import type { FreshOptions } from './doctor-fresh.ts'
import type { Meters } from './meters.ts'
import type { RegistrySettings } from './settings.ts'

/** What a registry is put together over. */
export interface RegistryOptions {
  readonly store: Store
  readonly ipfs: Ipfs
  readonly discovery: Discovery
  readonly settings: RegistrySettings
  /** Where traffic is counted; its own unless given. */
  readonly meters?: Meters
  /** What peers get; everything in the store unless given. */
  readonly offer?: Offer
  /** What IPNS names are made and found with: the folder of their keys, and how long a signed record holds, in milliseconds. */
  readonly names?: { book: IpnsBook; resolver: IpnsResolver; folder: string; lifetimeMs: number }
  /** Other registries that are pulled through; none unless given. */
  readonly upstreams?: Upstreams
  /** What an examination opens rooms of its own with; how long a pull waits, in milliseconds; bytes of the disk that are never used. */
  readonly doctor?: Omit<FreshOptions, 'log'> & { pullMs: number; reserve: number }
  readonly log: Log
}
