import { join } from 'node:path'
import { type Config, ConfigError } from '../config.ts'
import type { CarStore } from '../move/car-store.ts'
import {
  createEngine,
  createLayerMemory,
  createLayoutStore,
  createRegistryStore,
  type Destination,
  type ImageStore,
  type Manner,
  MoveError,
  type MoveReport,
  moveImages,
  type Place,
  parseCompression,
  parsePlatform,
  type Reporter,
  type Stores,
  type Target
} from '../move/index.ts'
import { RegistryError } from '../oci/errors.ts'
import { DEFAULT_DOMAIN, parseRepository } from '../oci/reference.ts'
import type { DirectRegistry, Server } from '../upstream/direct.ts'
import { parseRegistry } from '../upstream/registry-name.ts'
import { createBars, movedText } from './bars.ts'
import type { Call, Command, CommandContext, CommandOption, Operations } from './command.ts'
import { loginFile } from './logins.ts'

type Options = Parameters<Command['run']>[2]

/** What push, pull and copy have in common. */
export const MOVE_OPTIONS: readonly CommandOption[] = [
  { flags: '--gateway <url>', about: 'another gateway, instead of the one of this data folder' },
  { flags: '--platform <os/arch>', about: 'of an image for several platforms, only this one' },
  {
    flags: '--compression <kind>',
    about:
      'how layers are compressed that come without: gzip, zstd, with a level as in zstd:9, or none; default gzip'
  },
  { flags: '--referrers', about: 'signatures and whatever else refers to an image come along' }
]

/** How much longer a gateway is waited for than it waits for others itself. */
const PATIENCE = 1.5

/** Where a gateway is reached. */
interface Address {
  readonly url: string
  readonly socketPath?: string
  readonly name?: string
}

/**
 * Moves what `plan` says, shows how that goes, and prints what came of it. The gateway is reached where a place needs
 * it: at `--gateway`, on the control socket, or in this process.
 */
export async function runMove(
  context: CommandContext,
  options: Options,
  needsGateway: boolean,
  plan: (stores: OpenStores, signal: AbortSignal) => Promise<{ places: readonly Place[]; target: Target }>
): Promise<void> {
  const url = options['gateway']
  const compression = compressionOf(options)
  const platform = usage(() =>
    options['platform'] === undefined ? undefined : parsePlatform(String(options['platform']))
  )
  const work = async (address: Address | undefined, call: Call, operations: Operations | undefined) => {
    const bars = createBars(process.stderr, options.json === true)
    const stores = await openStores(context.config, address, bars.reporter)
    try {
      const { places, target } = await plan(stores, call.signal)
      const manner: Manner = {
        stores,
        memory: createLayerMemory(join(context.config.data, 'layers')),
        ...compression,
        platform,
        referrers: options['referrers'] === true,
        report: bars.reporter,
        signal: call.signal
      }
      const report = await moveImages(places, target, manner).catch((error: unknown) => {
        // what broke off because of that says less
        call.signal.throwIfAborted()
        throw error
      })
      bars.clear()
      const roots =
        operations && target.kind === 'stores' ? await rootsOf(stores.pushedTo, operations, call) : {}
      show(context, options, report, roots)
    } finally {
      bars.clear()
      await stores.close()
    }
  }
  if (url === undefined && !needsGateway) await context.alone((call) => work(undefined, call, undefined))
  else await atGateway(context, url, work)
}

/** Runs `work` with a connection to the gateway. */
export async function withGateway(
  context: CommandContext,
  work: (gateway: Server, operations: Operations, call: Call) => Promise<void>
): Promise<void> {
  await atGateway(context, undefined, async (address, call, operations) => {
    const { openServer } = await connections()
    const { pullTimeout, proxies } = context.config
    const gateway = openServer({ ...address, timeoutMs: pullTimeout * PATIENCE, proxies })
    try {
      if (operations !== undefined) await work(gateway, operations, call)
    } finally {
      gateway.wire.close()
    }
  })
}

/** Loaded only where something is moved: they take a good part of a start. */
const connections = () => import('../upstream/direct.ts')

async function atGateway(
  { alone, reach }: CommandContext,
  url: Options[string],
  work: (address: Address, call: Call, operations: Operations | undefined) => Promise<void>
): Promise<void> {
  if (url !== undefined) {
    const address = gatewayAt(String(url))
    await alone((call) => work(address, call, undefined))
  } else
    await reach(({ socketPath }, operations, call) =>
      work({ url: 'http://seaway', socketPath, name: 'the gateway' }, call, operations)
    )
}

/** What a wrong option or name throws is wrong usage. */
export function usage<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw error instanceof MoveError || error instanceof RegistryError
      ? new ConfigError(error.message)
      : error
  }
}

function compressionOf(options: Options): Pick<Manner, 'compression' | 'standardCompression'> {
  const text = String(options['compression'] ?? 'gzip')
  const standardCompression = parseCompression('gzip')
  if (text === 'none') return { compression: undefined, standardCompression }
  return { compression: usage(() => parseCompression(text)), standardCompression }
}

function gatewayAt(text: string): Address {
  const named = usage(() => parseRegistry(/^https?:\/\//.test(text) ? text : `http://${text}`))
  if (named === undefined || named.path !== '')
    throw new ConfigError(`--gateway is '${text}', which is no URL like http://127.0.0.1:5000`)
  return { url: named.url }
}

/** Stores that are open, and what closes them. */
export interface OpenStores extends Stores {
  gateway(repository: string): ImageStore
  /** A repository of a registry. */
  registry(place: Extract<Place, { kind: 'registry' }>, repository: string): ImageStore
  layout(folder: string): ImageStore
  /** Repositories of the gateway that a destination was made for. */
  readonly pushedTo: Set<string>
  close(): Promise<void>
}

async function openStores(
  config: Config,
  address: Address | undefined,
  report: Reporter
): Promise<OpenStores> {
  const { openDirect, openServer } = await connections()
  const options = { timeoutMs: config.pullTimeout * PATIENCE, proxies: config.proxies }
  const auth = loginFile(config)
  const open = new Map<string, DirectRegistry>()
  const engines = new Map<string, Server>()
  const repositories = new Map<string, ImageStore>()
  const once = (key: string, make: () => ImageStore): ImageStore => {
    const store = repositories.get(key) ?? make()
    repositories.set(key, store)
    return store
  }
  const at = (to: Address, repository: string): ImageStore =>
    once(`${to.url} ${repository}`, () => {
      const registry = open.get(to.url) ?? openDirect({ ...options, ...to, auth })
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
    gateway(repository) {
      if (address === undefined) throw new Error('no gateway was reached')
      return at(address, repository)
    },
    registry: ({ url }, repository) => at({ url: url.origin }, repository),
    layout: (folder) => once(`oci:${folder}`, () => createLayoutStore(folder)),
    engine(kind) {
      const host = kind === 'docker' ? config.dockerHost : config.podmanHost
      const server = engines.get(kind) ?? openServer({ ...options, ...engineAt(kind, host) })
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

function engineAt(kind: 'docker' | 'podman', host: string): Address {
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
    throw new MoveError(`${name} is at '${host}', but only unix:///PATH and tcp://HOST:PORT can be reached`)
  return { url, name: `${name} at ${host}` }
}

/** Where an image of the gateway goes. */
export function inGateway(
  stores: OpenStores,
  image: { repository: string; tag: string | undefined }
): Destination {
  stores.pushedTo.add(image.repository)
  const { repository, tag } = image
  return {
    store: stores.gateway(repository),
    tag,
    shown: tag === undefined ? repository : `${repository}:${tag}`
  }
}

async function rootsOf(
  repositories: ReadonlySet<string>,
  operations: Operations,
  call: Call
): Promise<Record<string, string>> {
  const domains = new Set<string>()
  for (const repository of repositories) {
    const { place } = parseRepository(repository)
    if (place.kind === 'domain') domains.add(place.domain)
  }
  const roots: Record<string, string> = {}
  for (const domain of domains) {
    const found = await operations.root({ domain }, call).catch(() => undefined)
    if (found !== undefined) roots[domain] = found.root
  }
  return roots
}

function show(
  { print }: CommandContext,
  options: Options,
  report: MoveReport,
  roots: Readonly<Record<string, string>>
): void {
  if (options.json === true) {
    print(JSON.stringify({ version: 1, ...report, roots }))
    return
  }
  // stdout may be the archive
  if (report.images.some(({ to }) => to === 'archive:-')) return
  for (const { image, to, digest } of report.images) print(`${image} → ${to}  ${digest}`)
  print(movedText(report.moved))
  for (const [domain, root] of Object.entries(roots))
    print(`${domain === DEFAULT_DOMAIN ? 'the default domain' : domain} is now at root ${root}`)
}
