import { MemoryBlockstore } from 'blockstore-core'
import {
  createDiscovery,
  createIpnsBook,
  createIpnsResolver,
  type Discovery,
  type Published
} from '../discovery/index.ts'
import { createIpfs, type Ipfs, type IpfsOptions } from '../ipfs/index.ts'
import type { Log } from '../log.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import type { Records } from '../store/index.ts'
import { createDirectories, type Directories } from '../tree/index.ts'
import { createHolders, type PeersOf } from './holders.ts'
import { createPlaces, type Places } from './places.ts'

/** What fresh rooms are made with; times in milliseconds. */
export interface FreshOptions {
  readonly node: Pick<IpfsOptions, 'allowDial' | 'network' | 'routing' | 'timeouts'>
  readonly dnsServers: readonly string[]
  readonly dnsTimeoutMs: number
  /** For one IPNS name. */
  readonly nameTimeoutMs: number
  readonly searchMs: number
  readonly log: Log
}

/** A look at an IPNS name. */
export interface NameLook {
  readonly name: string
  readonly ms: number
  /** Where it leads, and by which version of its record; not there when that could not be found out. */
  readonly found?: { readonly path: string; readonly sequence: bigint }
  readonly problem?: string
}

/**
 * The rooms that a pull uses, with nothing in them: no cache, no store, no memory of how anybody behaved, and a
 * peer id of their own. What they find is what somebody finds who asks for the first time.
 */
export interface Fresh {
  readonly ipfs: Ipfs
  readonly discovery: Discovery
  readonly directories: Directories
  /** The IPNS names that `discovery` was led through, with how long each took. */
  readonly names: readonly NameLook[]
  /** Peers for what a domain publishes. */
  peers(found: Published): PeersOf
  /** The tree that a domain publishes, by an answer that is known already. */
  places(found: Published): Places
}

/** Most of what an examination may bring into memory, in bytes: paths and manifests, of which it reads a few. */
const MAX_BYTES = 64 * 1024 * 1024

/** Blocks in memory, up to a limit: peers choose what they send along with a path. */
class LimitedBlockstore extends MemoryBlockstore {
  #bytes = 0

  override put(...given: Parameters<MemoryBlockstore['put']>): ReturnType<MemoryBlockstore['put']> {
    const [, value] = given
    if (value instanceof Uint8Array) this.#bytes += value.length
    if (this.#bytes > MAX_BYTES)
      throw new RegistryError('SOURCE_FAILED', `more than ${MAX_BYTES} bytes of directories were sent`)
    return super.put(...given)
  }
}

/** Opens them; `stack` closes them. */
export async function openFresh(options: FreshOptions, stack: AsyncDisposableStack): Promise<Fresh> {
  // what goes wrong is told in the diagnosis
  const log = options.log.child(
    { by: 'doctor' },
    { level: options.log.isLevelEnabled('debug') ? 'debug' : 'silent' }
  )
  const blockstore = new LimitedBlockstore()
  const records = memoryRecords()
  const ipfs = await createIpfs({ ...options.node, blockstore, records, listen: [], announce: [], log })
  stack.defer(() => ipfs.stop())
  const book = createIpnsBook({ records, log, now: Date.now })
  const resolver = createIpnsResolver({ ipfs, book, timeoutMs: options.nameTimeoutMs, log })
  stack.defer(() => resolver.stop())
  const names: NameLook[] = []
  const discovery = createDiscovery({
    servers: options.dnsServers,
    log,
    records,
    timeoutMs: options.dnsTimeoutMs,
    async resolveIpns(name, how) {
      const start = performance.now()
      const look = (rest: Omit<NameLook, 'name' | 'ms'>): void =>
        void names.push({ name, ms: performance.now() - start, ...rest })
      try {
        const { path, sequence, ...rest } = await resolver.resolve(name, { ...how, fresh: true })
        look({ found: { path, sequence } })
        return { path, ...rest }
      } catch (error) {
        look({ problem: reason(error) })
        throw error
      }
    }
  })
  stack.defer(() => discovery.stop())
  const directories = createDirectories()
  const holders = createHolders({
    blocks: { find: async (cid) => (blockstore.has(cid) ? whole(blockstore, cid) : undefined) },
    ipfs,
    records,
    searchMs: options.searchMs,
    log
  })
  return {
    ipfs,
    discovery,
    directories,
    names,
    peers: ({ domain, root, providers }) => holders.of(async () => ({ domain, root, providers })),
    places: (found) =>
      createPlaces({
        holders,
        discovery: { ...discovery, resolve: async () => found },
        directories,
        writer: () => ({ view: async () => undefined, had: async () => false }),
        peers: [],
        log
      })
  }
}

function whole(blockstore: MemoryBlockstore, cid: Parameters<MemoryBlockstore['get']>[0]): Uint8Array {
  return Buffer.concat([...(blockstore.get(cid) as Iterable<Uint8Array>)])
}

/** Records in memory. */
function memoryRecords(): Records {
  const kept = new Map<string, Uint8Array>()
  return {
    get: async (key) => kept.get(key),
    put: async (key, value) => void kept.set(key, value),
    delete: async (key) => void kept.delete(key),
    async *list(prefix) {
      for (const [key, value] of kept) if (key.startsWith(prefix)) yield [key, value]
    }
  }
}
