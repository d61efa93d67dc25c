import type { CID } from 'multiformats/cid'
import { isAbort, RegistryError, reason } from '../oci/errors.ts'
import { joinPath, type Link, parseContentPath, pickDnslink } from './dnslink.ts'
import { Outage, quote, unlessAborted } from './failure.ts'
import { MAX_PROVIDERS, pickProviders } from './ipfsnode.ts'
import { MAX_NAME } from './name.ts'
import type { Resolver, TxtAnswer } from './resolver.ts'

/** So many names may follow one another from a domain to its root, the domain included. */
export const MAX_HOPS = 8

const MAX_PROBLEMS = 32
const DAY_MS = 86_400_000
// How long an IPNS answer holds, since the door of the IPNS resolver doesn't say (ms).
const IPNS_MS = 60_000
// When the providers couldn't be looked up, ask again this soon (ms).
const PARTIAL_MS = 5_000
const LABEL = '_dnslink.'

/**
 * Resolves an IPNS name (a key, not a domain) to an `/ipfs/…` or `/ipns/…` path, with until when that holds and
 * the peers that its record names, where it knows them. `hints` are the peers that are known so far.
 */
export type ResolveIpns = (
  name: string,
  options: { signal: AbortSignal; hints: readonly string[] }
) => Promise<string | { path: string; expires: number; providers: readonly string[] }>

/** What the records of a domain, and of those that they lead to, say. */
export interface Found {
  readonly root: CID
  readonly path: string
  readonly providers: readonly string[]
  readonly problems: readonly string[]
  /** Epoch ms, by the shortest-lived record of the way. */
  readonly expires: number
  /** The root is known, but the providers could not be looked up. */
  readonly partial: boolean
  /** The name servers say that they validated every answer of the way with DNSSEC. */
  readonly authenticated: boolean
  /** Every step of the way: the domain, then where each link leads, `/ipns/…` and at last `/ipfs/…`. */
  readonly chain: readonly string[]
}

/**
 * Follows the dnslink of `domain` (as from `toDnsName`), through `/ipns/<domain>` and `/ipns/<key>`, to a
 * root. Providers are those of every domain on the way, the first one's first.
 *
 * @throws RegistryError NAME_UNKNOWN when there is no record, SOURCE_FAILED for one that is of no use
 * @throws Outage when DNS or IPNS cannot be asked; the signal's reason when that aborts
 * @see https://dnslink.dev/#specification
 */
export async function follow(
  domain: string,
  options: {
    resolver: Resolver
    resolveIpns?: ResolveIpns
    signal: AbortSignal
    now: () => number
    /** Begin with this IPNS name instead of the domain's records; `hints` are peers that may know of it. */
    key?: { name: string; hints: readonly string[] } | undefined
    /** Throws for a domain that isn't to be looked up. */
    permit?: ((domain: string) => void) | undefined
  }
): Promise<Found> {
  const { resolver, resolveIpns, signal, now, key } = options
  const visited: string[] = []
  const chain: string[] = [domain]
  const providers = new Set<string>()
  const problems: string[] = []
  let expires = now() + DAY_MS
  let partial = false
  let authenticated = true
  let link: Link =
    key === undefined ? { kind: 'domain', domain, path: '' } : { kind: 'key', name: key.name, path: '' }

  const visit = (name: string): void => {
    const chain = `${[...visited, name].join(' → ')}; one of them has to lead to /ipfs/<CID> instead`
    if (visited.includes(name)) throw new RegistryError('SOURCE_FAILED', `dnslink loop: ${chain}`)
    if (visited.length >= MAX_HOPS)
      throw new RegistryError('SOURCE_FAILED', `more than ${MAX_HOPS} dnslinks in a row: ${chain}`)
    visited.push(name)
  }

  while (link.kind !== 'ipfs') {
    const below: string = link.path
    let next: Link
    if (link.kind === 'domain') {
      const at = link.domain.startsWith(LABEL) ? link.domain.slice(LABEL.length) : link.domain
      visit(at)
      options.permit?.(at)
      const step = await readDomain(at, resolver, signal)
      for (const provider of step.providers) providers.add(provider)
      problems.push(...step.problems)
      partial ||= step.partial
      authenticated &&= step.authenticated
      expires = Math.min(expires, step.expires, step.partial ? now() + PARTIAL_MS : DAY_MS + now())
      next = step.link
    } else {
      visit(link.name)
      const hints = [...providers, ...(key?.hints ?? [])]
      const answer = await askIpns(link.name, { from: domain, resolveIpns, signal, hints })
      next = answer.link
      for (const provider of answer.providers) providers.add(provider)
      expires = Math.min(expires, answer.expires ?? now() + IPNS_MS)
    }
    link = { ...next, path: joinPath(next.path, below) }
    chain.push(pathOf(link))
  }
  return {
    root: link.root,
    path: link.path,
    providers: [...providers].slice(0, MAX_PROVIDERS),
    problems: problems.slice(0, MAX_PROBLEMS),
    expires,
    partial,
    authenticated,
    chain
  }
}

/** A link as a content path. */
function pathOf(link: Link): string {
  const to =
    link.kind === 'ipfs' ? `/ipfs/${link.root}` : `/ipns/${link.kind === 'domain' ? link.domain : link.name}`
  return link.path === '' ? to : `${to}/${link.path}`
}

interface Step extends Omit<Found, 'root' | 'path' | 'chain'> {
  readonly link: Link
}

/** Reads one domain: its dnslink at `_dnslink.<domain>` or else at the domain, its `ipfsnode` there. */
async function readDomain(at: string, resolver: Resolver, signal: AbortSignal): Promise<Step> {
  const name = `${LABEL}${at}`
  if (name.length > MAX_NAME)
    throw new RegistryError('NAME_UNKNOWN', `${quote(at)} is too long a name to have a dnslink record`)
  const [label, bare] = await Promise.allSettled([
    resolver.txt(name, { signal }),
    resolver.txt(at, { signal })
  ])
  if (label.status === 'rejected') throw label.reason as Error
  // The bare domain counts only where _dnslink has no TXT record of any kind: the specification's test 3.
  const holdsLink = label.value.status === 'found'
  if (!holdsLink && bare.status === 'rejected') throw bare.reason as Error
  signal.throwIfAborted()
  const own = bare.status === 'fulfilled' ? bare.value : undefined
  const source = holdsLink ? label.value : (own as TxtAnswer)
  const picked = pickDnslink(source.records, source.name)
  if (picked.link === undefined) throw missing(at, picked, holdsLink && own ? own : undefined)

  const peers = pickProviders(own?.records ?? [], at)
  const problems = [...picked.problems, ...peers.problems]
  if (bare.status === 'rejected')
    problems.push(`TXT ${at}: could not be looked up for ipfsnode (${reason(bare.reason)})`)
  return {
    link: picked.link,
    providers: peers.providers,
    problems,
    expires: Math.min(label.value.expires, own?.expires ?? label.value.expires),
    partial: bare.status === 'rejected',
    authenticated: label.value.authenticated && own?.authenticated !== false
  }
}

/** Why there is no link: nothing there, or only records that are of no use. */
function missing(at: string, picked: ReturnType<typeof pickDnslink>, bare?: TxtAnswer): RegistryError {
  const seen = picked.problems.slice(0, 4).join('; ')
  const detail = { problems: picked.problems }
  if (picked.broken > 0)
    return new RegistryError(
      'SOURCE_FAILED',
      `the dnslink record of ${at} is of no use: ${seen}; its owner has to publish it again`,
      {
        detail
      }
    )
  const wanted = `looked for TXT "dnslink=/ipfs/<CID>" at ${LABEL}${at} and ${at}`
  const shadowed =
    bare !== undefined && pickDnslink(bare.records, at).link !== undefined
      ? `; the record at ${at} does not count, because ${LABEL}${at} has other TXT records`
      : ''
  const others = seen === '' ? '' : `; seen: ${seen}`
  return new RegistryError('NAME_UNKNOWN', `no dnslink record for ${at}: ${wanted}${shadowed}${others}`, {
    detail
  })
}

async function askIpns(
  name: string,
  options: {
    from: string
    resolveIpns?: ResolveIpns | undefined
    signal: AbortSignal
    hints: readonly string[]
  }
): Promise<{ link: Link; expires: number | undefined; providers: readonly string[] }> {
  const { from, resolveIpns, signal, hints } = options
  if (resolveIpns === undefined)
    throw new RegistryError(
      'SOURCE_FAILED',
      `${from} leads to the IPNS name ${name}, and this gateway does not resolve IPNS names; ` +
        'a record "dnslink=/ipfs/<CID>" would work'
    )
  let found: Awaited<ReturnType<ResolveIpns>>
  try {
    found = await unlessAborted(resolveIpns(name, { signal, hints }), signal)
  } catch (error) {
    signal.throwIfAborted()
    const code = isAbort(error) ? 'SOURCE_TIMEOUT' : 'SOURCE_FAILED'
    throw new Outage(
      code,
      `the IPNS name ${name} of ${from} did not resolve: ${reason(error)}; its publisher has to publish it again, or to start their gateway`,
      { cause: error }
    )
  }
  const { path, expires, providers } =
    typeof found === 'string' ? { path: found, expires: undefined, providers: [] } : found
  try {
    return { link: parseContentPath(path), expires, providers }
  } catch (error) {
    throw new RegistryError(
      'SOURCE_FAILED',
      `the IPNS name ${name} of ${from} is of no use: ${reason(error)}`
    )
  }
}
