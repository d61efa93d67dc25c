import { isIP } from 'node:net'
import type { Context } from 'koa'
import { clip, type Digest, parseDigest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import {
  DEFAULT_DOMAIN,
  looksLikeDomain,
  type Place,
  parseDomain,
  parseReference,
  parseRepository,
  type Reference,
  type RepositoryName
} from '../oci/reference.ts'
import type { ChunkRange, Page, Registry } from '../registry/index.ts'
import { bodyOf } from './early.ts'

/** What a handler gets: one parsed request. */
export interface Exchange {
  readonly ctx: Context
  /** Aborted when the client goes away, when the deadline passes, or at shutdown. */
  readonly signal: AbortSignal
}

/** What clients call things. */
export interface Naming {
  /** Domains that they use as the gateway's host name. */
  readonly hosts: readonly string[]
  readonly names: Registry['names']
}

/** How many items a page of a list has at most, and when the client doesn't say. */
const MAX_PAGE = 10_000
const DEFAULT_PAGE = 1000

/**
 * The repository that a request is about. `?ns=` (sent by containerd to a mirror) and a Host header that
 * the operator has listed say which domain a bare name belongs to; neither is ever dialled as given.
 * An `ns` that was used is given back in OCI-Namespace.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/main/spec.md#registry-proxying
 * @throws {RegistryError} NAME_INVALID
 */
export function repositoryOf(ctx: Context, naming: Naming): RepositoryName {
  return repositoryNamed(ctx, naming, String(ctx['params']?.name ?? ''))
}

/** The repository that a name in a request stands for: the one in its path, or one that its query mentions. */
export function repositoryNamed(ctx: Context, naming: Naming, name: string): RepositoryName {
  const { hosts, names } = naming
  const canonical = (found: RepositoryName) => names?.canonical(found) ?? found
  const ns = queryOf(ctx, 'ns') ?? ''
  const registry = ns.replace(/:\d+$/, '')
  const known = names?.domainOf(ns) ?? names?.domainOf(registry)
  if (known !== undefined || (looksLikeDomain(registry) && !isOwnHost(registry))) {
    const domain = known ?? parseDomain(registry)
    ctx.set('OCI-Namespace', ns)
    // The whole name is below the domain then, whatever its first component looks like.
    return canonical(parseRepository(name.startsWith(`${domain}/`) ? name : `${domain}/${name}`))
  }
  if (ns !== '' && !isOwnHost(registry)) {
    throw new RegistryError(
      'NAME_UNKNOWN',
      `'${clip(ns)}' is not a domain, so nothing of it is here; ask that registry itself`
    )
  }
  const host = ctx.hostname.toLowerCase().replace(/\.$/, '')
  return canonical(hosts.includes(host) ? parseRepository(name, parseDomain(host)) : parseRepository(name))
}

/** Whether a mirror that is asked for the images of this host is asked for its own: no domain is called so. */
function isOwnHost(host: string): boolean {
  return host === 'localhost' || isIP(host.replace(/^\[|\]$/g, '')) !== 0
}

/**
 * Whose repositories a catalogue lists: those of the place in its path (`/v2/example.com/_catalog`,
 * `/v2/ipfs/<CID>/_catalog`), of the domain that `?ns=` or the Host header names, or all local ones
 * (`undefined`). `prefix` is what the client writes before their names.
 *
 * @throws {RegistryError} NAME_INVALID
 */
export function cataloguePlace(ctx: Context, naming: Naming): { place: Place | undefined; prefix: string } {
  // Any repository of the place will do to have its name read.
  const some = 'any'
  const path = ctx['params']?.name
  if (path !== undefined) {
    const { place, repository } = parseRepository(`${String(path)}/${some}`)
    if (repository === some) return { place: oneName(place, naming), prefix: `${String(path)}/` }
    throw new RegistryError(
      'NAME_INVALID',
      `'${clip(String(path))}' is not a domain and not ipfs/<CID>, so it has no catalogue`
    )
  }
  const { place } = repositoryNamed(ctx, naming, some)
  const all = place.kind === 'domain' && place.domain === DEFAULT_DOMAIN
  return { place: all ? undefined : place, prefix: '' }
}

/** A domain that has several names by its one. */
function oneName(place: Place, { names }: Naming): Place {
  if (place.kind !== 'domain') return place
  return { kind: 'domain', domain: names?.domainOf(place.domain) ?? place.domain }
}

/** The manifest reference of a request. @throws {RegistryError} with `code` when it is neither tag nor digest */
export function referenceOf(ctx: Context, status: 400 | 404): Reference {
  const text = String(ctx['params']?.reference ?? '')
  const reference = parseReference(text)
  if (reference !== undefined) return reference
  if (text.includes(':')) parseDigest(text)
  if (status === 404)
    throw new RegistryError(
      'MANIFEST_UNKNOWN',
      `'${text.slice(0, 150)}' is not a tag, so there is no such manifest`
    )
  throw new RegistryError(
    'TAG_INVALID',
    `'${text.slice(0, 150)}' is not a tag: at most 128 letters, digits, '_', '.' and '-', not beginning with '.' or '-'`
  )
}

/** The digest in a request's path. @throws {RegistryError} DIGEST_INVALID */
export function digestOfPath(ctx: Context): Digest {
  return parseDigest(String(ctx['params']?.digest ?? ''))
}

/** One query parameter; the first if it is repeated. */
export function queryOf(ctx: Context, name: string): string | undefined {
  const value = ctx.query[name]
  return Array.isArray(value) ? value[0] : value
}

/** The digest in the query. @throws {RegistryError} DIGEST_INVALID */
export function digestOfQuery(ctx: Context, name = 'digest'): Digest | undefined {
  const text = queryOf(ctx, name)
  return text === undefined ? undefined : parseDigest(text)
}

/** The page of a list: `n` items after `last`. @throws {RegistryError} PAGINATION_NUMBER_INVALID */
export function pageOf(ctx: Context): Page {
  const n = queryOf(ctx, 'n')
  if (n !== undefined && !/^\d+$/.test(n)) {
    throw new RegistryError(
      'PAGINATION_NUMBER_INVALID',
      `n is '${n.slice(0, 20)}', but must be a number; at most ${MAX_PAGE} are given at once`
    )
  }
  return {
    after: queryOf(ctx, 'last') ?? '',
    limit: Math.min(n === undefined ? DEFAULT_PAGE : Number(n), MAX_PAGE)
  }
}

/** Sets the Link header to the next page. @see https://www.rfc-editor.org/rfc/rfc8288 */
export function linkNext(ctx: Context, page: Page, last: string | undefined): void {
  if (last === undefined) return
  const query = new URLSearchParams(ctx.querystring)
  query.set('n', String(page.limit))
  query.set('last', last)
  ctx.set('Link', `<${ctx.path}?${query}>; rel="next"`)
}

/** The Content-Range of an upload's chunk, `<start>-<end>`. @throws {RegistryError} RANGE_INVALID */
export function chunkRangeOf(ctx: Context): ChunkRange | undefined {
  const header = ctx.get('Content-Range')
  if (header === '') return undefined
  const match = /^(?:bytes[ =])?(\d{1,15})-(\d{1,15})(?:\/(?:\*|\d+))?$/.exec(header.trim())
  const start = Number(match?.[1])
  const end = Number(match?.[2])
  // An empty chunk cannot be written as an inclusive range; clients that send one mean the same as no header.
  if (match !== null && end < start && ctx.get('Content-Length') === '0') return undefined
  const length = ctx.get('Content-Length')
  if (match === null || end < start || (length !== '' && Number(length) !== end - start + 1)) {
    throw new RegistryError(
      'RANGE_INVALID',
      `the Content-Range '${header.slice(0, 60)}' does not fit the chunk: write <first byte>-<last byte>`
    )
  }
  return { start, end }
}

/** How many bytes of bodies that are taken as a whole may be in memory: as many as it takes manifests of common size. */
const MAX_BODIES = 64 * 1024 * 1024
let inBodies = 0

/**
 * The whole body, if it is no longer than `limit` bytes. It counts among {@link MAX_BODIES} until the answer is out.
 *
 * @throws {RegistryError} REQUEST_TOO_LARGE; UNAVAILABLE when too many of them come at once
 */
export async function readBody(ctx: Context, limit: number): Promise<Uint8Array> {
  const tooLarge = () => new RegistryError('REQUEST_TOO_LARGE', `the body is larger than ${limit} bytes`)
  if (Number(ctx.get('Content-Length') || 0) > limit) throw tooLarge()
  const chunks: Uint8Array[] = []
  let size = 0
  ctx.res.once('close', () => {
    for (const chunk of chunks) inBodies -= chunk.length
  })
  for await (const chunk of bodyOf(ctx)) {
    size += chunk.length
    if (size > limit) throw tooLarge()
    if (inBodies + chunk.length > MAX_BODIES) {
      throw new RegistryError('UNAVAILABLE', 'too many manifests are being sent at once; try again', {
        headers: { 'Retry-After': '1' }
      })
    }
    if (!ctx.res.closed) inBodies += chunk.length
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
