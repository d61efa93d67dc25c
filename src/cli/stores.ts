import { type Config, ConfigError } from '../config.ts'
import type { CarStore } from '../move/car-store.ts'
import type { EngineExport, ExportOptions } from '../move/engine-export.ts'
import type { Engine, Stores } from '../move/index.ts'
import { type Place } from '../move/places.ts'
import { type ImageStore, type Reporter } from '../move/types.ts'
import type { DirectRegistry } from '../upstream/direct.ts'
import type { Server } from '../upstream/server.ts'
import { type Login, loginFile } from './logins.ts'

/** Where a gateway is reached. */
export interface Address {
  readonly url: string
  readonly socketPath?: string
  readonly name?: string
}

/** How long a gateway is waited for that itself waits so long for others, in milliseconds. */
export const patience = (pullTimeout: number): number => pullTimeout * 1.5

/** What connects to others, and what moves. Both are loaded where they are needed: they take a good part of a start. */
export const connections = () => import('../upstream/direct.ts')
export const mover = () => import('../move/index.ts')

/** Stores that are open, and what closes them. */
export interface OpenStores extends Stores {
  gateway(repository: string): ImageStore
  /** A repository of a registry. */
  registry(place: Extract<Place, { kind: 'registry' }>, repository: string): ImageStore
  layout(folder: string): ImageStore
  /** Servers that were named so far by their addresses, `registry.example:5000`. */
  readonly hosts: ReadonlySet<string>
  /** From now on requests to its server are this user's. */
  login(login: Login): void
  /** Repositories of the gateway that a destination was made for. */
  readonly pushedTo: Set<string>
  close(): Promise<void>
}

/** Opens nothing yet: each store as it is needed. @param address where the gateway is, if one is needed */
export async function openStores(
  config: Config,
  address: Address | undefined,
  report: Reporter
): Promise<OpenStores> {
  const [{ openDirect }, { openServer }, { createEngine, createLayoutStore, createRegistryStore }] =
    await Promise.all([connections(), import('../upstream/server.ts'), mover()])
  const options = {
    timeoutMs: patience(config.pullTimeout),
    proxies: config.proxies,
    ca: config.trustedCa
  }
  const auth = loginFile(config)
  const open = new Map<string, DirectRegistry>()
  const engines = new Map<string, Server>()
  const repositories = new Map<string, ImageStore>()
  const once = (key: string, make: () => ImageStore): ImageStore => {
    const store = repositories.get(key) ?? make()
    repositories.set(key, store)
    return store
  }
  const hosts = new Set<string>()
  if (address !== undefined && address.socketPath === undefined) hosts.add(new URL(address.url).host)
  let typed: Login | undefined
  const at = (to: Address, repository: string): ImageStore =>
    once(`${to.url} ${repository}`, () => {
      const { host } = new URL(to.url)
      if (to.socketPath === undefined) hosts.add(host)
      const login = () => (typed?.host === host ? typed : undefined)
      const registry = open.get(to.url) ?? openDirect({ ...options, ...to, auth, login })
      open.set(to.url, registry)
      const name = to.socketPath === undefined ? `${registry.server.name}/${repository}` : repository
      return createRegistryStore({ registry, repository, name })
    })
  // loaded late because trees take most of a start, and only CARs need them
  let opened: Promise<CarStore> | undefined
  const cars = () =>
    (opened ??= import('../move/car-store.ts').then(({ createCarStore }) => createCarStore(report)))
  const stores: OpenStores = {
    pushedTo: new Set(),
    hosts,
    login(login) {
      typed = login
    },
    gateway(repository) {
      if (address === undefined) throw new Error('no gateway was reached')
      return at(address, repository)
    },
    registry: ({ url }, repository) => at({ url: url.origin }, repository),
    layout: (folder) => once(`oci:${folder}`, () => createLayoutStore(folder)),
    engine(kind) {
      const server = engines.get(kind) ?? openServer({ ...options, ...engineAt(config, kind) })
      engines.set(kind, server)
      return createEngine(server, kind)
    },
    async store(place, signal) {
      if (place.kind === 'gateway') return stores.gateway(place.image.repository)
      if (place.kind === 'registry') return stores.registry(place, place.image.repository)
      if (place.kind === 'oci') return stores.layout(place.path)
      return (await cars()).source(place, signal)
    },
    namesIn: async (place, signal) => (await cars()).images(place, signal),
    async close() {
      if (opened !== undefined) await (await opened).close()
      for (const registry of open.values()) registry.stop()
      for (const { wire } of engines.values()) wire.close()
    }
  }
  return stores
}

function engineAt({ dockerHost, podmanHost }: Config, kind: Engine['kind']): Address {
  const host = kind === 'docker' ? dockerHost : podmanHost
  const name = kind === 'docker' ? 'the Docker engine' : 'podman'
  const match = /^unix:\/\/(\/.*)$/.exec(host)
  if (match !== null) {
    const hint =
      kind === 'docker' ? 'SEAWAY_DOCKER_HOST' : "SEAWAY_PODMAN_HOST; 'podman system service' listens there"
    return {
      url: 'http://engine',
      socketPath: match[1],
      name: `${name} at ${match[1]} (${hint})`
    }
  }
  const url = host.replace(/^tcp:/, 'http:')
  if (!/^https?:/.test(url) || !URL.canParse(url))
    throw new ConfigError(`${name} is at '${host}', but only unix:///PATH and tcp://HOST:PORT can be reached`)
  return { url, name: `${name} at ${host}` }
}

/**
 * Asks engines for images that are to leave them, before all that moves images is loaded.
 *
 * @param names by kind of engine, in the order in which they will be moved
 */
export async function openExports(
  config: Config,
  names: ReadonlyMap<Engine['kind'], readonly string[]>,
  more: Omit<ExportOptions, 'engine' | 'names'>
): Promise<ReadonlyMap<Engine['kind'], EngineExport>> {
  const exports = new Map<Engine['kind'], EngineExport>()
  if (names.size === 0) return exports
  const { openExport } = await import('../move/engine-export.ts')
  for (const [kind, mine] of names)
    exports.set(kind, openExport({ ...more, engine: await openEngine(config, kind), names: mine }))
  // what is loaded next keeps this thread busy: an answer would wait for that, and the next question with it
  await Promise.allSettled([...exports.values()].map((each) => each.known()))
  return exports
}

/** Opens an engine alone. */
export async function openEngine(config: Config, kind: Engine['kind']): Promise<Engine> {
  const [{ openServer }, { createEngine }] = await Promise.all([
    import('../upstream/server.ts'),
    import('../move/engine.ts')
  ])
  const { pullTimeout, proxies, trustedCa: ca } = config
  const options = { timeoutMs: patience(pullTimeout), proxies, ca }
  return createEngine(openServer({ ...options, ...engineAt(config, kind) }), kind)
}
