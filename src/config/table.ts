import { type PublisherSetting, type RetentionRule } from './publishing.ts'
import { type Proxies, type UpstreamSetting } from './upstreams.ts'
import { type HostPort } from './values.ts'

/** The levels an operator can choose, least talkative first. */
export const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug', 'trace'] as const

/** One of {@link LOG_LEVELS}. */
export type LogLevel = (typeof LOG_LEVELS)[number]

/** Everything that can be set. Times are in milliseconds, sizes in bytes. */
export interface Config {
  readonly listen: HostPort
  readonly data: string
  readonly dnsServers: readonly string[]
  readonly swarmListen: readonly string[]
  readonly announce: readonly string[]
  readonly seedListen: HostPort | undefined
  readonly peers: readonly string[]
  readonly routing: 'public' | 'none'
  readonly bootstrap: readonly string[]
  readonly delegatedRouters: readonly string[]
  readonly provideInterval: number
  readonly mdns: boolean
  readonly relays: readonly string[]
  readonly relayServer: boolean
  readonly seed: 'published' | 'all' | 'none'
  readonly uploadLimit: number | undefined
  readonly downloadLimit: number | undefined
  readonly maxPeers: number
  readonly maxPeersPerAddress: number
  readonly maxPeerRequests: number
  readonly gatewayFetch: boolean
  readonly allowPrivatePeers: boolean
  readonly allowDial: readonly string[]
  readonly denyDial: readonly string[]
  readonly resolveAllow: readonly string[]
  readonly resolveDeny: readonly string[]
  readonly pushAllow: readonly string[]
  readonly pushDeny: readonly string[]
  readonly trustedProxies: readonly string[]
  readonly maxConnections: number
  readonly maxConnectionsPerAddress: number
  readonly requestRate: number | undefined
  readonly maxUploads: number
  readonly maxUploadsPerAddress: number
  readonly clientRate: number | undefined
  readonly clientsRate: number | undefined
  readonly allowAnonymousPush: boolean
  /** The users file; `undefined` where nobody is asked for. See {@link asksForUsers}. */
  readonly authUsers: string | undefined
  readonly authRules: string | undefined
  readonly authAnonymousPull: boolean
  readonly authScheme: 'bearer' | 'basic'
  readonly authUrl: string | undefined
  readonly authService: string
  readonly authTokenLifetime: number
  readonly authRefreshLifetime: number
  readonly authKeyRotation: number
  readonly authIssuerTimeout: number
  readonly auditLog: string
  /** A signature policy; `undefined` where nothing need be signed. */
  readonly verifySignature: string | undefined
  readonly hosts: readonly string[]
  readonly tlsCert: string
  readonly tlsKey: string
  readonly tlsAcmeDomains: readonly string[]
  readonly tlsAcmeEmail: string
  readonly tlsAcmeDirectory: string
  readonly tlsAcmeCa: string
  readonly tlsAcmeRetry: number
  readonly tlsPlainListen: HostPort | undefined
  readonly tlsHsts: number
  readonly seedTls: boolean
  readonly pushBase: 'published' | 'empty'
  readonly upstreams: ReadonlyMap<string, UpstreamSetting>
  readonly upstreamAuth: string
  readonly defaultUpstream: string
  readonly upstreamTtl: number
  readonly prefetch: readonly string[]
  readonly prefetchPlatforms: readonly string[]
  readonly prefetchInterval: number
  readonly upstreamTimeout: number
  readonly publishers: ReadonlyMap<string, PublisherSetting>
  readonly publishAfter: number
  readonly publishTimeout: number
  readonly ipnsLifetime: number
  readonly keepRoots: number
  readonly gcGrace: number
  readonly gcInterval: number | undefined
  readonly cacheLimit: number | undefined
  readonly storeLimit: number | undefined
  readonly domainLimits: ReadonlyMap<string, number>
  readonly retention: readonly RetentionRule[]
  readonly diskReserve: number
  readonly uploadExpiry: number
  readonly checkAge: number
  readonly dnsTimeout: number
  readonly dialTimeout: number
  readonly blockTimeout: number
  readonly peerTimeout: number
  readonly idleTimeout: number
  readonly pullTimeout: number
  readonly dockerHost: string
  readonly podmanHost: string
  readonly dockerConfig: string
  readonly trustedCa: string | undefined
  readonly logLevel: LogLevel
  /** As all programs are told: by `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`. */
  readonly proxies: Proxies
}

/** A setting that cannot be used; the message names it, its value, and what is allowed. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/** A row of the settings table. */
interface Row<T> {
  readonly key: keyof Config
  /** What the value looks like, for `--help` and for messages. */
  readonly form: string
  /** The default, as one would write it. */
  readonly standard: string
  readonly about: string
  /** A variable of other programs that says the same; ours goes before it. */
  readonly also?: string
  /** Reads a value; throws an Error that says what is wrong. */
  readonly read: (text: string) => T
}

/** A row of the settings table, whatever it sets. */
export type Setting = Row<unknown>

/** Makes a row, whose default and value are of the setting's type. */
export function row<K extends keyof Config>(
  key: K,
  form: string,
  standard: string,
  about: string,
  read: (text: string) => Config[K],
  also?: string
): Setting {
  return { key, form, standard, about, read, ...(also !== undefined && { also }) }
}
