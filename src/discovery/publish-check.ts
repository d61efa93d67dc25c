import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import { type Link, pickDnslink } from './dnslink.ts'
import { pickProviders } from './ipfsnode.ts'
import { type RecordChange, type RecordSet, recordsAt } from './publish.ts'
import { createResolver } from './resolver.ts'
import { serverList } from './server.ts'

/** What one resolver says about a domain, asked just now and past every cache of ours. */
export interface Sight {
  /** `host:port` */
  readonly server: string
  readonly sets: readonly RecordSet[]
  /** Why it could not be asked. */
  readonly problem: string | undefined
  /** How long it took, in milliseconds. */
  readonly ms: number
  /** Whether it says that it validated the answers with DNSSEC. */
  readonly authenticated: boolean
}

/** Looks at the records of `names` through every configured name server at once; each answers for itself. */
export async function lookEverywhere(
  names: readonly string[],
  options: { servers: readonly string[]; log: Log; timeoutMs: number; signal: AbortSignal }
): Promise<readonly Sight[]> {
  const labels = serverList(options.servers)().map(({ label }) => label)
  const sights = await Promise.all(labels.map((server) => lookAt(server, names, options)))
  options.signal.throwIfAborted()
  return sights
}

async function lookAt(
  server: string,
  names: readonly string[],
  options: { log: Log; timeoutMs: number; signal: AbortSignal }
): Promise<Sight> {
  const { log, timeoutMs, signal } = options
  // one of its own, since its cache is as old as it is
  const resolver = createResolver({ servers: [server], log, timeoutMs })
  const start = performance.now()
  const since = (): number => performance.now() - start
  try {
    const answers = await Promise.all(names.map((name) => resolver.txt(name, { signal })))
    const sets = answers.map(({ records, expires }, i) => {
      const ttl = Math.max(0, Math.ceil((expires - Date.now()) / 1000))
      return { name: names[i] ?? '', records: records.map((text) => ({ text, ttl })) }
    })
    const authenticated = answers.every((answer) => answer.authenticated)
    return { server, sets, problem: undefined, ms: since(), authenticated }
  } catch (error) {
    return { server, sets: [], problem: reason(error), ms: since(), authenticated: false }
  } finally {
    await resolver.stop()
  }
}

/** Where the records of a domain lead, by the rules that pulls follow: `_dnslink.` hides the bare name. */
export function linkIn(domain: string, sets: readonly RecordSet[]): { link: Link; text: string } | undefined {
  for (const name of [`_dnslink.${domain}`, domain]) {
    const texts = recordsAt(sets, name).map((record) => record.text)
    const { link, text } = pickDnslink(texts, name)
    if (link !== undefined && text !== undefined) return { link, text }
    if (texts.length > 0) return undefined
  }
  return undefined
}

/** Whether a reader of these records finds what the changes say: the link, and the peers in any order and form. */
export function agrees(
  domain: string,
  changes: readonly RecordChange[],
  sets: readonly RecordSet[]
): boolean {
  return changes.every(({ name, prefix, record }) => {
    if (prefix === 'dnslink=') return linkIn(domain, sets)?.text === record?.value
    const peers = (texts: readonly string[]): string => pickProviders(texts, name).providers.toSorted().join()
    const wanted = peers(record === undefined ? [] : [record.value])
    return peers(recordsAt(sets, name).map(({ text }) => text)) === wanted
  })
}
