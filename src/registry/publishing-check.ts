import { setTimeout as sleep } from 'node:timers/promises'
import {
  agrees,
  linkIn,
  PUBLISH_TTL,
  type RecordChange,
  type RecordSet,
  recordsAt,
  type Sight
} from '../discovery/index.ts'
import { RegistryError } from '../oci/errors.ts'
import type { ServerReport } from './publishing-types.ts'

/** How an operation says how far it is. */
export type Report = (report: { what: string; done: number; total?: number; unit: 'bytes' | 'items' }) => void

/** How often resolvers are looked at while they are waited for, in milliseconds. */
const LOOK_EVERY = 1000

/** Above this TTL, in seconds, a publisher is told what it costs. */
const LONG_TTL = 300

/**
 * Looks until all resolvers show what is to be published.
 *
 * @throws {RegistryError} SOURCE_TIMEOUT after `waitMs`, naming those that don't
 */
export async function untilSeen(
  domain: string,
  changes: readonly RecordChange[],
  options: { look: () => Promise<readonly Sight[]>; waitMs: number; signal: AbortSignal; report: Report }
): Promise<readonly ServerReport[]> {
  const end = Date.now() + options.waitMs
  for (;;) {
    const servers = reportsOf(domain, changes, await options.look())
    const done = servers.filter((server) => server.agrees).length
    options.report({ what: 'resolvers that see it', done, total: servers.length, unit: 'items' })
    if (done === servers.length) return servers
    if (Date.now() >= end) {
      const late = servers.filter((server) => !server.agrees).map(textOf)
      throw new RegistryError(
        'SOURCE_TIMEOUT',
        `not all resolvers see the records of ${domain} yet: ${late.join('; ')}`
      )
    }
    const pause = Math.min(LOOK_EVERY, Math.max(0, end - Date.now()))
    await sleep(pause, undefined, { signal: options.signal })
  }
}

/** What a resolver that could be asked says; `undefined` when none could. */
export function bestOf(sights: readonly Sight[]): readonly RecordSet[] | undefined {
  return sights.find(({ problem }) => problem === undefined)?.sets
}

/** What each resolver says, beside what is to be published. */
export function reportsOf(
  domain: string,
  changes: readonly RecordChange[],
  sights: readonly Sight[]
): ServerReport[] {
  return sights.map(({ server, sets, problem, authenticated }) => {
    if (problem !== undefined) return { server, agrees: false, problem }
    const link = linkIn(domain, sets)?.text
    const differs = changes.filter((change) => !agrees(domain, [change], sets)).map(({ prefix }) => prefix)
    const ttls = sets.flatMap(({ records }) => records.map(({ ttl }) => ttl))
    return {
      server,
      agrees: differs.length === 0,
      authenticated,
      ...(differs.length === 0 ? {} : { differs }),
      ...(link === undefined ? {} : { link }),
      ...(ttls.length === 0 ? {} : { ttl: Math.max(...ttls) })
    }
  })
}

function textOf({ server, link, differs, ttl, problem }: ServerReport): string {
  if (problem !== undefined) return `${server} can't be asked (${problem})`
  if (link === undefined) return `${server} has no record yet`
  const left = ttl === undefined ? '' : `, for up to ${ttl} s`
  if (differs?.includes('dnslink=') === true) return `${server} shows ${link}${left}`
  return `${server} does not show the record ${differs?.join()}… yet${left}`
}

/** What is said where the link leads to the IPNS record, and the peers are not as they should be beside it. */
export function peersAdvice({ name, prefix, record }: RecordChange): string {
  const what = record === undefined ? 'names peers, but there are none' : 'is not the one above'
  return `the record ${prefix}… at ${name} ${what}: gateways that ask no DHT find the IPNS record by it alone`
}

/** What a publisher should know about the times for which records are kept. */
export function adviceOn(
  sets: readonly RecordSet[],
  changes: readonly RecordChange[],
  ttl: number
): string[] {
  const advice: string[] = []
  for (const { name, prefix, ttl: asked } of changes) {
    const present = recordsAt(sets, name).filter(({ text }) => text.startsWith(prefix))
    const longest = Math.max(0, ...present.map((record) => record.ttl))
    if (longest > LONG_TTL)
      advice.push(
        `the record ${prefix}… at ${name} has a TTL of ${longest} s: resolvers that have it show a new one only after that${asked === undefined ? `; give it ${PUBLISH_TTL} s` : ''}`
      )
  }
  if (ttl > LONG_TTL)
    advice.push(
      `with a TTL of ${ttl} s, a new root is seen everywhere only after that; ${PUBLISH_TTL} s are advised`
    )
  return advice
}
