import type { Proxies } from '../config-values.ts'
import { createPolicy } from '../ipfs/policy.ts'
import type { Digest } from '../oci/digest.ts'
import { isDigest } from '../oci/digest.ts'
import { createCredentials } from './credentials.ts'
import { createDispatchers } from './dispatch.ts'
import { UpstreamError } from './failure.ts'
import { createMirror } from './mirror.ts'
import { createAsk } from './mirrors.ts'
import { createTokens } from './tokens.ts'
import { createUpstream, MANIFEST_TYPES, type Upstream } from './upstream.ts'
import { createWire } from './wire.ts'

/** A part of a list, in the registry's order. */
export interface ListPage {
  readonly names: readonly string[]
  /** What to ask for the next part with; not there at the end. */
  readonly next?: string
}

/** A registry that somebody names by its URL, to look at it. */
export interface DirectRegistry extends Pick<Upstream, 'manifest' | 'blob'> {
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

/**
 * Opens it.
 *
 * @param options.auth a docker `config.json`; nothing for none
 * @param options.timeoutMs for an answer to begin, and for its silence, in milliseconds
 */
export function openDirect(options: {
  url: string
  auth: string | undefined
  timeoutMs: number
  proxies: Proxies
}): DirectRegistry {
  const url = new URL(options.url)
  const credentials = options.auth === undefined ? undefined : createCredentials(options.auth)
  // whoever types a URL may be told to go anywhere by it: the requests are theirs
  const policy = createPolicy('any')
  const { timeoutMs, proxies } = options
  const wire = createWire({
    dispatchers: createDispatchers({ ca: undefined, timeoutMs, policy, proxies }),
    timeoutMs,
    trusted: new Set([url.hostname]),
    policy
  })
  const hub = url.hostname.endsWith('docker.io') ? ['https://index.docker.io/v1/', 'docker.io'] : []
  const names = [url.host, `https://${url.host}`, ...hub]
  const credential = async (signal: AbortSignal) => credentials?.find(names, signal)
  const mirror = createMirror({ url, wire, tokens: createTokens({ wire, home: url, credential }) })
  const ask = createAsk([mirror])
  const upstream = createUpstream({
    domain: url.host,
    policy: { local: false, published: false, offline: false, ttlMs: 0 },
    mirrors: [mirror],
    wire,
    isPrivate: async () => true,
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
      const next = nextQuery(reply.headers.link, url)
      return {
        names: names.filter((name): name is string => typeof name === 'string'),
        ...(next !== undefined && { next })
      }
    })

  return {
    manifest: upstream.manifest,
    blob: upstream.blob,
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

/** The query of a link to the next page; where else it may lead is of no interest. */
function nextQuery(link: string | readonly string[] | undefined, home: URL): string | undefined {
  const target = /<([^>]*)>\s*;[^,]*\brel="?next"?/i.exec(String(link ?? ''))?.[1]
  if (target === undefined || !URL.canParse(target, home.href)) return undefined
  return new URL(target, home).search.slice(1)
}
