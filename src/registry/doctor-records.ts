import type { CID } from 'multiformats/cid'
import { linkIn, lookEverywhere, type Published, type Sight } from '../discovery/index.ts'
import { reason } from '../oci/errors.ts'
import { recordTrouble, serversDown, trouble } from './doctor-causes.ts'
import type { Fresh, FreshOptions } from './doctor-fresh.ts'
import { type Examination, rounded, StepFailed } from './doctor-steps.ts'
import type { DoctorPart, Trouble } from './doctor-types.ts'

/** What is known here of a domain. */
export interface LocalFacts {
  /** The root of its tree here. */
  root(domain: string): Promise<CID | undefined>
  had(domain: string, root: CID): Promise<boolean>
  /** The last good answer of DNS, with when it was confirmed (epoch ms). */
  lastGood(domain: string): Promise<(Omit<Published, 'domain' | 'stale'> & { at: number }) | undefined>
}

/** The share of a step's deadline that its own waits have, so that they say first what they waited for. */
const SHARE = 1.2

/** Asks each name server by itself. @returns whether any answers */
export async function askServers(
  exam: Examination,
  domain: string,
  options: FreshOptions
): Promise<true | undefined> {
  const { dnsServers: servers, dnsTimeoutMs: timeoutMs, log } = options
  return exam.step(
    'servers',
    timeoutMs * SHARE,
    async (signal) => {
      const names = [`_dnslink.${domain}`, domain]
      const sights = await lookEverywhere(names, { servers, log, timeoutMs, signal })
      const parts = sights.map((sight) => serverPart(domain, sight))
      const failing = parts.filter(({ ok }) => !ok)
      const words = failing.map(({ what, says }) => `${what}: ${says}`).join('; ')
      if (parts.length === 0) throw new StepFailed(serversDown('no name server is known'))
      if (failing.length === parts.length)
        throw new StepFailed(serversDown(`no name server answers (${words})`), { parts })
      const answers = parts.length - failing.length
      const says = `${answers} of ${parts.length} answer`
      if (failing.length > 0) return { says, parts, warning: serversDown(words), value: true }
      return { says, parts, warning: disagreement(domain, sights), value: true }
    },
    (error) => serversDown(reason(error))
  )
}

function serverPart(domain: string, { server, sets, problem, ms, authenticated }: Sight): DoctorPart {
  const says = problem ?? linkIn(domain, sets)?.text ?? 'has no dnslink record'
  return {
    what: server,
    ok: problem === undefined,
    says,
    ms: rounded(ms),
    ...(authenticated && { authenticated })
  }
}

function disagreement(domain: string, sights: readonly Sight[]): Trouble | undefined {
  const texts = new Set(sights.map(({ sets }) => linkIn(domain, sets)?.text ?? 'no dnslink record'))
  if (texts.size < 2) return undefined
  return trouble(
    'servers-differ',
    `the servers say different things: ${[...texts].join(', ')}`,
    "wait for the records' TTL; if it lasts, the zone's secondaries don't follow its primary"
  )
}

/** Follows the domain's records to a root, and the IPNS names on the way. */
export async function followRecords(
  exam: Examination,
  domain: string,
  facts: { fresh: Fresh; local: LocalFacts; options: FreshOptions; serversAnswer: boolean }
): Promise<Published | undefined> {
  const { fresh, local, options, serversAnswer } = facts
  const blame = (error: unknown): Trouble =>
    serversAnswer ? recordTrouble(domain, error) : serversDown(reason(error))
  let found: Published | undefined
  let lost: unknown

  /** The failure, and what pulls go on with where that is known. */
  async function fallBack(error: unknown, why: Trouble): Promise<StepFailed> {
    const kept = await local.lastGood(domain)
    if (kept === undefined) return new StepFailed(why)
    found = { ...kept, domain, stale: true }
    const since = new Date(kept.at).toISOString()
    const text = `${reason(error)}; pulls here go on with the last good answer, root ${kept.root} of ${since}`
    return new StepFailed({ ...why, why: text }, { stale: true })
  }

  await exam.step(
    'records',
    options.dnsTimeoutMs * SHARE,
    async (signal) => {
      const start = performance.now()
      const own = (): number => performance.now() - start - fresh.names.reduce((sum, { ms }) => sum + ms, 0)
      try {
        found = await fresh.discovery.resolve(domain, { signal })
      } catch (error) {
        signal.throwIfAborted()
        const last = fresh.names.at(-1)
        if (last?.problem !== undefined) {
          lost = error
          return { says: `${domain} → /ipns/${last.name}`, ms: own(), value: undefined }
        }
        throw serversAnswer ? error : await fallBack(error, blame(error))
      }
      const ttl = Math.max(0, Math.round((found.expires - Date.now()) / 1000))
      const parts = found.problems.map((says) => ({ what: 'not used', ok: false, says }))
      const warning = await recordWarning(found, local)
      return {
        says: `${found.chain.join(' → ')} (for ${ttl} s)`,
        parts,
        warning,
        ms: own(),
        value: undefined
      }
    },
    blame
  )
  if (fresh.names.length > 0)
    await examineNames(exam, fresh, () =>
      lost === undefined ? undefined : fallBack(lost, namesLost(domain, lost))
    )
  return found
}

async function examineNames(
  exam: Examination,
  fresh: Fresh,
  failed: () => Promise<StepFailed> | undefined
): Promise<void> {
  const parts = fresh.names.map(
    ({ name, ms, found, problem }): DoctorPart => ({
      what: `/ipns/${name}`,
      ok: problem === undefined,
      ms: rounded(ms),
      says: problem ?? `${found?.path} by record number ${found?.sequence}`
    })
  )
  await exam.step(
    'ipns',
    1000,
    async () => {
      const error = await failed()
      if (error !== undefined) throw new StepFailed(error.trouble, { parts, stale: error.stale })
      const ms = fresh.names.reduce((sum, look) => sum + look.ms, 0)
      return { says: `${parts.length} found`, parts, ms, value: undefined }
    },
    (error) => trouble('failed', reason(error), '')
  )
}

function namesLost(domain: string, error: unknown): Trouble {
  return trouble(
    'ipns-unresolved',
    reason(error),
    `on the gateway that has the key run 'seaway publish ${domain} --ipns', keep it running, and see that its addresses are in the record: ${domain} TXT "ipfsnode=[…]"`
  )
}

async function recordWarning(found: Published, local: LocalFacts): Promise<Trouble | undefined> {
  const { domain, root, path, problems } = found
  if (problems.length > 0)
    return trouble(
      'record-problems',
      problems.join('; '),
      `correct or remove what is not used; 'seaway publish ${domain}' prints the right records where the tree is`
    )
  const ours = path === '' ? await local.root(domain) : undefined
  if (ours === undefined || ours.equals(root)) return undefined
  return (await local.had(domain, root))
    ? trouble('behind', `the tree here is newer, at root ${ours}`, `run 'seaway publish ${domain}'`)
    : trouble(
        'behind',
        `the tree here, at root ${ours}, does not have what others have published since`,
        `run 'seaway sync ${domain}', then 'seaway publish ${domain}'`
      )
}
