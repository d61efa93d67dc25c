import { readFile } from 'node:fs/promises'
import { isAbort, RegistryError, reason } from '../oci/errors.ts'
import { type Call, createApi } from './cloudflare-api.ts'
import { quote, within } from './failure.ts'
import { toDnsName } from './name.ts'
import {
  hasTtl,
  isDone,
  type Publisher,
  type RecordChange,
  type RecordSet,
  recordsAt,
  ZoneChanged
} from './publish.ts'
import { escapeString, splitStrings } from './records.ts'

const API = 'https://api.cloudflare.com/client/v4'
// as many as the list of zones allows
const PAGE = 50
const MAX_PAGES = 50
// Times in seconds that Cloudflare takes for records; 1 would be "automatic".
const MIN_TTL = 60
const MAX_TTL = 86_400
const MAX_TOKEN = 4096
// Errors of a batch that mean that a record isn't as it was listed: it does not exist, or exists already.
const CHANGED = new Set([81044, 81057, 81058])

/** How to reach the zone. */
export interface CloudflareSettings {
  /** A file with an API token that may edit the zone's DNS. */
  readonly tokenFile: string
  /** The zone's name or id; found by the domain if not given. */
  readonly zone: string | undefined
  /** The address of the API, `https://…`. */
  readonly api: string | undefined
}

interface ApiRecord {
  readonly id: string
  readonly name: string
  readonly type: string
  readonly content: string
  readonly ttl: number
}

/**
 * Publishes through Cloudflare's HTTP API. All records change in one batch, which Cloudflare carries out whole
 * or not at all; it names the old records by their ids, so that a batch based on records that somebody else
 * has replaced meanwhile fails.
 *
 * @param options.timeoutMs for reading, and for writing, with all pages and all waits that the API asks for
 * @see https://developers.cloudflare.com/api/resources/dns/subresources/records/methods/batch/
 */
export function createCloudflarePublisher(
  settings: CloudflareSettings,
  options: { timeoutMs: number }
): Publisher {
  const base = settings.api ?? API

  async function use<T>(signal: AbortSignal, work: (call: Call) => Promise<T>): Promise<T> {
    const token = await readToken(settings.tokenFile)
    try {
      return await within(options.timeoutMs, signal, (limit) =>
        work(createApi({ base, token, signal: limit }))
      )
    } catch (error) {
      if (signal.aborted) throw signal.reason
      if (isAbort(error))
        throw new RegistryError(
          'SOURCE_TIMEOUT',
          `Cloudflare's API did not finish within ${options.timeoutMs} ms`
        )
      throw error
    }
  }

  async function pages<T>(call: Call, path: string, query: Record<string, string>): Promise<T[]> {
    const found: T[] = []
    for (let page = 1; page <= MAX_PAGES; page++) {
      const search = new URLSearchParams({ ...query, page: String(page), per_page: String(PAGE) })
      const { result, info } = await call<T[]>('GET', `${path}?${search}`)
      if (!Array.isArray(result)) throw new RegistryError('SOURCE_FAILED', "Cloudflare's API sent no list")
      found.push(...result)
      const total = info?.total_count
      if (result.length === 0 || (total === undefined ? result.length < PAGE : found.length >= total))
        return found
    }
    throw new RegistryError(
      'SOURCE_FAILED',
      `Cloudflare's API lists more than ${MAX_PAGES * PAGE} of ${path}`
    )
  }

  /** The id of the zone that holds the name: the longest one that the token may see. */
  async function zoneOf(call: Call, name: string): Promise<string> {
    const { zone } = settings
    if (zone !== undefined && /^[0-9a-f]{32}$/.test(zone)) return zone
    const labels = name.replace(/^_dnslink\./, '').split('.')
    const candidates =
      zone === undefined ? labels.slice(0, -1).map((_, i) => labels.slice(i).join('.')) : [zone]
    for (const candidate of candidates) {
      const zones = await pages<{ id: string; name: string }>(call, '/zones', { name: candidate })
      const found = zones.find((each) => toDnsName(each.name) === candidate)
      if (found !== undefined) return found.id
    }
    throw new RegistryError(
      'DENIED',
      `the token in ${settings.tokenFile} sees no zone ${candidates.map(quote).join(' or ')} at Cloudflare: it needs Zone:Read and DNS:Edit for it`
    )
  }

  async function readSets(call: Call, zone: string, names: readonly string[]): Promise<RecordSet[]> {
    return Promise.all(
      names.map(async (name) => {
        const query = { type: 'TXT', 'name.exact': name }
        const all = await pages<ApiRecord>(call, `/zones/${zone}/dns_records`, query)
        const own = all.filter((record) => record.type === 'TXT' && toDnsName(record.name) === name)
        return {
          name,
          records: own.map(({ id, content, ttl }) => ({ text: readContent(content), ttl, handle: id }))
        }
      })
    )
  }

  return {
    what: "Cloudflare's API",

    ttlOf,

    read: (names, { signal }) =>
      use(signal, async (call) => readSets(call, await zoneOf(call, names[0] as string), names)),

    write: (changes, { seen, signal }) =>
      use(signal, async (call) => {
        const first = changes[0]?.name
        if (first === undefined) return
        const zone = await zoneOf(call, first)
        const due = changes.filter((change) => !isDone(change, seen) || !hasTtl(change, seen))
        const { result } = await call<{ posts?: { id: string }[] }>(
          'POST',
          `/zones/${zone}/dns_records/batch`,
          {
            deletes: due.flatMap((change) => oldOf(change, seen)),
            posts: due.flatMap(({ name, record }) =>
              record === undefined
                ? []
                : [{ type: 'TXT', name, ttl: ttlOf(record.ttl), content: writeContent(record.value) }]
            )
          }
        ).catch((error: unknown) => {
          const codes = error instanceof RegistryError && Array.isArray(error.detail) ? error.detail : []
          if (codes.some((code) => CHANGED.has(code as number)))
            throw new ZoneChanged(`somebody else has changed the records of ${first} (${reason(error)})`)
          throw error
        })
        // where there was nothing before, nothing kept somebody else from adding as well
        const names = [...new Set(changes.map(({ name }) => name))]
        const after = await readSets(call, zone, names)
        if (!changes.every((change) => isDone(change, after))) {
          const mine = (result.posts ?? []).map(({ id }) => ({ id }))
          await call('POST', `/zones/${zone}/dns_records/batch`, { deletes: mine, posts: [] })
          throw new ZoneChanged(`somebody else has changed the records of ${first} at the same time`)
        }
      })
  }
}

async function readToken(path: string): Promise<string> {
  try {
    const token = (await readFile(path, 'utf8')).trim()
    if (token === '' || token.length > MAX_TOKEN || /\s/.test(token)) throw new Error('it holds no token')
    return token
  } catch (error) {
    throw new RegistryError('DENIED', `the token file ${path} is of no use: ${reason(error)}`, {
      cause: error
    })
  }
}

function oldOf(change: RecordChange, seen: readonly RecordSet[]): { id: unknown }[] {
  return recordsAt(seen, change.name)
    .filter(({ text }) => text.startsWith(change.prefix))
    .map(({ handle }) => ({ id: handle }))
}

function ttlOf(seconds: number): number {
  return Math.min(Math.max(seconds, MIN_TTL), MAX_TTL)
}

/** A value as Cloudflare wants a TXT record's content: quoted strings of at most 255 bytes. */
export function writeContent(value: string): string {
  return splitStrings(value)
    .map((part) => `"${escapeString(part)}"`)
    .join(' ')
}

/** The value of a TXT record's content: quoted strings, or, in records made long ago, the bare text. */
export function readContent(content: string): string {
  if (!content.startsWith('"')) return content
  const bytes: number[] = []
  for (const [, string = ''] of content.matchAll(/"((?:[^"\\]|\\.)*)"/gs)) {
    for (const [, decimal, escaped, plain] of string.matchAll(/\\(\d{3})|\\(.)|([^\\]+)/gs)) {
      if (decimal === undefined) bytes.push(...Buffer.from(escaped ?? plain ?? ''))
      else bytes.push(Number(decimal) & 0xff)
    }
  }
  return Buffer.from(bytes).toString()
}
