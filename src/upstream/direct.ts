import type { Proxies } from '../config/upstreams.ts'
import { createPolicy } from '../ipfs/policy.ts'
import type { Digest } from '../oci/digest.ts'
import { isDigest } from '../oci/digest.ts'
import { authoritiesOf } from './authorities.ts'
import { createCredentials } from './credentials.ts'
import { createDispatchers, createSocketDispatchers } from './dispatch.ts'
import { UpstreamError } from './failure.ts'
import { nextQuery } from './link.ts'
import { createMirror } from './mirror.ts'
import { createAsk } from './mirrors.ts'
import { loginNamesOf } from './registry-name.ts'
import { basicHeader, createTokens, scopeOf } from './tokens.ts'
import { createUploads, type Uploads } from './uploads.ts'
import { createUpstream, MANIFEST_TYPES, type Upstream } from './upstream.ts'
import { createWire, type Wire } from './wire.ts'

/** A part of a list, in the registry's order. */
export interface ListPage {
  readonly names: readonly string[]
  /** What to ask for the next part with; not there at the end. */
  readonly next?: string
}

/** A server that somebody names, and how it is asked. */
export interface Server {
  readonly url: URL
  /** Not there for one that is reached over the network. */
  readonly socketPath?: string
  /** How messages call it. */
  readonly name: string
  readonly wire: Wire
}

/** Where somebody is reached, and how. */
export interface ServerOptions {
  /** The host of a Unix socket is only a word. */
  readonly url: string
  readonly socketPath?: string
  /** How messages call it; by its host unless given. */
  readonly name?: string
  /** For an answer to begin, and for its silence, in milliseconds. */
  readonly timeoutMs: number
  readonly proxies: Proxies
  /** A file with certificates of further authorities, PEM. */
  readonly ca?: string | undefined
}

/** A registry that somebody names by its URL, to look at it, or to move images. */
export interface DirectRegistry extends Pick<Upstream, 'manifest' | 'blob' | 'referrers'> {
  readonly server: Server
  readonly uploads: Uploads
  /** All tags of a repository, in byte order. @throws {UpstreamError} */
  allTags(repository: string, signal: AbortSignal): Promise<readonly string[]>
  /** Repositories: all, or those below a name where that is given. @throws {UpstreamError} */
  catalogue(of: string, query: string, signal: AbortSignal): Promise<ListPage>
  /** Tags. @throws {UpstreamError} */
  tags(repository: string, query: string, signal: AbortSignal): Promise<ListPage>
  /** What a tag points at, if the registry says so without sending it. @throws {UpstreamError} */
  digest(repository: string, tag: string, signal: AbortSignal): Promise<Digest | undefined>
  /** Closes connections that wait for the next request. */
  stop(): void
}

/** The largest page of a list that is read, in bytes. */
const MAX_PAGE = 16 * 1024 * 1024

/** A query for the names after one, as the distribution specification has it. */
export function pageQuery(after: string, limit: number): string {
  return new URLSearchParams({ n: String(limit), ...(after !== '' && { last: after }) }).toString()
}

/** Opens a server: an engine, a gateway, a registry. @throws {RegistryError} REQUEST_INVALID for authorities that can't be used */
export function openServer(options: ServerOptions): Server {
  const url = new URL(options.url)
  // whoever types a URL may be told to go anywhere by it: the requests are theirs
  const policy = createPolicy('any')
  const { timeoutMs, proxies, socketPath, name } = options
  const dispatchers =
    socketPath === undefined
      ? createDispatchers({ ca: authoritiesOf(url, options.ca), timeoutMs, policy, proxies })
      : createSocketDispatchers(socketPath, timeoutMs)
  const wire = createWire({
    dispatchers,
    timeoutMs,
    trusted: [url],
    policy,
    trusting: `name the certificate in SEAWAY_TRUSTED_CA, or put it into /etc/docker/certs.d/${url.host}/ca.crt`,
    ...(name !== undefined && { name })
  })
  return { url, name: name ?? url.host, wire, ...(socketPath !== undefined && { socketPath }) }
}

/** What the user of `docker login` shows to a server: the Authorization header; nothing where there is no login for it. */
export async function loginHeader(
  { url, wire }: Server,
  file: string | undefined,
  signal: AbortSignal
): Promise<string | undefined> {
  const found = file === undefined ? undefined : await createCredentials(file).find(loginNamesOf(url), signal)
  if (found === undefined) return undefined
  if ('user' in found) return basicHeader(found)
  // an identity token is for the token service alone, which the server names
  const challenge = await wire.send({ method: 'GET', url: new URL('/v2/', url), headers: {}, signal })
  challenge.body.resume()
  const tokens = createTokens({ wire, home: url, credential: async () => found })
  return tokens.challenged(scopeOf({ repository: '' }), challenge.headers['www-authenticate'], signal)
}

/**
 * Opens a registry.
 *
 * @param options.auth a docker `config.json`; nothing for none
 */
export function openDirect(options: ServerOptions & { readonly auth: string | undefined }): DirectRegistry {
  const server = openServer(options)
  const { url, wire } = server
  const credentials = options.auth === undefined ? undefined : createCredentials(options.auth)
  const names = loginNamesOf(url)
  const credential = async (signal: AbortSignal) => credentials?.find(names, signal)
  const mirror = createMirror({ url, wire, tokens: createTokens({ wire, home: url, credential }) })
  // our own gateway tries again by itself
  const tries = server.socketPath === undefined ? undefined : 1
  const ask = createAsk([mirror], tries)
  const upstream = createUpstream({
    domain: url.host,
    policy: { local: false, published: false, offline: false, ttlMs: 0 },
    mirrors: [mirror],
    wire,
    isPrivate: async () => true,
    refusal: (error) => error,
    ...(tries !== undefined && { tries }),
    probe: { repository: 'seaway/check', reference: 'latest', mayLack: true }
  })

  /** @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-tags */
  const list = (repository: string, path: string, field: string, query: string, signal: AbortSignal) =>
    ask(signal, { patient: true }, async (one): Promise<ListPage> => {
      const reply = await one.ask({ method: 'GET', repository, path: `${path}?${query}`, signal })
      const text = (await wire.read(reply, MAX_PAGE)).toString()
      let names: unknown
      try {
        names = (JSON.parse(text) as Record<string, unknown> | null)?.[field] ?? []
      } catch {
        names = undefined
      }
      if (!Array.isArray(names))
        throw new UpstreamError('wrong', `${url.host} answers with what is no list of ${field}`)
      const next = nextQuery(reply.headers.link, url)?.slice(1)
      return {
        names: names.filter((name): name is string => typeof name === 'string'),
        ...(next !== undefined && { next })
      }
    })

  return {
    server,
    uploads: createUploads(mirror, ask),
    manifest: upstream.manifest,
    blob: upstream.blob,
    referrers: upstream.referrers,
    allTags: async (repository, signal) => [...(await upstream.tags(repository, signal))].sort(),
    catalogue: (of, query, signal) => list(of, '_catalog', 'repositories', query, signal),
    tags: (repository, query, signal) => list(repository, 'tags/list', 'tags', query, signal),
    digest: (repository, tag, signal) =>
      ask(signal, { patient: true }, async (one) => {
        const headers = { accept: MANIFEST_TYPES }
        const reply = await one.ask({
          method: 'HEAD',
          repository,
          path: `manifests/${tag}`,
          headers,
          signal
        })
        reply.body.resume()
        const said = reply.headers['docker-content-digest']
        return typeof said === 'string' && isDigest(said) ? said : undefined
      }),
    stop: () => wire.close()
  }
}
