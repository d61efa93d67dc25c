/** The registry's rooms put together over a temporary folder and a real HTTP server, for tests of what clients see. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDiscovery, createIpnsBook, createIpnsResolver } from '../../src/discovery/index.ts'
import { type AdmissionOptions, createAdmission } from '../../src/http/admission.ts'
import { type AuthOptions, createApp } from '../../src/http/app.ts'
import { listen, peerServer } from '../../src/http/server.ts'
import { createTrustlessApp } from '../../src/http/trustless.ts'
import { createIpfs, createLimiter, createOffer, type Ipfs, type SeedPolicy } from '../../src/ipfs/index.ts'
import { QUIET } from '../../src/ipfs/libp2p.ts'
import { createLog, type Log } from '../../src/log.ts'
import {
  type CollectSettings,
  createRegistry,
  type DomainRules,
  type Registry,
  type RegistrySettings
} from '../../src/registry/index.ts'
import type { Signatures } from '../../src/signatures/index.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import type { Identity } from '../../src/tls/index.ts'
import type { Upstreams } from '../../src/upstream/index.ts'
import { type DnsServer, startDnsServer } from './dns-server.ts'

/** What a test can set; times in milliseconds. */
export interface RegistryServerOptions {
  /** Domains that clients use as the gateway's host name. */
  hosts?: readonly string[]
  idleMs?: number
  uploadExpiryMs?: number
  pullTimeoutMs?: number
  /** The name server; one of the server's own unless given. */
  dns?: DnsServer
  /** Bytes of the file system to leave free. */
  reserve?: number
  /** What the file system is said to have left, in bytes. */
  free?: () => number
  limits?: RegistrySettings['limits']
  /** How much clients may have; anything unless given. */
  admission?: Partial<AdmissionOptions>
  maxConnectionsPerAddress?: number
  /** Which domains may be pushed to, and which looked up; all unless given. */
  pushRules?: DomainRules
  resolveRules?: DomainRules
  /** What is kept, and for how long. */
  collect?: Partial<CollectSettings>
  /** Other registries that are pulled through. */
  upstreams?: Upstreams
  /** Multiaddrs of peers that are asked for what no name leads to. */
  peers?: readonly string[]
  /** Images of other registries that are kept warm. */
  prefetch?: RegistrySettings['prefetch']
  /** URLs of services that are asked who has what; none unless given. */
  routers?: readonly string[]
  /** What peers get; where it is given, also over HTTP on libp2p streams; everything, but not so, unless given. */
  seed?: SeedPolicy
  /** Name servers that a doctor asks instead. */
  doctorServers?: readonly string[]
  /** Whether names in IPNS are followed, and their records kept for others. */
  ipns?: boolean
  /** Whether what isn't here is fetched for them, and for how long in milliseconds. */
  fetchMs?: number
  /** Who may do what, made for the server's folder; anybody anything unless given. */
  auth?: (folder: string, stack: AsyncDisposableStack) => Promise<AuthOptions>
  /** What must be signed; nothing unless given. */
  signatures?: (registry: Registry) => Promise<Signatures>
  /** Speaks HTTPS with it. */
  identity?: Identity
  /** What is told to the operator; nobody hears it unless given. */
  log?: Log
  /** What a doctor may dial; anything unless given. */
  doctorDial?: 'any' | 'public'
}

/** A registry that listens on 127.0.0.1. */
export interface RegistryServer {
  readonly port: number
  /** `127.0.0.1:<port>` */
  readonly host: string
  readonly folder: string
  readonly registry: Registry
  readonly store: Store
  readonly ipfs: Ipfs
  readonly dns: DnsServer
  /** Multiaddrs for `ipfsnode=`. */
  addresses(): string[]
  /** Publishes the domain's current root, and this server as its provider, in the name server. */
  publish(domain: string, dns?: DnsServer): Promise<string>
  /** Stops and starts again over the same folder; the port changes. */
  restart(options?: RegistryServerOptions): Promise<void>
  /** Stops and removes the folder. */
  stop(): Promise<void>
}

const UNLIMITED: Pick<AdmissionOptions, 'requestRate' | 'uploads' | 'rate'> = {
  requestRate: 0,
  uploads: { total: 1000, perAddress: 1000 },
  rate: { total: undefined, perAddress: undefined }
}

/** Starts {@link RegistryServer}. */
export async function startRegistryServer(given: RegistryServerOptions = {}): Promise<RegistryServer> {
  const folder = await mkdtemp(join(tmpdir(), 'sw-registry-'))
  const dns = given.dns ?? (await startDnsServer())
  let current = await start(folder, dns, given)
  return {
    folder,
    dns,
    get port() {
      return current.port
    },
    get host() {
      return `127.0.0.1:${current.port}`
    },
    get registry() {
      return current.registry
    },
    get store() {
      return current.store
    },
    get ipfs() {
      return current.ipfs
    },
    addresses: () => current.addresses(),
    async publish(domain, where = dns) {
      const root = String(await current.registry.root(domain))
      where.setTxt(`_dnslink.${domain}`, [`dnslink=/ipfs/${root}`])
      where.setTxt(domain, [`ipfsnode=${JSON.stringify(current.addresses())}`])
      return root
    },
    async restart(options = given) {
      await current.stop()
      current = await start(folder, dns, options)
    },
    async stop() {
      await current.stop()
      if (given.dns === undefined) await dns.stop()
      await rm(folder, { recursive: true, force: true })
    }
  }
}

async function start(folder: string, dns: DnsServer, options: RegistryServerOptions) {
  const log = options.log ?? createLog('silent')
  const { idleMs = 10_000, pullTimeoutMs = 10_000 } = options
  const stack = new AsyncDisposableStack()
  const { free } = options
  const store = await openStore({
    folder,
    reserve: options.reserve ?? 0,
    ...(free && { free: async () => free() })
  })
  stack.defer(() => store.close())
  const offer = createOffer({ policy: options.seed ?? 'all', store, log })
  stack.defer(() => offer.stop())
  const ipfs = await createIpfs({
    offer,
    blockstore: store.blocks,
    datastore: store.datastore,
    records: store.records,
    listen: ['/ip4/127.0.0.1/tcp/0'],
    announce: [],
    routing: options.routers === undefined ? 'none' : 'public',
    ...(options.routers && { network: { delegatedRouters: options.routers } }),
    allowDial: 'any',
    log,
    timeouts: { dialMs: 5000, blockMs: 5000, idleMs: 5000, answerMs: 3000 }
  })
  stack.defer(() => ipfs.stop())
  const book = createIpnsBook({ records: store.records, log, now: Date.now })
  const resolver = createIpnsResolver({ ipfs, book, timeoutMs: 3000, log })
  stack.defer(() => resolver.stop())
  const discovery = createDiscovery({
    servers: [dns.address],
    log,
    records: store.records,
    timeoutMs: 3000,
    ...(options.ipns && { resolveIpns: resolver.resolve }),
    ...(options.resolveRules && { permit: options.resolveRules.check })
  })
  stack.defer(() => discovery.stop())
  const registry = createRegistry({
    ...(options.ipns && { names: { book, resolver, folder: join(folder, 'keys'), lifetimeMs: 3_600_000 } }),
    ...(options.upstreams && { upstreams: options.upstreams }),
    offer,
    store,
    ipfs,
    discovery,
    settings: {
      pushBase: 'published',
      peers: options.peers ?? [],
      fetchForPeers: options.fetchMs !== undefined,
      ...(options.limits && { limits: options.limits }),
      ...(options.prefetch && { prefetch: options.prefetch }),
      ...(options.pushRules && { pushRules: options.pushRules }),
      collect: {
        keepRoots: 5,
        graceMs: 3_600_000,
        cacheLimit: undefined,
        intervalMs: undefined,
        retention: [],
        ...options.collect
      },
      treeDeadlineMs: 10_000,
      transferLingerMs: 100,
      uploadExpiryMs: options.uploadExpiryMs ?? 3_600_000,
      publish: {
        publishers: new Map(),
        dnsServers: [dns.address],
        dnsTimeoutMs: 3000,
        execTimeoutMs: 3000,
        afterMs: 1000
      }
    },
    doctor: {
      node: {
        allowDial: options.doctorDial ?? 'any',
        routing: 'none',
        network: QUIET,
        timeouts: { dialMs: 3000, blockMs: 2000, idleMs: 5000 }
      },
      dnsServers: options.doctorServers ?? [dns.address],
      dnsTimeoutMs: 3000,
      nameTimeoutMs: 2000,
      searchMs: 1000,
      pullMs: 10_000,
      reserve: options.reserve ?? 0
    },
    log
  })
  stack.defer(() => registry.stop())
  const stopping = new AbortController()
  if (options.seed !== undefined)
    await ipfs.serveHttp(peerServer(createTrustlessApp({ content: registry.content, log }), { idleMs, log }))
  const auth = await options.auth?.(folder, stack)
  const admission =
    options.admission && createAdmission({ ...UNLIMITED, trustedProxies: [], log, ...options.admission })
  const app = createApp({
    registry,
    auth,
    signatures: await options.signatures?.(registry),
    ...(admission && { admission }),
    terms: { up: createLimiter(undefined), ...(options.fetchMs && { fetchMs: options.fetchMs }) },
    log,
    hosts: options.hosts ?? [],
    pullTimeoutMs,
    stopping: stopping.signal
  })
  const { identity } = options
  const listening = await listen(app, {
    host: '127.0.0.1',
    port: 0,
    idleMs,
    answerMs: pullTimeoutMs,
    log,
    ...(options.maxConnectionsPerAddress && { maxPerAddress: options.maxConnectionsPerAddress }),
    ...(admission && { isProxy: admission.isProxy }),
    ...(identity && { tls: { identity, hstsMs: 3_600_000 } })
  })
  stack.defer(() => listening.stop(100))
  stack.defer(() => stopping.abort(new Error('the test is over')))
  return {
    port: listening.port,
    registry,
    store,
    ipfs,
    addresses: () => ipfs.addresses(),
    stop: () => stack.disposeAsync()
  }
}
