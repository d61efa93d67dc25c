/**
 * The part of Cloudflare's HTTP API that publishing uses, by its published schema: zones and DNS records in
 * pages, batches that are carried out whole or not at all, error codes, and limits with Retry-After.
 *
 * https://developers.cloudflare.com/api/resources/dns/subresources/records/
 */
import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A record as the API gives it. */
export interface CloudflareRecord {
  id: string
  name: string
  type: string
  content: string
  ttl: number
}

/** An API that runs on 127.0.0.1. */
export interface CloudflareApi {
  readonly url: string
  readonly token: string
  readonly records: CloudflareRecord[]
  /** Every request: `GET /zones?…`. */
  readonly requests: string[]
  /** The id of a zone. */
  zone(name: string): string
  add(record: Omit<CloudflareRecord, 'id'>): CloudflareRecord
  /** The next `count` requests are too many; `wait` seconds in Retry-After. */
  limit(count: number, wait: number): void
  /** Runs just before the next batch is carried out. */
  beforeBatch(run: () => void): void
  stop(): Promise<void>
}

class ApiError extends Error {
  readonly status: number
  readonly code: number
  constructor(status: number, code: number, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

const id = (): string => randomBytes(16).toString('hex')

/** Starts {@link CloudflareApi} with these zones. */
export async function startCloudflareApi(zones: readonly string[]): Promise<CloudflareApi> {
  const token = 'v1.0-test-token'
  const known = zones.map((name) => ({ id: id(), name }))
  let records: CloudflareRecord[] = []
  const requests: string[] = []
  let limited = { count: 0, wait: 0 }
  let hook: (() => void) | undefined

  function page<T>(items: readonly T[], query: URLSearchParams, most: number) {
    const [number, size] = [Number(query.get('page') ?? 1), Number(query.get('per_page') ?? 20)]
    if (size < 1 || size > most) throw new ApiError(400, 1004, `per_page must be between 1 and ${most}`)
    const result = items.slice((number - 1) * size, number * size)
    return {
      result,
      result_info: { page: number, per_page: size, count: result.length, total_count: items.length }
    }
  }

  function checked(
    record: Omit<CloudflareRecord, 'id'>,
    among: readonly CloudflareRecord[]
  ): CloudflareRecord {
    if (record.ttl !== 1 && (record.ttl < 60 || record.ttl > 86_400))
      throw new ApiError(400, 9021, 'Invalid TTL. Must be between 60 and 86400 seconds, or 1 for Automatic.')
    const strings = record.content.match(/^"(?:[^"\\]|\\.)*"(?: "(?:[^"\\]|\\.)*")*$/)
    if (strings === null) throw new ApiError(400, 9207, 'Content for TXT record must be in quotes')
    if (
      among.some(
        (each) => each.name === record.name && each.type === record.type && each.content === record.content
      )
    )
      throw new ApiError(400, 81058, 'An identical record already exists.')
    return { ...record, id: id() }
  }

  function batch(body: { deletes?: { id: string }[]; posts?: Omit<CloudflareRecord, 'id'>[] }) {
    let after = [...records]
    for (const { id: gone } of body.deletes ?? []) {
      if (!after.some((record) => record.id === gone))
        throw new ApiError(404, 81044, 'Record does not exist.')
      after = after.filter((record) => record.id !== gone)
    }
    const posts = (body.posts ?? []).map((post) => {
      const made = checked(post, after)
      after.push(made)
      return made
    })
    records = after
    return { result: { deletes: body.deletes ?? [], patches: [], puts: [], posts } }
  }

  function answer(request: IncomingMessage, body: string): object {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
    if (request.headers.authorization !== `Bearer ${token}`)
      throw new ApiError(403, 9109, 'Invalid access token')
    if (request.method === 'GET' && pathname === '/zones') {
      const name = searchParams.get('name')
      return page(
        known.filter((zone) => name === null || zone.name === name),
        searchParams,
        50
      )
    }
    const [, zone = '', rest = ''] = /^\/zones\/([0-9a-f]{32})\/(dns_records.*)$/.exec(pathname) ?? []
    const { name: within } = known.find((each) => each.id === zone) ?? {}
    if (within === undefined)
      throw new ApiError(404, 7003, 'Could not route to the zone, perhaps your object identifier is invalid?')
    if (request.method === 'GET' && rest === 'dns_records') {
      // the records of a name are found by it; the test of pages asks for those of the whole zone
      const [type, name] = [searchParams.get('type'), searchParams.get('name.exact')]
      const own = records.filter((each) => each.name === within || each.name.endsWith(`.${within}`))
      return page(
        own.filter((each) => (type === null || each.type === type) && (name === null || each.name === name)),
        searchParams,
        5_000_000
      )
    }
    if (request.method === 'POST' && rest === 'dns_records/batch') {
      hook?.()
      hook = undefined
      return batch(JSON.parse(body) as Parameters<typeof batch>[0])
    }
    throw new ApiError(405, 10405, 'Method not allowed')
  }

  const server = createServer((request, response) => {
    void (async () => {
      let body = ''
      for await (const chunk of request) body += String(chunk)
      requests.push(`${request.method} ${request.url}`)
      let status = 200
      let envelope: object
      try {
        if (limited.count > 0) {
          limited.count -= 1
          response.setHeader('Retry-After', String(limited.wait))
          throw new ApiError(429, 971, 'Please wait and consider throttling your request speed')
        }
        envelope = { success: true, errors: [], messages: [], ...answer(request, body) }
      } catch (error) {
        const failure = error instanceof ApiError ? error : new ApiError(500, 10_000, String(error))
        status = failure.status
        envelope = {
          success: false,
          errors: [{ code: failure.code, message: failure.message }],
          messages: [],
          result: null
        }
      }
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(JSON.stringify(envelope))
    })()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token,
    requests,
    get records() {
      return records
    },
    zone: (name) => known.find((each) => each.name === name)?.id ?? '',
    add(record) {
      const made = { ...record, id: id() }
      records.push(made)
      return made
    },
    limit(count, wait) {
      limited = { count, wait }
    },
    beforeBatch(run) {
      hook = run
    },
    async stop() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
  }
}
