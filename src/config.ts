import { existsSync, readFileSync } from 'node:fs'
import { isIPv4 } from 'node:net'
import { homedir } from 'node:os'
import { join } from 'node:path'
import envPaths from 'env-paths'
import { parse as parseYaml } from 'yaml'
import {
  acmeDomain,
  atLeastMinute,
  cidr,
  count,
  dnsServer,
  domainGlob,
  domainLimits,
  duration,
  type HostPort,
  hostPort,
  httpUrl,
  limit,
  list,
  multiaddr,
  oneOf,
  optional,
  type Proxies,
  PUBLIC_BOOTSTRAP,
  type PublisherSetting,
  peerAddress,
  plain,
  proxyUrl,
  publishers,
  type RetentionRule,
  rate,
  retentionRule,
  size,
  type UpstreamSetting,
  upstreams,
  wholeNumber,
  yesNo
} from './config-values.ts'
import { LOG_LEVELS, type LogLevel } from './log.ts'

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
  readonly logLevel: LogLevel
  /** As all programs are told: by `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`. */
  readonly proxies: Proxies
}

/** A setting that cannot be used; the message names it, its value, and what is allowed. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

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

/**
 * The settings table: each has a flag (`--dns-servers`), an environment variable (`SEAWAY_DNS_SERVERS`)
 * and a key in the settings file (`dnsServers`). README's table is generated from it.
 */
export const SETTINGS: readonly Setting[] = [
  row(
    'listen',
    'HOST:PORT',
    '127.0.0.1:5000',
    'where the registry listens; port 0 picks a free one',
    hostPort
  ),
  row(
    'data',
    'FOLDER',
    '',
    "where everything is kept; the platform's data folder + /seaway if not set",
    (text) => (text === '' ? join(envPaths('seaway', { suffix: '' }).data) : text)
  ),
  row(
    'dnsServers',
    'HOST[:PORT]|https://…,…',
    '',
    "name servers that are asked for TXT records, by DNS or over HTTPS (https://host/dns-query); the system's if not set",
    list(dnsServer)
  ),
  row(
    'swarmListen',
    'MULTIADDR,…',
    '/ip4/0.0.0.0/tcp/4001,/ip4/0.0.0.0/tcp/4002/ws',
    'where other gateways and IPFS nodes reach this one',
    list(multiaddr)
  ),
  row(
    'announce',
    'MULTIADDR,…',
    '',
    'addresses to publish in ipfsnode= instead of those listened on',
    list(multiaddr)
  ),
  row(
    'peers',
    'MULTIADDR,…',
    '',
    'peers to ask for roots that are asked for by CID, as ipfs/<root>/<image>, and for images of other registries',
    list(multiaddr)
  ),
  row(
    'seedListen',
    'HOST:PORT',
    '',
    'a second HTTP port that serves /ipfs/… and nothing else, so that blocks can be public while the registry is not',
    (text) => (text === '' ? undefined : hostPort(text))
  ),
  row(
    'routing',
    'public|none',
    'none',
    'whether to find and tell peers through the public IPFS network',
    oneOf('public', 'none')
  ),
  row(
    'bootstrap',
    'MULTIADDR,…',
    PUBLIC_BOOTSTRAP.join(','),
    "with routing=public: where the DHT is entered; nothing for no DHT. The public network's if not set",
    list(peerAddress)
  ),
  row(
    'delegatedRouters',
    'URL,…',
    'https://delegated-ipfs.dev',
    'with routing=public: HTTP services that are asked who has what, beside the DHT',
    list(httpUrl)
  ),
  row(
    'provideInterval',
    'TIME',
    '22h',
    'with routing=public: how often the network is told again what is offered here; it forgets after 48h',
    duration
  ),
  row(
    'mdns',
    'yes|no',
    'no',
    'find other gateways and IPFS nodes on the local network, and be found there',
    yesNo
  ),
  row(
    'relays',
    'MULTIADDR,…',
    '',
    'relays through which this gateway can be reached behind a NAT: …/p2p/<peer id>',
    list(peerAddress)
  ),
  row('relayServer', 'yes|no', 'no', 'pass on connections to gateways behind NATs that ask for it', yesNo),
  row(
    'seed',
    'published|all|none',
    '',
    'what peers can have from here, whoever they are: the trees of own domains with what they hold, everything in the store, or nothing. If not set: none where users are asked for and SEAWAY_AUTH_ANONYMOUS_PULL is no, else all',
    // `check` puts in what holds if it isn't set
    (text) => (text === '' ? ('' as 'none') : oneOf('published', 'all', 'none')(text))
  ),
  row(
    'uploadLimit',
    'SIZE',
    '',
    'bytes a second that go to peers, all together; no limit if not set',
    optional(rate)
  ),
  row(
    'downloadLimit',
    'SIZE',
    '',
    'bytes a second that come from peers, all together; no limit if not set',
    optional(rate)
  ),
  row('maxPeers', 'NUMBER', '300', 'connections with peers at a time', count),
  row(
    'maxPeersPerAddress',
    'NUMBER',
    '64',
    'connections that peers at one IP address can have open here',
    count
  ),
  row(
    'maxPeerRequests',
    'NUMBER',
    '128',
    'requests of peers for blocks and CARs that are answered at a time, of one IP address about half as many; more are told to come back',
    count
  ),
  row(
    'gatewayFetch',
    'yes|no',
    'no',
    'let whoever asks for /ipfs/… have it fetched from other peers, instead of out of the store only',
    yesNo
  ),
  row(
    'allowPrivatePeers',
    'yes|no',
    'no',
    'dial private, loopback and link-local addresses even when listening beyond loopback',
    yesNo
  ),
  row(
    'allowDial',
    'CIDR,…',
    '',
    "addresses that may be dialled though they aren't public, when listening beyond loopback: 10.1.0.0/16, fd00:1::/32",
    list(cidr)
  ),
  row(
    'denyDial',
    'CIDR,…',
    '',
    'addresses that are never dialled at the word of a record, a peer or another registry',
    list(cidr)
  ),
  row(
    'resolveAllow',
    'GLOB,…',
    '',
    'domains that may be looked up in DNS: example.com, *.example.com; all if not set',
    list(domainGlob)
  ),
  row('resolveDeny', 'GLOB,…', '', 'domains that may not be, whatever is allowed', list(domainGlob)),
  row(
    'pushAllow',
    'GLOB,…',
    '',
    "domains that may be pushed to ('local' for names without one); all if not set",
    list(domainGlob)
  ),
  row('pushDeny', 'GLOB,…', '', 'domains that may not be, whatever is allowed', list(domainGlob)),
  row(
    'trustedProxies',
    'CIDR,…',
    '',
    'reverse proxies whose X-Forwarded-For, -Proto and -Host, or Forwarded, are believed; from anybody else they are ignored',
    list(cidr)
  ),
  row('maxConnections', 'NUMBER', '1024', 'connections of clients at a time', count),
  row(
    'maxConnectionsPerAddress',
    'NUMBER',
    '256',
    'connections that one client address (of IPv6: one /64) can have open; trusted proxies are not held to it',
    count
  ),
  row(
    'requestRate',
    'NUMBER',
    '',
    "requests a second that one client address may make for longer than ten seconds; 0 for any number. 100 if not set and listening beyond loopback; peers' requests for blocks have SEAWAY_MAX_PEER_REQUESTS instead",
    limit
  ),
  row('maxUploads', 'NUMBER', '128', 'request bodies that are taken at a time', count),
  row(
    'maxUploadsPerAddress',
    'NUMBER',
    '64',
    'request bodies that are taken at a time of one client address',
    count
  ),
  row(
    'clientRate',
    'SIZE',
    '',
    'bytes a second of layers that one client address gets, and likewise sends; no limit if not set',
    optional(rate)
  ),
  row(
    'clientsRate',
    'SIZE',
    '',
    'bytes a second of layers that all clients get together, and likewise send; no limit if not set',
    optional(rate)
  ),
  row('allowAnonymousPush', 'yes|no', 'no', 'let anyone push, even when listening beyond loopback', yesNo),
  row(
    'authUsers',
    'FILE',
    '',
    "users and their passwords (htpasswd with bcrypt; see 'seaway login-user'); <data>/auth/users where that is there. Without it and SEAWAY_AUTH_RULES nobody is asked who they are",
    optional(plain)
  ),
  row(
    'authRules',
    'FILE',
    '',
    'who may do what where, as YAML; if not set, every user may do everything',
    optional(plain)
  ),
  row(
    'authAnonymousPull',
    'yes|no',
    'no',
    'where users are asked for: let anyone pull everything without logging in',
    yesNo
  ),
  row(
    'authScheme',
    'bearer|basic',
    'bearer',
    'how clients are asked to log in: by tokens, or by a password with each request, with which clients cannot pull without one. Both are taken',
    oneOf('bearer', 'basic')
  ),
  row(
    'authUrl',
    'URL',
    '',
    'where clients reach the token endpoint, as https://registry.example.com; where they came if not set',
    optional((text) => httpUrl(text).replace(/\/+$/, ''))
  ),
  row(
    'authService',
    'NAME',
    'seaway',
    'what tokens of this gateway are called for: their audience',
    (text) => {
      if (!/^[\w.:-]{1,100}$/.test(text)) throw new Error('letters, digits and . : _ - are needed')
      return text
    }
  ),
  row(
    'authTokenLifetime',
    'TIME',
    '15m',
    'how long a token that a client gets for its requests holds',
    atLeastMinute
  ),
  row(
    'authRefreshLifetime',
    'TIME',
    '90d',
    'how long a client that keeps no password stays logged in',
    atLeastMinute
  ),
  row('authKeyRotation', 'TIME', '30d', 'how often a new key begins to sign tokens', atLeastMinute),
  row('authIssuerTimeout', 'TIME', '5s', 'deadline of a request for the keys of an issuer', duration),
  row(
    'auditLog',
    'FILE|stderr|none',
    'none',
    'where it is written who pushed, deleted, published, logged in or was refused: one JSON object a line',
    plain
  ),
  row('hosts', 'DOMAIN,…', '', 'domains that clients use as the host name of this gateway', list(plain)),
  row(
    'tlsCert',
    'FILE',
    '',
    'certificate in PEM form, followed by those between it and its authority: the registry speaks HTTPS with it. Read again when it changes',
    plain
  ),
  row('tlsKey', 'FILE', '', 'private key of SEAWAY_TLS_CERT in PEM form', plain),
  row(
    'tlsAcmeDomains',
    'DOMAIN,…',
    '',
    'names of this gateway, for which a certificate is had from an authority by ACME and renewed; setting it agrees to the terms of the authority',
    list(acmeDomain)
  ),
  row('tlsAcmeEmail', 'ADDRESS', '', 'where the authority may write to', plain),
  row(
    'tlsAcmeDirectory',
    'URL',
    'https://acme-v02.api.letsencrypt.org/directory',
    "the authority's ACME directory",
    httpUrl
  ),
  row(
    'tlsAcmeCa',
    'FILE',
    '',
    "certificates to trust for the ACME directory, in PEM form; the system's if not set",
    plain
  ),
  row(
    'tlsAcmeRetry',
    'TIME',
    '1m',
    'how long after a failure a certificate is asked for again; twice as long after each further one, up to 6h',
    duration
  ),
  row(
    'tlsPlainListen',
    'HOST:PORT',
    '',
    'with TLS: a port without it that sends clients to https:// and answers the authority (ACME HTTP-01, which needs port 80)',
    (text) => (text === '' ? undefined : hostPort(text))
  ),
  row(
    'tlsHsts',
    'TIME',
    '365d',
    'with TLS: how long clients that know this gateway by a domain are told to use https:// only; 0s does not tell',
    duration
  ),
  row('seedTls', 'yes|no', 'no', 'whether SEAWAY_SEED_LISTEN speaks HTTPS, with the same certificate', yesNo),
  row(
    'pushBase',
    'published|empty',
    'published',
    "what a domain's first push here adds to: the root that the domain publishes, or nothing",
    oneOf('published', 'empty')
  ),
  row(
    'upstreams',
    'DOMAIN=URL… OPTION=VALUE…|off,…',
    '',
    'other registries that are pulled through, beside Docker Hub and the other well-known ones, and what is different of those (see "Other registries")',
    upstreams
  ),
  row(
    'upstreamAuth',
    'FILE',
    '',
    'a docker config.json with credentials of upstream registries, or the helpers that know them: whoever may pull here then pulls with them; none are used if not set',
    plain
  ),
  row(
    'defaultUpstream',
    'DOMAIN',
    '',
    "where names without a domain are looked for that aren't here, as docker asks a mirror for them: docker.io; nowhere if not set",
    plain
  ),
  row(
    'upstreamTtl',
    'TIME',
    '5m',
    'how long a tag of an upstream registry is served without asking there whether it has changed',
    duration
  ),
  row(
    'upstreamTimeout',
    'TIME',
    '10s',
    'how long an upstream registry may take to connect and answer, and be silent in the middle of an answer',
    duration
  ),
  row(
    'prefetch',
    'IMAGE,…',
    '',
    'images that are brought here, and kept up to date, without being asked for: docker.io/alpine:3',
    list(plain)
  ),
  row(
    'prefetchPlatforms',
    'OS/ARCH,…|all',
    '',
    'for which platforms; that of this machine if not set',
    list(plain)
  ),
  row('prefetchInterval', 'TIME', '1h', 'how often that is done', duration),
  row(
    'publishers',
    'DOMAIN=WAY?OPTION=VALUE&…,…',
    '',
    'domains that are published by themselves after a push, and how: rfc2136, cloudflare, exec, or none with ipns=yes',
    publishers
  ),
  row(
    'publishAfter',
    'TIME',
    '5s',
    'how long a domain must be quiet before its new root is published',
    duration
  ),
  row('publishTimeout', 'TIME', '60s', 'deadline of a command that publishes', duration),
  row(
    'ipnsLifetime',
    'TIME',
    '48h',
    'how long a signed IPNS record holds without this gateway; it signs a new one when half of that has passed',
    duration
  ),
  row(
    'keepRoots',
    'NUMBER',
    '5',
    'how many published roots of a domain are kept with all that they hold, the current one among them; roots that move no tag are not counted',
    wholeNumber
  ),
  row(
    'gcGrace',
    'TIME',
    '1h',
    'how long content that nothing names any more stays after it was pushed or used last',
    duration
  ),
  row(
    'gcInterval',
    'TIME',
    '',
    'how often space is freed, and retention applied, without being asked; never if not set',
    optional(duration)
  ),
  row(
    'cacheLimit',
    'SIZE',
    '',
    'how much of what was pulled from elsewhere is kept: what was used least lately goes first; all if not set',
    optional(size)
  ),
  row(
    'retention',
    'GLOB PART…,…',
    '',
    'which tags stay, by repository: last=NUMBER, newer=TIME, match=GLOB; the rest go at gc --retention and every SEAWAY_GC_INTERVAL. The first rule that is for a repository counts',
    list(retentionRule)
  ),
  row('diskReserve', 'SIZE', '64MB', 'disk space that is never used', size),
  row('uploadExpiry', 'TIME', '24h', 'when an upload on which nothing happens is dropped', duration),
  row(
    'checkAge',
    'TIME',
    '1h',
    'how long content that was read and checked is served without being checked again while its file stays as it is; 0s checks it at every read',
    duration
  ),
  row(
    'storeLimit',
    'SIZE',
    '',
    'bytes of content that the store may hold: a push that does not fit is refused; no limit if not set',
    optional(size)
  ),
  row(
    'domainLimits',
    'DOMAIN=SIZE,…',
    '',
    'bytes of content that a domain may hold, each blob once; * for every domain that is not named',
    domainLimits
  ),
  row('dnsTimeout', 'TIME', '10s', 'deadline of a name lookup, all retries included', duration),
  row('dialTimeout', 'TIME', '10s', 'deadline of a connection to a peer', duration),
  row('blockTimeout', 'TIME', '10s', 'how long a peer may be silent while a block is wanted of it', duration),
  row(
    'peerTimeout',
    'TIME',
    '500ms',
    'how long peers may take to say what they have of an image of another registry, before that is asked',
    duration
  ),
  row('idleTimeout', 'TIME', '60s', 'how long a client may be silent in the middle of a request', duration),
  row(
    'pullTimeout',
    'TIME',
    '60s',
    'deadline for finding what a client asks for, before its first byte',
    duration
  ),
  row(
    'dockerHost',
    'unix:///PATH',
    'unix:///var/run/docker.sock',
    "the Docker engine's socket, for push, pull and copy; DOCKER_HOST is heeded too",
    plain,
    'DOCKER_HOST'
  ),
  row(
    'podmanHost',
    'unix:///PATH',
    `unix://${podmanSocket()}`,
    "podman's socket (podman system service), for push, pull and copy; CONTAINER_HOST is heeded too",
    plain,
    'CONTAINER_HOST'
  ),
  row(
    'dockerConfig',
    'FOLDER',
    '',
    'where config.json with the logins of other registries is, for push, pull and copy; DOCKER_CONFIG is heeded too, else ~/.docker',
    (text) => (text === '' ? join(homedir(), '.docker') : text),
    'DOCKER_CONFIG'
  ),
  row(
    'logLevel',
    LOG_LEVELS.join('|'),
    'warn',
    'what is written to the log (stderr, one JSON object a line)',
    oneOf(...LOG_LEVELS)
  )
]

/** Where podman listens for its user. */
function podmanSocket(): string {
  const uid = process.getuid?.() ?? 0
  return uid === 0 ? '/run/podman/podman.sock' : `/run/user/${uid}/podman/podman.sock`
}

/** The command-line flag of a setting. */
export function flagOf(setting: Setting): string {
  return `--${setting.key.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)}`
}

/** The environment variable of a setting. */
export function variableOf(setting: Setting): string {
  return `SEAWAY_${setting.key.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()}`
}

/** The environment variable that names the settings file. */
export const FILE_VARIABLE = 'SEAWAY_CONFIG'

/**
 * Reads the settings: flags before environment before file before defaults. This is the only reader of
 * the environment.
 *
 * @param flags values by the setting's key
 * @throws {ConfigError}
 */
export function readConfig(options: {
  flags: Partial<Record<string, string>>
  env: NodeJS.ProcessEnv
  file?: string
}): Config {
  const { flags, env } = options
  const file = readFile(options.file ?? env[FILE_VARIABLE])
  const variables = new Set([FILE_VARIABLE, ...SETTINGS.map(variableOf)])
  for (const name of Object.keys(env)) {
    if (name.startsWith('SEAWAY_') && !variables.has(name)) {
      throw new ConfigError(`${name} is not a setting; the settings are ${[...variables].join(', ')}`)
    }
  }
  for (const key of Object.keys(file)) {
    if (!SETTINGS.some((setting) => setting.key === key)) {
      throw new ConfigError(
        `'${key}' in the settings file is not a setting; the keys are ${SETTINGS.map((s) => s.key).join(', ')}`
      )
    }
  }
  const config: Record<string, unknown> = {}
  for (const setting of SETTINGS) {
    const sources: [string, string | undefined][] = [
      [flagOf(setting), flags[setting.key]],
      [variableOf(setting), env[variableOf(setting)]],
      [`${setting.key} in the settings file`, file[setting.key]],
      [setting.also ?? '', setting.also === undefined ? undefined : env[setting.also] || undefined],
      ['the default', setting.standard]
    ]
    const [source, text] = sources.find(([, value]) => value !== undefined) as [string, string]
    try {
      config[setting.key] = setting.read(text)
    } catch (error) {
      throw new ConfigError(`${source} is '${text}', but ${(error as Error).message} (${setting.form})`)
    }
  }
  return check({ ...config, proxies: proxiesIn(env) } as unknown as Config)
}

/** Variables that have no prefix, since all programs read them; in small letters first, as with curl. */
function proxiesIn(env: NodeJS.ProcessEnv): Proxies {
  const valueOf = (name: string) => env[name.toLowerCase()] ?? env[name] ?? ''
  const proxyOf = (name: string) => {
    try {
      return proxyUrl(valueOf(name))
    } catch (error) {
      throw new ConfigError(`${name} cannot be used: ${(error as Error).message}`)
    }
  }
  return { http: proxyOf('HTTP_PROXY'), https: proxyOf('HTTPS_PROXY'), none: valueOf('NO_PROXY') }
}

/** Whether an address to listen on is reachable from this machine alone. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))
}

/** Where the data folder has what is about users: tokens, signing keys, and the users if no other file is named. */
export function authFolderOf({ data }: Pick<Config, 'data'>): string {
  return join(data, 'auth')
}

/** The users file that `seaway login-user` writes. */
export function usersFileOf({ authUsers, data }: Pick<Config, 'authUsers' | 'data'>): string {
  return authUsers ?? join(authFolderOf({ data }), 'users')
}

/** Whether this gateway asks who somebody is, by users or by rules. */
export function asksForUsers({ authUsers, authRules }: Pick<Config, 'authUsers' | 'authRules'>): boolean {
  return authUsers !== undefined || authRules !== undefined
}

/** Puts in what follows from other settings. */
function complete(given: Config): Config {
  const authUsers = given.authUsers ?? [usersFileOf(given)].find(existsSync)
  const open = !asksForUsers({ ...given, authUsers }) || given.authAnonymousPull
  const seed = (given.seed as string) === '' ? (open ? 'all' : 'none') : given.seed
  return { ...given, authUsers, seed }
}

function check(given: Config): Config {
  const config = complete(given)
  const fault = tlsFault(config)
  if (fault !== undefined) throw new ConfigError(fault)
  if (asksForUsers(config) && config.allowAnonymousPush) {
    throw new ConfigError(
      `SEAWAY_ALLOW_ANONYMOUS_PUSH is yes, but users are asked for (${config.authUsers ?? config.authRules}): take one out`
    )
  }
  if (!isLoopback(config.listen.host) && !config.allowAnonymousPush && !asksForUsers(config)) {
    throw new ConfigError(
      `SEAWAY_LISTEN is '${config.listen.host}:${config.listen.port}', which others can reach, and anyone could push there: ` +
        "listen on 127.0.0.1, make a user with 'seaway login-user', or set SEAWAY_ALLOW_ANONYMOUS_PUSH=yes if that is meant"
    )
  }
  const local = config.allowPrivatePeers || config.allowDial.length > 0
  if (config.mdns && !isLoopback(config.listen.host) && !local) {
    throw new ConfigError(
      'SEAWAY_MDNS is yes, but this gateway listens beyond loopback and so dials public addresses only: ' +
        'set SEAWAY_ALLOW_DIAL to the addresses of the local network, or SEAWAY_ALLOW_PRIVATE_PEERS=yes for all private ones'
    )
  }
  return config
}

/** Whether the registry speaks TLS. */
export function hasTls(config: Pick<Config, 'tlsCert' | 'tlsAcmeDomains'>): boolean {
  return config.tlsCert !== '' || config.tlsAcmeDomains.length > 0
}

/** Which of the settings of TLS lacks another, or contradicts it. */
function tlsFault(config: Config): string | undefined {
  const { tlsCert, tlsKey, tlsAcmeDomains } = config
  if (tlsCert !== '' && tlsKey === '')
    return 'SEAWAY_TLS_CERT is set, but not SEAWAY_TLS_KEY: both are needed'
  if (tlsCert === '' && tlsKey !== '')
    return 'SEAWAY_TLS_KEY is set, but not SEAWAY_TLS_CERT: both are needed'
  if (tlsCert !== '' && tlsAcmeDomains.length > 0)
    return 'SEAWAY_TLS_CERT and SEAWAY_TLS_ACME_DOMAINS are both set: the certificate comes from one of them'
  if (hasTls(config)) return undefined
  const needs =
    'is set, but there is no TLS: set SEAWAY_TLS_CERT and SEAWAY_TLS_KEY, or SEAWAY_TLS_ACME_DOMAINS'
  if (config.tlsPlainListen !== undefined) return `SEAWAY_TLS_PLAIN_LISTEN ${needs}`
  if (config.seedTls) return `SEAWAY_SEED_TLS ${needs}`
  return undefined
}

function readFile(path: string | undefined): Record<string, string> {
  if (path === undefined || path === '') return {}
  let parsed: unknown
  try {
    parsed = parseYaml(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new ConfigError(`the settings file ${path} cannot be read: ${(error as Error).message}`)
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new ConfigError(`the settings file ${path} must hold keys and values`)
  }
  return Object.fromEntries(Object.entries(parsed).map(([key, value]) => [key, asText(value)]))
}

function asText(value: unknown): string {
  if (Array.isArray(value)) return value.map(asText).join(',')
  if (typeof value === 'boolean') return value ? 'yes' : 'no'
  if (typeof value === 'object' && value !== null) return JSON.stringify(value)
  return String(value)
}

function row<K extends keyof Config>(
  key: K,
  form: string,
  standard: string,
  about: string,
  read: (text: string) => Config[K],
  also?: string
): Setting {
  return { key, form, standard, about, read, ...(also !== undefined && { also }) }
}
