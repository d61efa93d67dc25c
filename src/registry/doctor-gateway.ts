import type { CID } from 'multiformats/cid'
import { MAX_PROVIDERS } from '../discovery/index.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { looksLikeDomain } from '../oci/reference.ts'
import type { Store } from '../store/index.ts'
import { namingSame } from './addresses.ts'
import { trouble } from './doctor-causes.ts'
import type { Fresh, FreshOptions } from './doctor-fresh.ts'
import { probeAll } from './doctor-peers.ts'
import { askServers } from './doctor-records.ts'
import { type Examination, rounded, StepFailed } from './doctor-steps.ts'
import type { DoctorPart, Trouble } from './doctor-types.ts'
import type { Publishing } from './publishing-types.ts'

/** How it is with a certificate. */
export interface CertificateState {
  readonly says: string
  /** What is wrong, and what to do. */
  readonly wrong?: { readonly why: string; readonly remedy: string }
}

/** What the running gateway says of itself. */
export interface Listening {
  /** Its URL. */
  readonly at: string
  /** Asks it for something over HTTP. */
  check(signal: AbortSignal): Promise<void>
  /** What is to be said of its certificate, if it speaks TLS. */
  certificate?(): CertificateState
  /** Its multiaddrs, as they are published. */
  addresses(): readonly string[]
}

/** The gateway's own rooms, as far as they are looked at. */
export interface GatewayFacts {
  readonly store: Pick<Store, 'records' | 'space'>
  /** Bytes of the file system that are never used. */
  readonly reserve: number
  /** Not there when no gateway runs. */
  readonly listening: Listening | undefined
  domains(): AsyncIterable<string>
  root(domain: string): Promise<CID | undefined>
  /** What is published now. @throws {RegistryError} when that can't be found out */
  readonly published: Publishing['published']
}

/** Less room than this above the reserve (bytes) is soon none: an image or two. */
const LITTLE = 1e9

/** How many domains are looked up. */
const MAX_DOMAINS = 20

/** How long looking at the gateway and its disk may take, in milliseconds. */
const OWN_MS = 10_000

/** A name that exists nowhere, and that resolvers answer for themselves (RFC 6761). */
const NOBODY = 'seaway.invalid'

const LOOPBACK = /^\/(?:ip4\/127\.|ip6\/::1\/|dns[46]?\/localhost\/)/

/** Examines the gateway itself. */
export async function examineGateway(
  exam: Examination,
  facts: GatewayFacts,
  { fresh, options }: { fresh: () => Promise<Fresh>; options: FreshOptions }
): Promise<void> {
  const { listening } = facts
  await exam.step('listening', OWN_MS, (signal) => isListening(listening, signal), notRunning)
  await exam.step(
    'data',
    OWN_MS,
    () => canKeep(facts),
    (error) =>
      trouble('not-writable', reason(error), 'mend the disk or the rights of the data folder (SEAWAY_DATA)')
  )
  const domains: string[] = []
  for await (const domain of facts.domains())
    if (looksLikeDomain(domain) && domains.push(domain) >= MAX_DOMAINS) break
  const answers = await askServers(exam, domains[0] ?? NOBODY, options)
  if (listening === undefined) exam.skip(['addresses'], 'no gateway runs')
  else await dialOwn(exam, listening, await fresh(), options)
  if (answers === undefined) exam.skip(['published'], 'no name server answers')
  else {
    await exam.step(
      'published',
      options.dnsTimeoutMs * 2,
      (signal) => compare(domains, facts, signal),
      (error) => trouble('failed', reason(error), 'try again when the name servers answer')
    )
  }
}

async function isListening(listening: Listening | undefined, signal: AbortSignal) {
  if (listening === undefined)
    throw new StepFailed(notRunning(new Error('no gateway runs on this data folder')))
  await listening.check(signal)
  const { says, wrong } = listening.certificate?.() ?? {}
  const warning = wrong && trouble('certificate', wrong.why, wrong.remedy)
  const all = [`it answers at ${listening.at}`, ...(says === undefined ? [] : [says])].join(', ')
  return { says: all, warning, value: true }
}

function notRunning(error: unknown): Trouble {
  return trouble('not-running', reason(error), "start it: 'seaway serve', or npm start")
}

/** Whether a push could be kept. */
async function canKeep({ store, reserve }: GatewayFacts) {
  const start = performance.now()
  // what a push needs too: a row that is synced
  await store.records.put('doctor', Buffer.from(String(Date.now())))
  await store.records.delete('doctor')
  const ms = performance.now() - start
  const { free } = await store.space()
  const left = free - reserve
  const remedy =
    "'seaway gc' frees what nothing needs; or give it more disk, or a smaller SEAWAY_DISK_RESERVE"
  const why = `${Math.max(0, Math.floor(left / 1e6))} MB are left above the reserve`
  if (left <= 0) throw new StepFailed(trouble('little-space', why, remedy))
  const warning = left < LITTLE ? trouble('little-space', why, remedy) : undefined
  return { says: `written and synced in ${rounded(ms)} ms; ${why}`, warning, value: true }
}

function dialOwn(
  exam: Examination,
  listening: Listening,
  fresh: Fresh,
  options: FreshOptions
): Promise<true | undefined> {
  const remedy =
    'set SEAWAY_ANNOUNCE to addresses at which others reach this gateway (behind a NAT, a forwarded port or SEAWAY_RELAYS)'
  return exam.step(
    'addresses',
    OWN_MS + options.node.timeouts.dialMs * 5,
    async (signal) => {
      const addresses = listening.addresses()
      if (addresses.length === 0)
        throw new StepFailed(trouble('no-peers', 'it has no address for peers', remedy))
      const parts: DoctorPart[] = await probeAll(fresh, addresses, signal)
      const failing = parts.filter(({ ok }) => !ok)
      const why = failing.map(({ what, says }) => `${what}: ${says}`).join('; ')
      if (failing.length === parts.length)
        throw new StepFailed(trouble('unreachable', why, remedy), { parts })
      const says = `${parts.length - failing.length} of ${parts.length} can be reached from here`
      if (failing.length > 0)
        return { says, parts, warning: trouble('unreachable', why, remedy), value: true }
      const alone = addresses.every((address) => LOOPBACK.test(address))
      const warning = alone
        ? trouble('loopback-only', 'all of its addresses lead to this machine only', remedy)
        : undefined
      return { says, parts, warning, value: true }
    },
    (error) => trouble('unreachable', reason(error), remedy)
  )
}

/** What is here beside what is published. */
async function compare(domains: readonly string[], facts: GatewayFacts, signal: AbortSignal) {
  const parts = await Promise.all(domains.map((domain) => compareOne(domain, facts, signal)))
  const behind = parts.filter(({ ok }) => !ok)
  const says =
    parts.length === 0
      ? 'nothing was pushed to a domain yet'
      : `${parts.length - behind.length} of ${parts.length} are as they are here`
  const why = behind.map(({ what, says: text }) => `${what}: ${text}`).join('; ')
  const warning =
    behind.length === 0
      ? undefined
      : trouble('not-published', why, behind.map(({ what }) => `seaway publish ${what}`).join('; '))
  return { says, parts, warning, value: true }
}

async function compareOne(domain: string, facts: GatewayFacts, signal: AbortSignal): Promise<DoctorPart> {
  const root = await facts.root(domain)
  try {
    const found = await facts.published(domain, signal)
    if (found === undefined)
      return { what: domain, ok: false, says: `is at root ${root} here and not published` }
    if (root?.equals(found.root) !== true)
      return { what: domain, ok: false, says: `is at root ${root} here, and ${found.root} is published` }
    const wrong = addressTrouble(found, facts.listening?.addresses() ?? [])
    return { what: domain, ok: wrong === undefined, says: wrong ?? `root ${root}` }
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof RegistryError)) throw error
    return { what: domain, ok: false, says: reason(error) }
  }
}

/** What is wrong with the addresses of this gateway that a domain's records name. */
function addressTrouble(
  { providers, byName }: { providers: readonly string[]; byName: boolean },
  own: readonly string[]
): string | undefined {
  const named = namingSame(providers, own)
  const gone = named.filter((address) => !own.includes(address))
  if (gone.length > 0) return `is published at ${gone.join(' and ')}, where this gateway is not any more`
  // the record of an IPNS name tells them too, and is kept in step with them
  const wanted = byName ? [] : own.slice(0, MAX_PROVIDERS)
  const missing = wanted.filter((address) => !named.includes(address))
  return missing.length > 0 ? `is published without ${missing.join(' and ')}` : undefined
}
