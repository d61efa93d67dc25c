import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { sameAddresses } from './addresses.ts'
import type { Publishing, PublishReport } from './publishing-types.ts'

/** What came of an attempt that nobody asked for. */
export type AutoOutcome =
  | { readonly domain: string; readonly report: PublishReport }
  | {
      readonly domain: string
      readonly error: string /** In milliseconds; not there when only a new root will do. */
      readonly retryMs?: number
    }

/** Publishes domains by itself after pushes, and when the gateway's addresses change. */
export interface AutoPublisher {
  /** Begins, with what was pushed while nobody was there to publish it, or was published at other addresses. */
  start(): Promise<void>
  /** Called with the outcome of every attempt that changed, or failed to change, what is published. */
  onOutcome(listener: (outcome: AutoOutcome) => void): void
  /** Ends what is under way. */
  stop(): Promise<void>
}

// After a failure it is tried again after so long (ms), then twice as long, and so on.
const RETRY_MS = 1000
const MAX_RETRY_MS = 300_000

// The gateway's addresses are looked at this often (ms): interfaces and relays come and go.
const LOOK_EVERY_MS = 60_000

// Pushes that follow each other put publishing off at most this many times the quiet time.
const MAX_PATIENCE = 12

interface Domain {
  timer: NodeJS.Timeout | undefined
  /** When the oldest root was made that waits (epoch ms). */
  since: number
  failures: number
  running: Promise<void> | undefined
  /** Another root came while one was being published. */
  again: boolean
}

/**
 * @param options.domains the domains that are set up for it
 * @param options.afterMs how long a domain must be quiet
 */
export function createAutoPublisher(options: {
  publishing: Pick<Publishing, 'publish' | 'state' | 'addresses'>
  domains: Iterable<string>
  root: (domain: string) => Promise<CID | undefined>
  onRoot: (listener: (domain: string, root: CID) => void) => void
  afterMs: number
  log: Log
}): AutoPublisher {
  const { publishing, afterMs, log } = options
  const domains = new Map<string, Domain>()
  for (const domain of options.domains)
    domains.set(domain, { timer: undefined, since: 0, failures: 0, running: undefined, again: false })
  const listeners: ((outcome: AutoOutcome) => void)[] = []
  const stopping = new AbortController()
  let started = false
  let addresses: readonly string[] = []
  let timer: NodeJS.Timeout | undefined
  let looking: Promise<void> = Promise.resolve()

  const tell = (outcome: AutoOutcome): void => {
    for (const listener of listeners) listener(outcome)
  }

  function plan(name: string, domain: Domain, ms: number): void {
    clearTimeout(domain.timer)
    if (stopping.signal.aborted) return
    domain.timer = setTimeout(() => {
      domain.running = attempt(name, domain).finally(() => {
        domain.running = undefined
        if (domain.again) changed(name, domain)
      })
    }, ms)
  }

  function changed(name: string, domain: Domain): void {
    domain.failures = 0
    if (domain.running !== undefined) {
      domain.again = true
      return
    }
    domain.again = false
    if (domain.since === 0) domain.since = Date.now()
    const left = domain.since + MAX_PATIENCE * afterMs - Date.now()
    plan(name, domain, Math.max(0, Math.min(afterMs, left)))
  }

  async function attempt(name: string, domain: Domain): Promise<void> {
    domain.since = 0
    try {
      const report = await publishing.publish({ domain: name }, { signal: stopping.signal, report: () => {} })
      domain.failures = 0
      log.info({ domain: name, root: report.root, outcome: report.outcome, via: report.via }, 'published')
      if (report.outcome !== 'unchanged') tell({ domain: name, report })
    } catch (error) {
      if (stopping.signal.aborted) return
      // what others published has to be merged first: trying again would only be refused again
      const refused = error instanceof RegistryError && Object.hasOwn(error.detail ?? {}, 'published')
      domain.failures += 1
      const longest = Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** (domain.failures - 1))
      // a share of it at random, so that gateways that failed together don't come back together
      const retryMs = Math.round(longest * (0.75 + Math.random() / 2))
      log.error(
        { domain: name, cause: reason(error), ...(refused ? {} : { retryMs }) },
        'could not publish the domain'
      )
      tell({ domain: name, error: reason(error), ...(refused ? {} : { retryMs }) })
      if (!refused && !domain.again) plan(name, domain, retryMs)
    }
  }

  /** Whether the published root is another one, or was published at other addresses. */
  async function isBehind(name: string): Promise<boolean> {
    const root = await options.root(name)
    if (root === undefined) return false
    const { published } = await publishing.state(name)
    return published?.root !== root.toString() || !sameAddresses(published.addresses ?? [], addresses)
  }

  /** Publishes again what names addresses that are not ours any more: once, however that ends. */
  async function look(): Promise<void> {
    const before = addresses
    addresses = await publishing.addresses()
    if (sameAddresses(before, addresses)) return
    for (const [name, domain] of domains) if (await isBehind(name)) changed(name, domain)
  }

  options.onRoot((name) => {
    const domain = domains.get(name)
    if (started && domain !== undefined) changed(name, domain)
  })

  return {
    async start() {
      started = true
      addresses = await publishing.addresses()
      for (const [name, domain] of domains) if (await isBehind(name)) changed(name, domain)
      timer = setInterval(() => {
        looking = look().catch((error: unknown) =>
          log.error({ cause: reason(error) }, 'could not look whether the addresses have changed')
        )
      }, LOOK_EVERY_MS)
      timer.unref()
    },
    onOutcome: (listener) => void listeners.push(listener),
    async stop() {
      stopping.abort(new RegistryError('UNAVAILABLE', 'the gateway is stopping'))
      clearInterval(timer)
      await looking
      for (const domain of domains.values()) clearTimeout(domain.timer)
      await Promise.allSettled([...domains.values()].flatMap(({ running }) => running ?? []))
    }
  }
}
