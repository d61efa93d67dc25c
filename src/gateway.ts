import { audited, openAccess, openSignatures } from './access.ts'
import type { Config } from './config.ts'
import { openDoor } from './door.ts'
import { openListeners } from './listeners.ts'
import { certificateState, checkRegistry, nearHost, prefixOf, urlOf } from './listening.ts'
import type { Log } from './log.ts'
import { RegistryError } from './oci/errors.ts'
import { operationsOf } from './operations.ts'
import type { Registry } from './registry/index.ts'
import { openRooms } from './rooms.ts'
import { openSecrets } from './secrets.ts'
import { withSeed } from './seed-addresses.ts'

/** A gateway that runs. */
export interface Gateway {
  readonly listening: {
    readonly host: string
    readonly port: number
    readonly url: string
    /** How image names begin that lead here. */
    readonly prefix: string
  }
  readonly registry: Registry
  /** The multiaddrs of this gateway. */
  addresses(): readonly string[]
  /** Those that belong into a domain's `ipfsnode=`: ours, and those of others who hold what its tree began from. */
  providersOf(domain: string): Promise<readonly string[]>
  /** Ends everything in order; what was answered is on disk. */
  stop(): Promise<void>
}

/** How long printing a new root waits for DNS to say who else has the tree, in milliseconds. */
const PROVIDERS_DEADLINE = 2000

/** How many addresses a domain's records name at most: as many as readers take. */
const MAX_ADDRESSES = 16

/** Puts the rooms together and starts them. What was started is stopped again when a later part fails. */
export async function startGateway(config: Config, log: Log): Promise<Gateway> {
  const stack = new AsyncDisposableStack()
  try {
    for (const warning of await openSecrets(config)) log.warn(warning)
    const rooms = await openRooms(config, log, stack)
    const { ipfs, registry, provider } = rooms
    const stopping = new AbortController()
    const auth = await openAccess(config, registry, log, stack)
    const signatures = await openSignatures(config, registry, log)
    const { listening, seed, identity } = await openListeners(
      rooms,
      { auth, signatures },
      stopping.signal,
      stack
    )
    provider.start()
    // an engine that pulls by itself has neither our authority's certificate nor a user's password
    const near = identity === undefined && auth?.access === undefined ? nearHost(listening) : undefined
    const operations = audited(operationsOf(rooms, near), auth?.audit)
    await openDoor(rooms, operations, stopping.signal, stack, { audit: auth?.audit, signatures })
    let warming: Promise<unknown> | undefined
    stack.defer(async () => void (await warming))
    stack.defer(() => stopping.abort(new RegistryError('UNAVAILABLE', 'the gateway is stopping')))
    const addresses = (): readonly string[] =>
      withSeed(ipfs.addresses(), seed, config.seedTls ? identity : undefined)
    const providersOf = async (domain: string): Promise<readonly string[]> => {
      const own = addresses()
      const others = await registry.providers(domain, AbortSignal.timeout(PROVIDERS_DEADLINE))
      return [...own, ...others.filter((address) => !address.includes(`/p2p/${ipfs.peerId}`))].slice(
        0,
        MAX_ADDRESSES
      )
    }
    registry.publishing.announce(providersOf, addresses)
    registry.doctor?.listening({
      at: urlOf(listening, identity),
      check: (signal) => checkRegistry(listening, identity, signal),
      ...(identity && { certificate: () => certificateState(identity) }),
      addresses
    })
    registry.ipns?.start()
    await registry.autoPublisher.start()
    if (config.prefetch.length > 0) {
      const warm = { images: config.prefetch, platforms: config.prefetchPlatforms }
      const first = registry.prefetch(warm, stopping.signal, () => undefined)
      warming = first.catch(() => undefined) // those that fail are in the log, and are tried again in their time
    }
    const running = stack.move()
    return {
      listening: {
        ...listening,
        url: urlOf(listening, identity),
        prefix: prefixOf(listening, config, identity)
      },
      registry,
      addresses,
      providersOf,
      stop: () => running.disposeAsync()
    }
  } catch (error) {
    await stack.disposeAsync()
    throw error
  }
}
