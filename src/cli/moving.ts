import { join } from 'node:path'
import { ConfigError } from '../config.ts'
import { compressionKey, parseCompression } from '../move/compress.ts'
import type { Destination, Manner, MoveReport, Target } from '../move/index.ts'
import type { EnginePlace, Place } from '../move/places.ts'
import { parsePlatform } from '../move/platform.ts'
import { MoveError } from '../move/types.ts'
import { RegistryError } from '../oci/errors.ts'
import { DEFAULT_DOMAIN, parseDomain, parseRepository } from '../oci/reference.ts'
import { parseRegistry } from '../upstream/registry-name.ts'
import type { Server } from '../upstream/server.ts'
import { createBars, movedText } from './bars.ts'
import type { Call, Command, CommandContext, CommandOption, Operations } from './command.ts'
import { userAt } from './logins.ts'
import { readSecret } from './secret-input.ts'
import { type Address, mover, type OpenStores, openExports, openStores, patience } from './stores.ts'
import { formatJson, formatTable } from './terminal.ts'

type Options = Parameters<Command['run']>[2]

/** What push, pull and copy have in common. */
export const MOVE_OPTIONS: readonly CommandOption[] = [
  { flags: '--gateway <url>', about: 'another gateway, instead of the one of this data folder' },
  {
    flags: '--user <name>',
    about:
      'this user of the registry or gateway, or NAME@HOST of several; the password is typed or comes on stdin'
  },
  { flags: '--platform <os/arch>', about: 'of an image for several platforms, only this one' },
  {
    flags: '--compression <kind>',
    about:
      'how layers are compressed that come without: gzip, zstd, with a level as in zstd:9, or none; default gzip'
  },
  { flags: '--referrers', about: 'signatures and whatever else refers to an image come along' }
]

/**
 * Moves what `plan` says, shows how that goes, and prints what came of it. The gateway is reached where a place needs
 * it: at `--gateway`, on the control socket, or in this process.
 *
 * @param leaving what goes into stores, if it is known beforehand: engines are asked for theirs at once
 */
export async function runMove(
  context: CommandContext,
  options: Options,
  needsGateway: boolean,
  leaving: readonly Place[],
  plan: (stores: OpenStores, signal: AbortSignal) => Promise<{ places: readonly Place[]; target: Target }>
): Promise<void> {
  const url = options['gateway']
  const compression = compressionOf(options)
  const platform = usage(() =>
    options['platform'] === undefined ? undefined : parsePlatform(String(options['platform']))
  )
  const work = async (address: Address | undefined, call: Call, operations: Operations | undefined) => {
    await using stack = new AsyncDisposableStack()
    const { signal } = call
    const { createLayerMemory } = await import('../move/memory.ts')
    const memory = createLayerMemory(join(context.config.data, 'layers'))
    const key = compressionKey(compression.compression ?? compression.standardCompression)
    const exports = await openExports(context.config, inEngines(leaving), { platform, memory, key, signal })
    stack.defer(() => exports.forEach((each) => each.close()))
    const bars = createBars(process.stderr, options.json === true)
    stack.defer(() => bars.clear())
    const { moveImages } = await mover()
    const stores = await openStores(context.config, address, bars.reporter)
    stack.defer(() => stores.close())
    const { places, target } = await plan(stores, signal)
    if (options['referrers'] === true && target.kind !== 'stores')
      throw new ConfigError(
        `--referrers goes to what keeps them, the gateway, a registry or an OCI layout; an ${target.kind} doesn't`
      )
    await logIn(stores, places, options)
    const manner: Manner = {
      stores,
      memory,
      exports,
      ...compression,
      platform,
      referrers: options['referrers'] === true,
      near: target.kind === 'engine' ? await nearHost(address, operations, call) : undefined,
      report: bars.reporter,
      signal
    }
    const report = await moveImages(places, target, manner).catch((error: unknown) => {
      // what broke off because of that says less
      signal.throwIfAborted()
      throw error
    })
    bars.clear()
    const roots =
      operations && target.kind === 'stores' ? await rootsOf(stores.pushedTo, operations, call) : {}
    show(context, options, report, roots)
  }
  if (url === undefined && !needsGateway) await context.alone((call) => work(undefined, call, undefined))
  else await atGateway(context, url, work)
}

/** The names of images that are in engines, by the engines' kinds. */
function inEngines(places: readonly Place[]): Map<EnginePlace['kind'], string[]> {
  const names = new Map<EnginePlace['kind'], string[]>()
  for (const place of places)
    if (place.kind === 'docker' || place.kind === 'podman')
      names.set(place.kind, [...(names.get(place.kind) ?? []), place.image])
  return names
}

/** Who `--user` says that somebody is. */
async function logIn(stores: OpenStores, places: readonly Place[], options: Options): Promise<void> {
  if (options['user'] === undefined) return
  const sources = places.flatMap((place) => (place.kind === 'registry' ? [place.url.host] : []))
  const { user, host } = userAt(String(options['user']), [...new Set([...sources, ...stores.hosts])])
  if (places.some((place) => place.kind === 'archive' && place.path === '-'))
    throw new ConfigError(`stdin brings the archive, and no password: docker login ${host} goes before it`)
  stores.login({ user, host, password: await readSecret('Password') })
}

/** Runs `work` with a connection to the gateway. */
export async function withGateway(
  context: CommandContext,
  work: (gateway: Server, operations: Operations, call: Call) => Promise<void>
): Promise<void> {
  await atGateway(context, undefined, async (address, call, operations) => {
    const { openServer } = await import('../upstream/server.ts')
    const { pullTimeout, proxies } = context.config
    const gateway = openServer({ ...address, timeoutMs: patience(pullTimeout), proxies })
    try {
      if (operations !== undefined) await work(gateway, operations, call)
    } finally {
      gateway.wire.close()
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

/** Where an engine of this machine reaches the gateway, if it does: it can pull from there by itself. */
async function nearHost(
  address: Address | undefined,
  operations: Operations | undefined,
  call: Call
): Promise<string | undefined> {
  if (operations !== undefined) {
    const said = await operations.address({}, call).catch(() => undefined) // one of an earlier version doesn't say
    return said?.host
  }
  return /^http:\/\/(127\.[\d.]+:\d+)$/.exec(address?.url ?? '')?.[1]
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

/** The domain that `--to` names. @throws {ConfigError} */
export const domainOf = (text: Options[string]): string | undefined =>
  text === undefined ? undefined : usage(() => parseDomain(String(text)))

/** Where an image of the gateway goes. @throws {ConfigError} for a root, which is what it is */
export function inGateway(
  stores: OpenStores,
  image: { repository: string; tag: string | undefined }
): Destination {
  const { repository, tag } = image
  if (parseRepository(repository).place.kind !== 'domain')
    throw new ConfigError(`${repository} is in a root, which cannot change: give it a name below a domain`)
  stores.pushedTo.add(repository)
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
    const found = await operations.root({ domain }, call).catch(() => undefined) // the images are moved all the same
    if (found !== undefined) roots[domain] = found.root
  }
  return roots
}

function show(
  { print, screen }: CommandContext,
  options: Options,
  report: MoveReport,
  roots: Readonly<Record<string, string>>
): void {
  if (options.json === true) {
    print(formatJson({ version: 1, ...report, roots }))
    return
  }
  // stdout may be the archive
  if (report.images.some(({ to }) => to === 'archive:-')) return
  const rows = report.images.map(({ image, to, digest }) => [image, to, digest])
  for (const line of formatTable(['IMAGE', 'TO', 'DIGEST'], rows, [], screen)) print(line)
  print(movedText(report.moved))
  for (const [domain, root] of Object.entries(roots))
    print(`${domain === DEFAULT_DOMAIN ? 'the default domain' : domain} is now at root ${root}`)
}
