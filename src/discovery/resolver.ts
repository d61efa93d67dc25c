import { LRUCache } from 'lru-cache'
import type { Log } from '../log.ts'
import { RegistryError } from '../oci/errors.ts'
import { MAX_CNAMES, type Reading, readTxt } from './answer.ts'
import { askServer } from './exchange.ts'
import { Outage, quote, unlessAborted, within } from './failure.ts'
import { createHttps } from './https.ts'
import type { Message } from './message.ts'
import { toDnsName } from './name.ts'
import { NoAnswer, race } from './race.ts'
import { byHealth, serverList } from './server.ts'

const MIN_TTL = 1
const MAX_TTL = 86_400
const CACHE_BYTES = 8 * 1024 * 1024
const MAX_FLIGHTS = 256

/** What DNS says about the TXT records of a name. */
export interface TxtAnswer {
  /** The name asked for: lower case, ASCII, without a trailing dot. */
  readonly name: string
  /** Where its CNAMEs lead. */
  readonly canonical: string
  readonly status: 'found' | 'nodata' | 'nxdomain'
  /** Each record's strings joined, in the order of the answer. */
  readonly records: readonly string[]
  /** Until when it holds (epoch ms): its TTL, within one second and one day. */
  readonly expires: number
  /** The resolver says that it validated every step with DNSSEC (the AD flag); as good as the way to it. */
  readonly authenticated: boolean
  /** The server that gave the (last) answer, `host:port` or its URL. */
  readonly server: string
}

/** Looks up TXT records. */
export interface Resolver {
  /**
   * The TXT records of `name`; absence is an answer too. Search domains are never applied.
   *
   * @throws RegistryError NAME_INVALID for what is no DNS name, SOURCE_FAILED for CNAMEs that lead nowhere
   * @throws Outage when no server answers within the time limit; the signal's reason when that aborts
   */
  txt(name: string, options: { signal: AbortSignal }): Promise<TxtAnswer>
  /** Calls off what is under way; afterwards nothing is looked up any more. */
  stop(): Promise<void>
}

/**
 * Makes a resolver over UDP, TCP and HTTPS with a cache, which keeps answers for their TTL and absence for
 * what the zone's SOA says (RFC 2308). Those who ask for the same name at once share one query, and none
 * of them can call it off for the others.
 *
 * @param options.servers `host`, `host:port`, `[IPv6]:port`, `https://host/dns-query`; empty for the system's
 * @param options.timeoutMs for one name with all its CNAMEs
 * @throws Error for a server that cannot be read
 * @example
 * ```ts
 * const resolver = createResolver({ servers: ['127.0.0.1:5353'], log, timeoutMs: 5000 })
 * const { records } = await resolver.txt('_dnslink.example.com', { signal })
 * ```
 */
export function createResolver(options: {
  servers: readonly string[]
  log: Log
  timeoutMs: number
  now?: () => number
}): Resolver {
  const { log, timeoutMs, now = Date.now } = options
  const servers = serverList(options.servers)
  const https = createHttps({ timeoutMs })
  const cache = new LRUCache<string, TxtAnswer>({
    maxSize: CACHE_BYTES,
    sizeCalculation: (answer) => answer.records.reduce((sum, record) => sum + 2 * record.length, 512)
  })
  const flights = new Map<string, Promise<TxtAnswer>>()
  const stopping = new AbortController()

  async function ask(name: string, signal: AbortSignal): Promise<{ message: Message; server: string }> {
    try {
      const list = byHealth(servers(), now())
      const won = await race(list, (server, rest) => askServer(server, name, { ...rest, https }), {
        signal,
        now
      })
      return { message: won.value, server: won.server.label }
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error
      log.debug({ name, servers: error.message }, 'no DNS server answered')
      throw new Outage(
        error.silent ? 'SOURCE_TIMEOUT' : 'SOURCE_FAILED',
        `no DNS server could answer for TXT ${name}: ${error.message}; try again, or name other servers in SEAWAY_DNS_SERVERS`,
        { cause: error }
      )
    }
  }

  async function chase(name: string, signal: AbortSignal): Promise<TxtAnswer> {
    const visited = [name]
    let authenticated = true
    let ttl = MAX_TTL
    for (let hop = 0; hop <= MAX_CNAMES; hop += 1) {
      const current = visited.at(-1) as string
      const { message, server } = await ask(current, signal)
      const reading: Reading = readTxt(message, current, visited)
      authenticated &&= message.flag_ad
      ttl = Math.min(ttl, reading.ttl)
      const { status, name: canonical, records } = reading
      if (status === 'elsewhere') continue
      const expires = now() + 1000 * Math.max(ttl, MIN_TTL)
      return { name, canonical, status, records, expires, authenticated, server }
    }
    throw new RegistryError(
      'SOURCE_FAILED',
      `the CNAMEs of ${name} do not end: ${visited.join(' → ')}; its owner has to mend them`
    )
  }

  function take(name: string): Promise<TxtAnswer> {
    if (flights.size >= MAX_FLIGHTS)
      throw new Outage('UNAVAILABLE', `${MAX_FLIGHTS} DNS look-ups are under way; try again`)
    const flight = within(timeoutMs, stopping.signal, (signal) => chase(name, signal))
      .then((answer) => {
        cache.set(name, answer)
        return answer
      })
      .finally(() => flights.delete(name))
    flights.set(name, flight)
    return flight
  }

  return {
    async txt(text, { signal }) {
      signal.throwIfAborted()
      stopping.signal.throwIfAborted()
      const name = toDnsName(text)
      if (name === undefined) throw new RegistryError('NAME_INVALID', `${quote(text)} is not a DNS name`)
      const kept = cache.get(name)
      if (kept !== undefined && kept.expires > now()) return kept
      return unlessAborted(flights.get(name) ?? take(name), signal)
    },
    async stop() {
      stopping.abort(new RegistryError('UNAVAILABLE', 'the gateway is shutting down'))
      await Promise.allSettled(flights.values())
      https.stop()
    }
  }
}
