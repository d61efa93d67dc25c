import type { Context } from 'koa'
import { RegistryError } from '../oci/errors.ts'
import type { Ipns } from '../registry/index.ts'
import { attach } from './attachment.ts'
import { readBody } from './request.ts'
import { type Route, route } from './routes.ts'

/** The media type of a signed record. */
export const IPNS_RECORD = 'application/vnd.ipfs.ipns-record'

/** The largest record that is read, in bytes. @see https://specs.ipfs.tech/ipns/ipns-record/#record-size-limit */
const MAX_RECORD = 10 * 1024

/** A record of a name as it is answered. */
export interface NamedRecord {
  readonly bytes: Uint8Array
  /** Epoch ms. */
  readonly validUntil: number
  readonly ttlMs: number
}

/**
 * Delegated routing for IPNS names: records that are known here, and taking in others'. A record proves itself,
 * so whoever may reach this port may give one; an older one than is known is refused.
 *
 * @see https://specs.ipfs.tech/routing/http-routing-v1/#ipns-api
 */
export function nameRoutes(ipns: Pick<Ipns, 'record' | 'take'>): readonly Route[] {
  const nameOf = (ctx: Context): string => String(ctx['params']?.name ?? '')
  return [
    route(
      'GET',
      '/routing/v1/ipns/:name',
      'the signed record of an IPNS name',
      true,
      'open',
      async ({ ctx }) => {
        sendRecord(ctx, nameOf(ctx), await ipns.record(nameOf(ctx)))
      }
    ),
    route(
      'PUT',
      '/routing/v1/ipns/:name',
      'takes a signed record of an IPNS name in',
      true,
      'open',
      async ({ ctx }) => {
        if (ctx.get('Content-Type').split(';')[0] !== IPNS_RECORD)
          throw new RegistryError('REQUEST_INVALID', `a record is sent as ${IPNS_RECORD}`, { status: 415 })
        await ipns.take(nameOf(ctx), await readBody(ctx, MAX_RECORD))
        ctx.status = 200
        ctx.body = ''
      }
    )
  ]
}

/** Answers with a record, which may be kept until its TTL, and never beyond its end. */
export function sendRecord(ctx: Context, name: string, record: NamedRecord | undefined): void {
  if (record === undefined)
    throw new RegistryError('BLOB_UNKNOWN', `no record of '${name.slice(0, 80)}' is known to this gateway`)
  const left = Math.max(0, Math.floor(Math.min(record.ttlMs, record.validUntil - Date.now()) / 1000))
  ctx.body = Buffer.from(record.bytes)
  attach(ctx, `${name}.ipns-record`)
  ctx.set('Content-Type', IPNS_RECORD)
  ctx.set('Cache-Control', `public, max-age=${left}`)
  ctx.set('Expires', new Date(record.validUntil).toUTCString())
  ctx.vary('Accept')
}
