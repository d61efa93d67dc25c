import type { Config } from '../config.ts'
import type { ImageOfDomain } from '../oci/reference.ts'
import type {
  Collected,
  Cursor,
  Diagnosis,
  HistoryEntry,
  ImagesPage,
  ImagesQuery,
  Inspection,
  InspectQuery,
  KeyInfo,
  Pin,
  Pinned,
  Prefetched,
  PrefetchRequest,
  PublishReport,
  PublishRequest,
  Removed,
  RemoveRequest,
  SourceChanges,
  SourceName,
  SyncReport,
  SyncRequest,
  UsageReport,
  VerifyReport
} from '../registry/index.ts'
import type { Screen } from './screen.ts'

/** How far an operation is. */
export interface Progress {
  /** What is being worked on, in a few words. */
  readonly what: string
  readonly done: number
  /** Not there while nobody knows. */
  readonly total?: number
  readonly unit: 'bytes' | 'items'
}

/** What goes along with an operation. */
export interface Call {
  /** Aborted when the command is interrupted, or the gateway stops. */
  readonly signal: AbortSignal
  progress(report: Progress): void
}

/**
 * What commands can do to a data folder: through the gateway that runs there, or alone. Arguments and results
 * travel as JSON.
 */
export interface Operations {
  /** The root CID of a domain's local tree; of a published one for `domain@N`. @throws {RegistryError} NAME_UNKNOWN */
  root(args: { domain: string }, call: Call): Promise<{ domain: string; root: string }>
  /** A page of the images of a source, but not of another registry. @throws {RegistryError} as listImages does */
  images(args: { source: SourceName; query: ImagesQuery; after?: Cursor }, call: Call): Promise<ImagesPage>
  /** Where clients on this machine reach the gateway over plain HTTP, `127.0.0.1:5000`; nothing where they don't. */
  address(args: Record<string, never>, call: Call): Promise<{ readonly host?: string }>
  /** All that there is to say of an image. @throws {RegistryError} as inspectImage does */
  inspect(args: { source: SourceName; query: InspectQuery }, call: Call): Promise<Inspection>
  /** What is different between two trees. @throws {RegistryError} UNSUPPORTED where one is no tree */
  changes(args: { before: SourceName; after: SourceName; limit: number }, call: Call): Promise<SourceChanges>
  /** What names of local trees go on with, for a shell. */
  complete(
    args: { prefix: string; kind: 'domain' | 'repository' | 'image' },
    call: Call
  ): Promise<readonly string[]>
  /** Tells the network of everything that is offered here, if `now`, and says how that goes. */
  provide(args: { now: boolean }, call: Call): Promise<ProvideStatus>
  /** What is used and what went to and fro. @throws {RegistryError} NAME_UNKNOWN */
  usage(args: { name?: string }, call: Call): Promise<UsageReport>
  /** Reads everything in the store. @throws {RegistryError} UNAVAILABLE while another one does */
  verify(args: { rate?: number; restart: boolean }, call: Call): Promise<VerifyReport>
  /** Removes what nothing needs any more; what was used in the last `graceMs` milliseconds stays (as is set, if not given). */
  gc(args: { dryRun: boolean; retention?: boolean; graceMs?: number }, call: Call): Promise<Collected>
  /** Removes images, all of them or none. @throws {RegistryError} MANIFEST_UNKNOWN, NAME_UNKNOWN, DENIED */
  rm(args: RemoveRequest, call: Call): Promise<Removed>
  /** The roots that a domain has published, the newest first. @throws {RegistryError} NAME_UNKNOWN */
  history(args: { domain: string }, call: Call): Promise<readonly HistoryEntry[]>
  /** Makes a published root, by its number or CID, the current one again. @throws {RegistryError} NAME_UNKNOWN */
  restore(args: { domain: string; which: string }, call: Call): Promise<{ domain: string; root: string }>
  /** The pinned roots. */
  pins(args: object, call: Call): Promise<readonly Pin[]>
  /** Pins a root: a CID, `domain`, or `domain@N`. @throws {RegistryError} as Pins.add does */
  pin(args: { root: string }, call: Call): Promise<Pinned>
  /** @throws {RegistryError} NAME_UNKNOWN */
  unpin(args: { root: string }, call: Call): Promise<Pin>
  /** Makes a domain's current root the published one. @throws {RegistryError} as Publishing.publish does */
  publish(args: PublishRequest, call: Call): Promise<PublishReport>
  /** Merges the published tree of a domain into the local one. @throws {RegistryError} as Sync does */
  sync(args: SyncRequest, call: Call): Promise<SyncReport>
  /** Examines a domain, or the gateway itself if none is given. */
  doctor(args: Partial<ImageOfDomain>, call: Call): Promise<Diagnosis>
  /** Brings images here; those that fail are told, and don't keep the others. */
  prefetch(args: PrefetchRequest, call: Call): Promise<readonly Prefetched[]>
  /** The IPNS keys of domains. */
  keys(args: object, call: Call): Promise<readonly KeyInfo[]>
  /** @throws {RegistryError} DENIED when the domain has one */
  createKey(args: { domain: string }, call: Call): Promise<KeyInfo>
  /** The key in base64. @throws {RegistryError} NAME_UNKNOWN */
  exportKey(args: { domain: string; format: 'libp2p' | 'pem' }, call: Call): Promise<{ key: string }>
  /** @throws {RegistryError} REQUEST_INVALID, DENIED when the domain has another one */
  importKey(args: { domain: string; key: string }, call: Call): Promise<KeyInfo>
  /** @throws {RegistryError} NAME_UNKNOWN */
  rotateKey(args: { domain: string }, call: Call): Promise<{ old: KeyInfo; now: KeyInfo }>
}

/** How telling the network what is here goes; times are epoch ms. */
export interface ProvideStatus {
  /** Whether there is a network to tell. */
  readonly enabled: boolean
  /** The round that runs; `total` is what is known of so far. */
  readonly running?: { readonly done: number; readonly total: number } | undefined
  /** CIDs of new pushes that wait for their turn. */
  readonly waiting: number
  /** The last whole round. */
  readonly last?: { readonly at: number; readonly told: number; readonly failed: number } | undefined
  readonly next?: number | undefined
}

/** Where a gateway's `/v2/` and `/ipfs/` are reached. */
export interface Door {
  readonly socketPath: string
}

/** What a command works with. */
export interface CommandContext {
  readonly config: Config
  /** Prints a line of data on stdout. */
  readonly print: (line: string) => void
  /** Writes bytes to stdout as they are. */
  readonly write: (bytes: Uint8Array) => void
  /** Where it is printed. */
  readonly screen: Screen
  /**
   * Runs `work` with the running gateway's operations, or opens the data folder for it when none runs. What
   * `work` hands on as its `call` shows progress on a terminal and ends at Ctrl-C.
   */
  readonly operate: <T>(work: (operations: Operations, call: Call) => Promise<T>) => Promise<T>
  /**
   * The same, with where the gateway's registry is reached: on the control socket of the one that runs, or of this
   * process where none does.
   */
  readonly reach: <T>(work: (door: Door, operations: Operations, call: Call) => Promise<T>) => Promise<T>
  /** Runs `work` that needs no data folder, likewise with progress and Ctrl-C. */
  readonly alone: <T>(work: (call: Call) => Promise<T>) => Promise<T>
  /** Runs the gateway until it is told to stop. */
  readonly serve: () => Promise<void>
}

/** An option that only one command has, beside the settings. */
export interface CommandOption {
  /** In commander's notation, `--rate <size>`; a flag without a value is `true` when given. */
  readonly flags: string
  readonly about: string
  /** Whether it may be said more than once: its value is a list then. */
  readonly repeated?: boolean
  /** Values that it can have, where there are few: for shells. */
  readonly choices?: readonly string[]
}

/** One command: a row of the command table. */
export interface Command {
  readonly name: string
  /** Its arguments in commander's notation, `<domain>`. */
  readonly arguments: string
  /** What its first argument can be, where that is a word of few: for shells. */
  readonly words?: readonly string[]
  readonly summary: string
  /** Commands that people would type, with what each does. */
  readonly examples: readonly [command: string, does: string][]
  /** Whether it prints data, so that it has `--json`. */
  readonly json: boolean
  /** Options of its own; `run` gets their values by the names that commander makes of them. */
  readonly options?: readonly CommandOption[]
  run(
    context: CommandContext,
    args: readonly string[],
    options: {
      json?: boolean
      [option: string]: string | boolean | readonly string[] | undefined
    }
  ): Promise<void>
}
