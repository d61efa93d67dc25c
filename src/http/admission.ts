import type { IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import type { Context, Next } from 'koa'
import { LRUCache } from 'lru-cache'
import { networkOf } from '../ipfs/addresses.ts'
import { createLimiter, createSeats, type Limiter, metered } from '../ipfs/limits.ts'
import type { Log } from '../log.ts'
import { RegistryError } from '../oci/errors.ts'
import { type Client, createClients, introduce } from './client.ts'
import { hasBody } from './http2.ts'

/** How much of the gateway clients may have; see the settings of these names. */
export interface AdmissionOptions {
  /** Ranges (CIDR) of reverse proxies that say who the client is. */
  readonly trustedProxies: readonly string[]
  /** Requests a second of one client address; any number if 0. */
  readonly requestRate: number
  /** Bodies that are taken at a time. */
  readonly uploads: { readonly total: number; readonly perAddress: number }
  /** Bytes a second, each way; `undefined` for no limit. */
  readonly rate: { readonly total: number | undefined; readonly perAddress: number | undefined }
  readonly log: Log
}

/** Who is let in, and how much each may have. */
export interface Admission {
  /** For the application, before anything is done for a request. */
  middleware(ctx: Context, next: Next): Promise<void>
  /** Who makes a request, as the proxies that are trusted say. */
  readonly clients: (request: IncomingMessage) => Client
  /** Whether connections from this address are a trusted proxy's, and so of many clients. */
  isProxy(address: string): boolean
}

/** Addresses that are remembered; of those beyond, the one that was heard of longest ago begins anew. */
const MAX_ADDRESSES = 10_000

/** For how long an address may be above its rate if it was quiet before, in seconds. */
const BURST_S = 10

/** Makes it. Tables hold at most {@link MAX_ADDRESSES} addresses; of IPv6, networks. */
export function createAdmission(options: AdmissionOptions): Admission {
  const clients = createClients({ trusted: options.trustedProxies, log: options.log })
  const introduced = introduce(clients)
  const count = createRequestCount(options.requestRate)
  const uploads = createSeats(options.uploads.total, options.uploads.perAddress)
  const pace = createPace(options.rate)

  /** The place of a request's body among those that are taken now, until its answer is out. */
  function seat(ctx: Context, client: string): void {
    const leave = uploads.enter(client)
    if (leave === undefined) {
      throw new RegistryError(
        'TOOMANYREQUESTS',
        'this gateway takes as many uploads as it may, or as one address may send at a time; try again',
        { headers: { 'Retry-After': String(uploads.retryAfter) } }
      )
    }
    ctx.res.once('close', leave)
  }

  return {
    clients,
    isProxy: clients.isProxy,

    middleware: (ctx, next) =>
      introduced(ctx, async () => {
        const client = networkOf(ctx.ip)
        // peers have seats of their own
        if (!ctx.path.startsWith('/ipfs/')) count(client)
        if (hasBody(ctx.req)) seat(ctx, client)
        const paces = pace(client)
        if (paces !== undefined) ctx.state['incoming'] = paces.incoming
        await next()
        if (paces !== undefined && ctx.body instanceof Readable) slow(ctx, ctx.body, paces.outgoing)
      })
  }
}

/** A token bucket for each client. */
function createRequestCount(rate: number): (client: string) => void {
  if (rate === 0) return () => undefined
  const most = rate * BURST_S
  const buckets = new LRUCache<string, { tokens: number; at: number }>({ max: MAX_ADDRESSES })
  return (client) => {
    const now = performance.now()
    const bucket = buckets.get(client) ?? { tokens: most, at: now }
    bucket.tokens = Math.min(most, bucket.tokens + ((now - bucket.at) * rate) / 1000)
    bucket.at = now
    buckets.set(client, bucket)
    if (bucket.tokens >= 1) {
      bucket.tokens--
      return
    }
    throw new RegistryError(
      'TOOMANYREQUESTS',
      `more than ${rate} requests a second have come from ${client} for ${BURST_S} seconds; wait and try again`,
      { headers: { 'Retry-After': String(Math.max(1, Math.ceil((1 - bucket.tokens) / rate))) } }
    )
  }
}

interface Paces {
  readonly incoming: Limiter
  readonly outgoing: Limiter
}

/** Limiters of what a client sends and gets; none where nothing is limited. */
function createPace({ total, perAddress }: AdmissionOptions['rate']): (client: string) => Paces | undefined {
  if (total === undefined && perAddress === undefined) return () => undefined
  const all: Paces = { incoming: createLimiter(total), outgoing: createLimiter(total) }
  const own = new LRUCache<string, Paces>({ max: MAX_ADDRESSES })
  return (client) => {
    const paces = own.get(client) ?? {
      incoming: both(createLimiter(perAddress), all.incoming),
      outgoing: both(createLimiter(perAddress), all.outgoing)
    }
    own.set(client, paces)
    return paces
  }
}

/** Its own limit first, so that one who waits for that takes nothing of the others' share. */
function both(own: Limiter, all: Limiter): Limiter {
  return {
    async take(bytes, signal) {
      await own.take(bytes, signal)
      await all.take(bytes, signal)
    },
    giveBack(bytes) {
      own.giveBack(bytes)
      all.giveBack(bytes)
    }
  }
}

/** Has the body of an answer come no faster than it may. */
function slow(ctx: Context, body: Readable, limiter: Limiter): void {
  const { length } = ctx.response
  const gone = new AbortController()
  ctx.res.once('close', () => gone.abort(new RegistryError('UNAVAILABLE', 'the client went away')))
  const paced = Readable.from(metered(body, limiter, gone.signal), { objectMode: false })
  paced.on('error', () => ctx.res.destroy())
  ctx.body = paced
  if (length !== undefined) ctx.length = length
}
