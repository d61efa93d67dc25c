import { join } from 'node:path'
import { type Config, ConfigError } from '../config.ts'
import type { CarStore } from '../move/car-store.ts'
import {
  type Address,
  createEngine,
  createHttp,
  createLayerMemory,
  createLayoutStore,
  createRegistryStore,
  type Destination,
  type Http,
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
import { DEFAULT_DOMAIN, parseRepository } from '../oci/reference.ts'
import type { Tokens } from '../upstream/tokens.ts'
import { createBars, movedText } from './bars.ts'
import type { Call, Command, CommandContext, CommandOption, Operations } from './command.ts'
import { createLogin } from './logins.ts'

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
    const stores = openStores(context.config, address, bars.reporter)
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
  work: (http: Http, operations: Operations, call: Call) => Promise<void>
): Promise<void> {
  await atGateway(context, undefined, async (address, call, operations) => {
    const http = createHttp(address, context.config.pullTimeout * PATIENCE)
    try {
      if (operations !== undefined) await work(http, operations, call)
    } finally {
      http.close()
    }
  })
}

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
      work({ url: new URL('http://seaway'), socketPath, name: 'the gateway' }, call, operations)
    )
}

/** What a wrong option or name throws is wrong usage. */
export function usage<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw error instanceof MoveError ? new ConfigError(error.message) : error
  }
}

function compressionOf(options: Options): Pick<Manner, 'compression' | 'standardCompression'> {
  const text = String(options['compression'] ?? 'gzip')
  const standardCompression = parseCompression('gzip')
  if (text === 'none') return { compression: undefined, standardCompression }
  return { compression: usage(() => parseCompression(text)), standardCompression }
}

function gatewayAt(text: string): Address {
  const written = /^https?:\/\//.test(text) ? text : `http://${text}`
  if (!URL.canParse(written))
    throw new ConfigError(`--gateway is '${text}', which is no URL like http://127.0.0.1:5000`)
  const url = new URL(written)
  return { url, name: url.host }
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

function openStores(config: Config, address: Address | undefined, report: Reporter): OpenStores {
  const timeoutMs = config.pullTimeout * PATIENCE
  const open = new Map<string, Http>()
  const closing: (() => void)[] = []
  const repositories = new Map<string, ImageStore>()
  const httpTo = (to: Address): Http => {
    const key = `${to.url.href} ${to.socketPath ?? ''}`
    const http = open.get(key) ?? createHttp(to, timeoutMs)
    open.set(key, http)
    return http
  }
  const once = (key: string, make: () => ImageStore): ImageStore => {
    const store = repositories.get(key) ?? make()
    repositories.set(key, store)
    return store
  }
  const tokensOf = (url: URL, loginNames: readonly string[]): Tokens => {
    const login = createLogin(config, url, loginNames, timeoutMs)
    closing.push(() => login.close())
    return login.tokens
  }
  const tokens = new Map<string, Tokens>()
  const at = (to: Address, loginNames: readonly string[], repository: string): ImageStore =>
    once(`${to.url.host} ${repository}`, () => {
      const known = tokens.get(to.url.href) ?? tokensOf(to.url, loginNames)
      tokens.set(to.url.href, known)
      const name = to.socketPath === undefined ? `${to.url.host}/${repository}` : repository
      return createRegistryStore({ http: httpTo(to), repository, tokens: known, name })
    })
  // loaded late because trees take most of a start, and only CARs need them
  let opened: Promise<CarStore> | undefined
  const cars = () =>
    (opened ??= import('../move/car-store.ts').then(({ createCarStore }) => createCarStore(report)))
  const stores: OpenStores = {
    pushedTo: new Set(),
    gateway(repository) {
      if (address === undefined) throw new Error('no gateway was reached')
      return at(address, [address.url.host, address.url.origin], repository)
    },
    registry: ({ url, loginNames }, repository) => at({ url, name: url.host }, loginNames, repository),
    layout: (folder) => once(`oci:${folder}`, () => createLayoutStore(folder)),
    engine(kind) {
      const host = kind === 'docker' ? config.dockerHost : config.podmanHost
      return createEngine(httpTo(engineAt(kind, host)), kind)
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
      for (const http of open.values()) http.close()
      for (const close of closing) close()
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
      url: new URL('http://engine'),
      socketPath: match[1],
      name: `${name} at ${match[1]} (${hint})`
    }
  }
  const url = host.replace(/^tcp:/, 'http:')
  if (!/^https?:/.test(url) || !URL.canParse(url))
    throw new MoveError(`${name} is at '${host}', but only unix:///PATH and tcp://HOST:PORT can be reached`)
  return { url: new URL(url), name: `${name} at ${host}` }
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
