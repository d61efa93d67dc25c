import { LRUCache } from 'lru-cache'
import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { RegistryError } from '../oci/errors.ts'
import type { Records } from '../store/records.ts'
import { Outage, quote, unlessAborted, within } from './failure.ts'
import { follow, type ResolveIpns } from './follow.ts'
import { parseIpnsName } from './ipns-record.ts'
import { createLastGood, type Kept } from './last-good.ts'
import { toDnsName } from './name.ts'
import { createResolver } from './resolver.ts'

/** What a domain publishes. */
export interface Published {
  /** As it was asked for, in the form that DNS compares (lower case, ASCII, no trailing dot). */
  domain: string
  /** Of the registry tree, or of what holds it at `path`. */
  root: CID
  /** Below the root: '' or 'a/b'. */
  path: string
  /** Multiaddrs from `ipfsnode=`: valid, but not yet checked against any dial policy. */
  providers: readonly string[]
  /** Until when it holds (epoch ms); past for a stale one. */
  expires: number
  /** It is past its time, and no server gave a newer one: the last good answer. */
  stale: boolean
  /** Records that were seen and are not used, each with the reason, in words. */
  problems: readonly string[]
  /**
   * The name servers say that they validated every DNS answer of the way with DNSSEC; worth as much as the way to
   * them. An IPNS name's own record is always signed.
   */
  authenticated: boolean
  /** Every step of the way as it was looked up: the domain, then where each link leads. None for one that was kept over a restart. */
  chain: readonly string[]
}

/** Finds what domains publish. */
export interface Discovery {
  /**
   * The root and providers of `domain`. Known answers come at once while they hold; when they have run
   * out and DNS is slow or down, the last good one comes, marked `stale`, and the refresh goes on.
   *
   * @throws RegistryError NAME_INVALID for what is no domain; DENIED where it isn't to be looked up; NAME_UNKNOWN where there is no dnslink;
   *   SOURCE_FAILED for records that are of no use, or when the servers fail; SOURCE_TIMEOUT when they
   *   are silent. The signal's reason when that aborts.
   */
  resolve(domain: string, options: { signal: AbortSignal }): Promise<Published>
  /**
   * The root that an IPNS name (a key) leads to, as {@link Discovery.resolve} finds that of a domain. `hints` are
   * multiaddrs of peers that may know of it.
   *
   * @throws RegistryError as resolve does
   */
  resolveKey(name: string, options: { hints: readonly string[]; signal: AbortSignal }): Promise<Published>
  /** Ends what is going on in the background; resolves when it has ended. */
  stop(): Promise<void>
}

const MAX_DOMAINS = 1000
// An answer that ran out this recently, or whose servers fail, is used after this much waiting (RFC 8767
// section 5 has the same two timers).
const RECENT_MS = 600_000
const PATIENCE_MS = 800
// After a failure the last good answer is used without asking again for so long.
const RECHECK_MS = 2_000
// Without one, the failure itself is the answer for so long (RFC 9520 section 3.2).
const FAILED_MS = 1_000
// The share of the whole time that one name may take, so that its servers are named when they are silent.
const PER_NAME = 0.9

/**
 * Makes the finder.
 *
 * @param options.servers name servers: `host`, `host:port`, `[IPv6]:port`, `https://host/dns-query`; empty for
 *   the system's
 * @param options.records where last good answers outlive the process (`dns/<domain>`)
 * @param options.timeoutMs for one whole resolution
 * @param options.resolveIpns for `dnslink=/ipns/<key>`; without it such records are refused
 * @throws Error for a server that cannot be read
 * @example
 * ```ts
 * const discovery = createDiscovery({ servers: [], log, records, timeoutMs: 5000 })
 * const { root, providers } = await discovery.resolve('example.com', { signal })
 * ```
 */
export function createDiscovery(options: {
  servers: readonly string[]
  log: Log
  records: Pick<Records, 'get' | 'put'>
  timeoutMs: number
  resolveIpns?: ResolveIpns
  /** Throws for a domain that isn't to be looked up, on whatever way it is come to; all are unless given. */
  permit?: (domain: string) => void
  now?: () => number
}): Discovery {
  const { servers, log, timeoutMs, resolveIpns, permit, now = Date.now } = options
  const resolver = createResolver({ servers, log, timeoutMs: timeoutMs * PER_NAME, now })
  const lastGood = createLastGood(options.records, log)
  const memory = new LRUCache<string, Kept>({ max: MAX_DOMAINS })
  const failing = new LRUCache<string, { at: number; error: Outage }>({ max: MAX_DOMAINS })
  const warned = new LRUCache<string, true>({ max: MAX_DOMAINS })
  const flights = new Map<string, Promise<Kept>>()
  const saves = new Set<Promise<void>>()
  const stopping = new AbortController()

  function later(save: Promise<void>): void {
    const done = save.finally(() => saves.delete(done))
    saves.add(done)
  }

  async function refresh(domain: string): Promise<Kept> {
    try {
      const found = await within(timeoutMs, stopping.signal, (signal) =>
        follow(domain, { resolver, signal, now, permit, ...(resolveIpns && { resolveIpns }) })
      ).catch((error: unknown) => Promise.reject(inTime(domain, error)))
      const { partial, ...rest } = found
      const before = memory.get(domain) ?? (partial ? await lastGood.get(domain) : undefined)
      // the root alone is worth having; its peers are then those that were known
      const providers = partial && before !== undefined ? before.providers : found.providers
      const kept: Kept = { ...rest, providers, at: now() }
      if (found.problems.length > 0 && before?.problems.join() !== found.problems.join())
        log.warn({ domain, problems: found.problems }, 'some DNS records of the domain are not used')
      failing.delete(domain)
      if (warned.delete(domain)) log.info({ domain }, 'DNS answers for the domain again')
      const news =
        before?.root.toString() !== kept.root.toString() || before.authenticated !== kept.authenticated
      const { root, path, authenticated } = kept
      log[news ? 'info' : 'debug'](
        { domain, root: root.toString(), path, authenticated, until: new Date(kept.expires).toISOString() },
        'the domain was resolved'
      )
      memory.set(domain, kept)
      if (!partial) later(lastGood.put(domain, kept))
      return kept
    } catch (error) {
      if (error instanceof Outage) failing.set(domain, { at: now(), error })
      else if (!stopping.signal.aborted) memory.delete(domain)
      if (error instanceof RegistryError && error.code === 'NAME_UNKNOWN') later(lastGood.forget(domain))
      throw error
    }
  }

  function inTime(domain: string, error: unknown): unknown {
    if (!(error instanceof DOMException && error.name === 'TimeoutError')) return error
    return new Outage('SOURCE_TIMEOUT', `${domain} did not resolve within ${timeoutMs} ms`, { cause: error })
  }

  function take(domain: string): Promise<Kept> {
    const running = flights.get(domain)
    if (running !== undefined) return running
    const flight = refresh(domain).finally(() => flights.delete(domain))
    flight.catch(() => {}) // whoever waits hears of it; when nobody does, `failing` remembers
    flights.set(domain, flight)
    return flight
  }

  function stale(domain: string, last: Kept, why: string): Published {
    const level = warned.has(domain) ? 'debug' : 'warn' // once an outage, not once a request
    warned.set(domain, true)
    const facts = { domain, root: last.root.toString(), confirmed: new Date(last.at).toISOString(), why }
    log[level](facts, 'the last good DNS answer is used')
    return published(domain, last, true)
  }

  async function find(domain: string, signal: AbortSignal): Promise<Published> {
    const known = memory.get(domain)
    if (known !== undefined && known.expires > now()) return published(domain, known, false)
    const last = known ?? (await unlessAborted(lastGood.get(domain), signal))
    const failed = failing.get(domain)
    const since = failed === undefined ? Number.POSITIVE_INFINITY : now() - failed.at
    if (last === undefined && failed !== undefined && since < FAILED_MS) throw failed.error
    if (last === undefined) return published(domain, await unlessAborted(take(domain), signal), false)
    if (since < RECHECK_MS) return stale(domain, last, 'DNS failed just now')
    const hurry = failed !== undefined || now() - last.expires < RECENT_MS
    try {
      const flight = take(domain)
      const fresh = hurry
        ? await within(PATIENCE_MS, signal, (limit) => unlessAborted(flight, limit))
        : await unlessAborted(flight, signal)
      return published(domain, fresh, false)
    } catch (error) {
      signal.throwIfAborted()
      const late = error instanceof DOMException && error.name === 'TimeoutError'
      if (late) return stale(domain, last, 'DNS is slow')
      if (error instanceof Outage) return stale(domain, last, error.message)
      throw error
    }
  }

  return {
    async resolve(text, { signal }) {
      signal.throwIfAborted()
      stopping.signal.throwIfAborted()
      const domain = toDnsName(text)
      if (domain === undefined) throw new RegistryError('NAME_INVALID', `${quote(text)} is not a domain name`)
      permit?.(domain)
      return find(domain, signal)
    },
    async resolveKey(name, { hints, signal }) {
      signal.throwIfAborted()
      if (parseIpnsName(name) === undefined)
        throw new RegistryError('NAME_INVALID', `${quote(name)} is neither an IPNS name nor a domain`)
      // what is known of a name is kept by the IPNS resolver, which knows for how long it holds
      const found = await within(timeoutMs, AbortSignal.any([signal, stopping.signal]), (limit) =>
        follow(name, {
          resolver,
          signal: limit,
          now,
          permit,
          key: { name, hints },
          ...(resolveIpns && { resolveIpns })
        })
      ).catch((error: unknown) => Promise.reject(signal.aborted ? signal.reason : inTime(name, error)))
      return published(name, { ...found, at: now() }, false)
    },
    async stop() {
      stopping.abort(new RegistryError('UNAVAILABLE', 'the gateway is shutting down'))
      await resolver.stop()
      await Promise.allSettled(flights.values())
      await Promise.allSettled(saves)
    }
  }
}

function published(domain: string, kept: Kept, stale: boolean): Published {
  const { root, path, providers, expires, problems, authenticated, chain } = kept
  return { domain, root, path, providers, expires, stale, problems, authenticated, chain }
}
