import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import type { ChallengeType, Proofs } from './authority.ts'
import { type KeyPair, namesOf, validityOf } from './pair.ts'
import { acmeFolder } from './stored.ts'
import type { Identity } from './types.ts'

/** The longest pause between attempts, in milliseconds. */
const MAX_PAUSE = 6 * 3_600_000

/** A timer takes no longer time; what is later is looked at again then. In milliseconds. */
const MAX_TIMER = 2 ** 31 - 1

/** How long one attempt may take, in milliseconds: an authority looks at a server from several places. */
const ATTEMPT = 5 * 60_000

/** What share of its time a certificate is used before another one is asked for: as Let's Encrypt recommends. */
const USED = 2 / 3

/** What {@link acmeIdentity} needs to know. */
export interface AcmeOptions {
  readonly domains: readonly string[]
  readonly email: string
  /** The URL of the authority's directory. */
  readonly directory: string
  /** Certificates in PEM form to trust for it; the system's unless given. */
  readonly ca: string | undefined
  /** Where accounts and certificates are kept. */
  readonly folder: string
  /** The first pause after a failure, in milliseconds; the next are each twice as long, up to six hours. */
  readonly retryMs: number
  /** Whether a port answers for HTTP-01; then that is tried first. */
  readonly http: boolean
  readonly log: Log
}

/**
 * An identity whose certificate an authority issues by ACME. It is kept in the data folder, and another one is asked
 * for when two thirds of its time have passed, when it isn't for the domains that are set, or when there is none.
 * Where that fails it is tried again, by the other kind of proof where there are two; what is in use stays meanwhile.
 *
 * @see https://www.rfc-editor.org/rfc/rfc8555
 */
export async function acmeIdentity(options: AcmeOptions): Promise<Identity> {
  const { log, domains } = options
  const kept = acmeFolder(options.folder, options.directory)
  const listeners = new Set<(pair: KeyPair) => void>()
  const proofs: Proofs = { http: new Map(), alpn: new Map() }
  const kinds: ChallengeType[] = options.http ? ['http-01', 'tls-alpn-01'] : ['tls-alpn-01']
  const stopping = new AbortController()
  let pair = await kept.pair()
  let trouble = pair === undefined ? 'no certificate has been issued yet' : undefined
  let failures = 0
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> | undefined

  /** Milliseconds until another certificate is wanted. */
  function due(): number {
    if (pair === undefined || !isFor(pair, domains)) return 0
    const { from, to } = validityOf(pair)
    return Math.max(0, from + (to - from) * USED - Date.now())
  }

  async function issue(): Promise<void> {
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(ATTEMPT)])
    const kind = kinds[failures % kinds.length] as ChallengeType
    try {
      // What it needs is loaded when it is needed, some twice in the life of a certificate.
      const { createAuthority } = await import('./authority.ts')
      const authority = createAuthority({ ...options, account: kept.accountKey }, signal)
      const next = await authority.issue(domains, kind, proofs)
      await kept.keep(next)
      pair = next
      trouble = undefined
      failures = 0
      for (const listener of listeners) listener(next)
      log.info({ domains, until: next.certificate.validTo }, 'a certificate was issued')
    } catch (error) {
      if (stopping.signal.aborted) return
      failures++
      trouble = `no certificate could be had from ${new URL(options.directory).host}: ${reason(error)}`
      log.error({ domains, kind, retryMs: pause(), until: pair?.certificate.validTo }, trouble)
    } finally {
      proofs.http.clear()
      proofs.alpn.clear()
    }
  }

  const pause = () => Math.min(MAX_PAUSE, options.retryMs * 2 ** (failures - 1))

  function plan(ms: number): void {
    if (stopping.signal.aborted) return
    timer = setTimeout(
      () => {
        if (failures === 0 && due() > 0) plan(due())
        else running = issue().finally(() => plan(failures === 0 ? due() : pause()))
      },
      Math.min(ms, MAX_TIMER)
    )
    timer.unref()
  }

  return {
    get pair() {
      return pair
    },
    get trouble() {
      return trouble
    },
    onChange: (listener) => void listeners.add(listener),
    alpnProof: (servername) => proofs.alpn.get(servername.toLowerCase()),
    httpProof: (token) => proofs.http.get(token),
    start: () => plan(due()),
    async stop() {
      stopping.abort(new Error('the gateway is stopping'))
      clearTimeout(timer)
      await running
    }
  }
}

/** Whether a certificate is for exactly these domains. */
function isFor(pair: KeyPair, domains: readonly string[]): boolean {
  const { dns } = namesOf(pair)
  return dns.length === domains.length && domains.every((domain) => dns.includes(domain))
}
