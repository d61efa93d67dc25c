import type { Digest } from '../oci/digest.ts'
import { isDigest } from '../oci/digest.ts'
import { type Credential, createCredentials } from './credentials.ts'
import { UpstreamError } from './failure.ts'
import { nextQuery } from './link.ts'
import { createMirror } from './mirror.ts'
import { createAsk } from './mirrors.ts'
import { loginNamesOf } from './registry-name.ts'
import { openServer, type Server, type ServerOptions } from './server.ts'
import { basicHeader, createTokens, scopeOf } from './tokens.ts'
import { createUploads, type Uploads } from './uploads.ts'
import { createUpstream, MANIFEST_TYPES, type Upstream } from './upstream.ts'

/** A part of a list, in the registry's order. */
export interface ListPage {
  readonly names: readonly string[]
  /** What to ask for the next part with; not there at the end. */
  readonly next?: string
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
 * @param options.login who somebody says that they are, in place of what is in the file; asked each time
 */
export function openDirect(
  options: ServerOptions & {
    readonly auth: string | undefined
    readonly login?: () => Credential | undefined
  }
): DirectRegistry {
  const server = openServer(options)
  const { url, wire } = server
  const credentials = options.auth === undefined ? undefined : createCredentials(options.auth)
  const names = loginNamesOf(url)
  const credential = async (signal: AbortSignal) => options.login?.() ?? credentials?.find(names, signal)
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
