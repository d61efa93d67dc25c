import type { Proxies, UpstreamSetting } from '../config/upstreams.ts'
import { type AllowDial, createPolicy } from '../ipfs/policy.ts'
import { RegistryError } from '../oci/errors.ts'
import { certificates } from './authorities.ts'
import { BUILT_IN, type KnownRegistry } from './built-in.ts'
import { type Credentials, createCredentials } from './credentials.ts'
import { createDispatchers } from './dispatch.ts'
import { createMirror } from './mirror.ts'
import { createNames, type UpstreamNames } from './names.ts'
import { createPrivacy, type Login } from './privacy.ts'
import { createTokens } from './tokens.ts'
import { createUpstream, type Upstream } from './upstream.ts'
import { createWire, type Wire } from './wire.ts'

export type { MirrorCheck } from './check.ts'
export { asRefusal, type Fault, UpstreamError } from './failure.ts'
export type { UpstreamNames } from './names.ts'
export { createShared } from './shared.ts'
export type { MirrorStatus, ResolvedTag, Upstream, UpstreamManifest } from './upstream.ts'

/** What upstreams are made from; times in milliseconds. */
export interface UpstreamsOptions {
  /** By domain: what is set beside, and instead of, what is built in. */
  readonly settings: ReadonlyMap<string, UpstreamSetting>
  /** A docker `config.json` for all of them; nothing if empty. */
  readonly auth: string
  /** The domain where names are looked for that carry none and aren't here; none unless given. */
  readonly standard?: string
  readonly ttlMs: number
  readonly timeoutMs: number
  /** What servers may be dialled that an upstream sends us to: token services, storage. */
  readonly allowDial: AllowDial
  /** Through which servers others are reached; none unless given. */
  readonly proxies?: Proxies
  /** Known without being set: the well-known registries unless given. */
  readonly builtIn?: readonly KnownRegistry[]
}

/**
 * The registries that are pulled through, by domain. It is a closed list: what a client names is looked up in it, and is
 * never itself where something is dialled.
 */
export interface Upstreams extends UpstreamNames {
  of(domain: string): Upstream | undefined
  all(): readonly Upstream[]
  /** Closes connections that wait for the next request. */
  stop(): void
}

const NO_PROXIES: Proxies = { http: '', https: '', none: '' }

/** What a registry is asked for just to see whether it answers. */
const NOBODYS = { repository: 'seaway/check', reference: 'latest' }

/**
 * Makes them.
 *
 * @throws {RegistryError} REQUEST_INVALID for a domain without a URL, or a file of certificates that can't be read
 */
export function createUpstreams(options: UpstreamsOptions): Upstreams {
  const known = new Map((options.builtIn ?? BUILT_IN).map((each) => [each.domain, each]))
  const names = createNames(options)
  const upstreams = new Map<string, Upstream>()
  const wires: Wire[] = []
  const policy = createPolicy(options.allowDial)
  const common = options.auth === '' ? undefined : createCredentials(options.auth)

  for (const domain of names.domains) {
    const setting: UpstreamSetting = options.settings.get(domain) ?? { off: false, urls: [] }
    const standard = known.get(domain)
    const given = setting.urls.length > 0 ? setting.urls : standard ? [standard.url] : []
    if (given.length === 0)
      throw new RegistryError(
        'REQUEST_INVALID',
        `SEAWAY_UPSTREAMS names ${domain} without a URL: write ${domain}=https://…`
      )
    const urls = given.map((url) => new URL(url))
    const { timeoutMs, proxies = NO_PROXIES } = options
    const ca = setting.ca === undefined ? undefined : certificates(setting.ca)
    const wire = createWire({
      dispatchers: createDispatchers({ ca, timeoutMs, policy, proxies }),
      timeoutMs,
      trusted: urls,
      policy
    })
    wires.push(wire)
    const own = setting.auth === undefined ? common : createCredentials(setting.auth)
    const logins = urls.map((url) => loginAt(url, own, standard))
    const upstream = createUpstream({
      domain,
      wire,
      probe: { ...(standard?.probe ?? NOBODYS), mayLack: true },
      mirrors: urls.map((url, i) => {
        const tokens = createTokens({ wire, home: url, credential: logins[i] as Login })
        return createMirror({ url, wire, tokens })
      }),
      isPrivate: setting.peers === undefined ? createPrivacy(logins) : async () => !setting.peers,
      policy: {
        local: setting.local ?? true,
        // none of the well-known ones publishes a tree, and whoever answers for DNS isn't to put images under their names
        published: setting.published ?? standard === undefined,
        offline: setting.offline ?? false,
        ttlMs: setting.ttl ?? options.ttlMs
      }
    })
    upstreams.set(domain, upstream)
  }

  const { standard = '' } = options
  if (standard !== '' && !upstreams.has(standard))
    throw new RegistryError(
      'REQUEST_INVALID',
      `SEAWAY_DEFAULT_UPSTREAM is '${standard}', but that has no upstream: ${[...upstreams.keys()].join(', ')} have`
    )

  return {
    ...names,
    of: (domain) => upstreams.get(domain),
    all: () => [...upstreams.values()],
    stop() {
      for (const wire of wires) wire.close()
    }
  }
}

/** The credentials for one of an upstream's servers. */
function loginAt(url: URL, credentials: Credentials | undefined, known: KnownRegistry | undefined): Login {
  // what is filed for the domain is for its own server, not for a mirror that somebody else runs
  const own = known !== undefined && new URL(known.url).host === url.host
  const names = [url.host, `https://${url.host}`, ...(own ? known.loginNames : [])]
  return async (signal) => credentials?.find(names, signal)
}
