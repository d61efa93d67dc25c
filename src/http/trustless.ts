import Router from '@koa/router'
import Koa, { type Context } from 'koa'
import { CID } from 'multiformats/cid'
import { networkOf } from '../ipfs/addresses.ts'
import { type Limiter, metered, NO_LIMITS, type Seats } from '../ipfs/limits.ts'
import { MAPPINGS_PATH } from '../ipfs/mappings.ts'
import type { Log } from '../log.ts'
import { RegistryError } from '../oci/errors.ts'
import type { Content } from '../registry/index.ts'
import { attach } from './attachment.ts'
import { introduce } from './client.ts'
import { errorMiddleware } from './errors.ts'
import { nosniff, refusePathless } from './headers.ts'
import { createLifetimes } from './lifetime.ts'
import { mappings } from './mappings.ts'
import { IPNS_RECORD, sendRecord } from './names.ts'
import { createReader, PeerGone, type Reader } from './reader.ts'
import { queryOf } from './request.ts'
import { type Route, route } from './routes.ts'
import { formatOf } from './trustless-format.ts'

/** Blocks of content are named by what they are: they never change. */
const IMMUTABLE = 'public, max-age=29030400, immutable'

const RAW = 'application/vnd.ipld.raw'
const CAR = 'application/vnd.ipld.car'

/** On what terms peers are served. */
export interface PeerTerms {
  /** Bytes a second, all together. */
  readonly up: Limiter
  /** How many at a time; any number unless given. */
  readonly seats?: Seats
  /** How long what isn't here may be looked for elsewhere, in milliseconds; not at all unless given. */
  readonly fetchMs?: number
  /** How long one may take nothing of an answer, in milliseconds; see {@link createReader}. */
  readonly idleMs?: number
}

/** How long one may take nothing where the terms don't say it, in milliseconds. */
const IDLE_MS = 60_000

const FREE: PeerTerms = { up: NO_LIMITS.up }

/**
 * The trustless gateway: blocks and CARs of what the store has, for whoever checks them. It answers
 * nothing that would have to be trusted, and fetches nothing.
 *
 * @see https://specs.ipfs.tech/http-gateways/trustless-gateway/
 */
export function trustlessRoutes(content: Content, terms: PeerTerms = FREE): readonly Route[] {
  const handle: Route['handle'] = async ({ ctx, signal }) => {
    takeSeat(ctx, terms.seats)
    const cached = terms.fetchMs === undefined || ctx.get('Cache-Control').includes('only-if-cached')
    const fetch = cached ? undefined : AbortSignal.any([signal, AbortSignal.timeout(terms.fetchMs)])
    const reader = createReader(ctx.res, terms.idleMs ?? IDLE_MS)
    await serve(ctx, content, { up: terms.up, signal, fetch, reader })
  }
  return [
    route(
      'GET',
      '/ipfs/:cid',
      'a block (`format=raw`) or a CAR (`format=car`, `dag-scope`, `entity-bytes`) from the store, for peers',
      false,
      'open',
      handle
    ),
    route('GET', '/ipfs/:cid/*path', 'the same below a path; CARs prove the path', false, 'open', handle),
    route(
      'GET',
      '/ipns/:name',
      'a signed record (`format=ipns-record`), where one is known',
      false,
      'open',
      (exchange) => ipns(exchange, content)
    ),
    route(
      'GET',
      MAPPINGS_PATH,
      'which of the blobs `digests=…,…` are offered to peers, with the CIDs of their files (nothing proves them but the content)',
      false,
      'open',
      async ({ ctx }) => {
        takeSeat(ctx, terms.seats)
        await mappings(ctx, content)
      }
    )
  ]
}

/** An application that serves nothing but the trustless gateway: what a seed port and libp2p streams get. */
export function createTrustlessApp(options: {
  content: Content
  log: Log
  terms?: PeerTerms
  /** Who asks; whoever is connected unless given. */
  clients?: Parameters<typeof introduce>[0]
  /** Aborted at shutdown: waits end then. */
  stopping?: AbortSignal
}): Koa {
  const app = new Koa()
  const router = new Router({ sensitive: true })
  const lifetime = createLifetimes(options.stopping ?? new AbortController().signal)
  for (const { path, handle } of trustlessRoutes(options.content, options.terms)) {
    router.register(path, ['GET', 'HEAD'], (ctx) => handle({ ctx, signal: lifetime(ctx.res, undefined) }))
  }
  app.use(nosniff)
  app.use(errorMiddleware(options.log))
  app.use(refusePathless)
  if (options.clients !== undefined) app.use(introduce(options.clients))
  app.use(router.routes())
  app.on('error', (error: Error) => options.log.debug({ cause: error.message }, 'a peer went away'))
  return app
}

/** One who finds no seat, or has its share of them, is told when to come back. @see https://www.rfc-editor.org/rfc/rfc9110#field.retry-after */
function takeSeat(ctx: Context, seats: Seats | undefined): void {
  if (seats === undefined) return
  const leave = seats.enter(networkOf(ctx.ip))
  if (leave === undefined) {
    throw new RegistryError(
      'UNAVAILABLE',
      'this gateway serves as many requests as it may, or as one address may have; come back soon',
      {
        headers: { 'Retry-After': String(seats.retryAfter) }
      }
    )
  }
  ctx.res.once('close', leave)
}

/** No records are known here yet, so the answer is always that. */
async function ipns({ ctx }: { ctx: Context }, content: Content): Promise<void> {
  const name = String(ctx['params']?.name ?? '')
  const record = queryOf(ctx, 'format') === 'ipns-record' || ctx.get('Accept').includes(IPNS_RECORD)
  if (!record) {
    throw new RegistryError(
      'REQUEST_INVALID',
      'of a name only its record is served here: ask with format=ipns-record'
    )
  }
  sendRecord(ctx, name, await content.record?.(name))
}

/** How a request is served: its end, how fast, until when what isn't here may be fetched for it, and to whom. */
interface Service {
  readonly up: Limiter
  readonly signal: AbortSignal
  readonly fetch: AbortSignal | undefined
  readonly reader: Reader
}

async function serve(ctx: Context, content: Content, { up, signal, fetch, reader }: Service): Promise<void> {
  const root = parseCid(String(ctx['params']?.cid ?? ''))
  const path = String(ctx['params']?.path ?? '')
    .split('/')
    .filter((part) => part !== '')
  const { kind: format, dups, negotiated } = formatOf(ctx)
  const cids = await content.path(root, path, fetch).catch((error: unknown) => {
    const onlyCached = ctx.get('Cache-Control').includes('only-if-cached')
    if (onlyCached && error instanceof RegistryError && error.status === 404) {
      throw new RegistryError('BLOB_UNKNOWN', error.message, { status: 412 })
    }
    throw error
  })
  const target = cids.at(-1) as CID
  const bytes = entityBytesOf(ctx)
  const scope = bytes === undefined ? scopeOf(ctx) : 'entity'
  ctx.set('Cache-Control', IMMUTABLE)
  ctx.set('X-Ipfs-Path', ctx.path)
  ctx.set('X-Ipfs-Roots', cids.join(','))
  ctx.vary('Accept')
  const variant =
    format === 'raw' ? 'raw' : `car.${scope}.${bytes?.from ?? ''}.${bytes?.to ?? ''}.${dups ? 'y' : 'n'}`
  ctx.set('ETag', format === 'raw' ? `"${target}.raw"` : `W/"${root}.${target}.${variant}"`)
  attach(ctx, `${target}.${format === 'raw' ? 'bin' : 'car'}`)
  // a cache that doesn't know `Vary` must not give one format for the other
  if (negotiated) ctx.set('Content-Location', withFormat(ctx.url, format))
  if (ctx.get('If-None-Match') !== '' && ctx.get('If-None-Match').includes(ctx.response.get('ETag'))) {
    ctx.status = 304
    return
  }
  if (format === 'raw') {
    const block = await content.block(target, fetch)
    if (ctx.method !== 'HEAD') await up.take(block.length, signal)
    ctx.status = 200
    ctx.set('Content-Type', RAW)
    ctx.length = block.length
    if (ctx.method !== 'HEAD') await send(ctx, reader, [block])
    return
  }
  ctx.status = 200
  // a part of a CAR is asked for by entity-bytes
  ctx.set('Accept-Ranges', 'none')
  ctx.set('Content-Type', `${CAR}; version=1; order=dfs; dups=${dups ? 'y' : 'n'}`)
  const request = { path: cids, scope, dups, ...(bytes && { bytes }) }
  // with its length, a CAR needs no framing of its chunks, and its reader knows where the next block will be
  const size = await content.carSize(request)
  if (size !== undefined) ctx.length = size
  if (ctx.method !== 'HEAD') await send(ctx, reader, metered(content.car(request, fetch), up, signal))
}

/**
 * Writes chunk by chunk, each when the one before has left for the kernel: the writer of the CAR uses its
 * memory again then, and a slow peer holds no more than that. A CAR that breaks off must not look like one
 * that ends, so its connection is cut.
 */
async function send(
  ctx: Context,
  reader: Reader,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>
): Promise<void> {
  ctx.respond = false
  try {
    for await (const chunk of chunks) await reader.write(chunk)
    ctx.res.end()
  } catch (error) {
    ctx.res.destroy()
    if (!(error instanceof PeerGone)) throw error
  }
}

function parseCid(text: string): CID {
  try {
    return CID.parse(text)
  } catch (error) {
    throw new RegistryError('REQUEST_INVALID', `'${text.slice(0, 80)}' is not a CID`, { cause: error })
  }
}

/** The URL that names the format which was negotiated. */
function withFormat(url: string, format: string): string {
  return `${url}${url.includes('?') ? '&' : '?'}format=${format}`
}

function scopeOf(ctx: Context): 'block' | 'entity' | 'all' {
  const scope = queryOf(ctx, 'dag-scope') ?? 'all'
  if (scope === 'block' || scope === 'entity' || scope === 'all') return scope
  throw new RegistryError(
    'REQUEST_INVALID',
    `dag-scope is '${scope.slice(0, 20)}', but must be block, entity or all`
  )
}

function entityBytesOf(ctx: Context): { from: number; to: number | undefined } | undefined {
  const text = queryOf(ctx, 'entity-bytes')
  if (text === undefined) return undefined
  const match = /^(-?\d{1,15}):(\*|-?\d{1,15})$/.exec(text)
  const from = Number(match?.[1])
  const to = match?.[2] === '*' ? undefined : Number(match?.[2])
  if (match === null || (to !== undefined && from >= 0 && to >= 0 && to < from)) {
    throw new RegistryError(
      'REQUEST_INVALID',
      `entity-bytes is '${text.slice(0, 40)}', but must be <from>:<to> or <from>:*`
    )
  }
  return { from, to }
}
