import { displayName, type ImageOfDomain } from '../oci/reference.ts'
import type { Upstreams } from '../upstream/index.ts'
import { fetchManifest, fetchRoot, openRepository } from './doctor-content.ts'
import { type Fresh, type FreshOptions, openFresh } from './doctor-fresh.ts'
import { examineGateway, type GatewayFacts, type Listening } from './doctor-gateway.ts'
import { fetchFirstBytes } from './doctor-layers.ts'
import { dialAddresses } from './doctor-peers.ts'
import { askServers, followRecords, type LocalFacts } from './doctor-records.ts'
import { createExamination, type Examination } from './doctor-steps.ts'
import type { Diagnosis, DoctorReport, StepName } from './doctor-types.ts'
import { askUpstream, lookAtUpstreams } from './doctor-upstream.ts'

/** Finds out what keeps a pull, or this gateway, from working. */
export interface Doctor {
  /**
   * Looks at a domain as somebody does who pulls from it for the first time: with rooms of its own, which know
   * nothing and keep nothing. Without a domain, at the gateway itself.
   */
  examine(
    request: Partial<ImageOfDomain>,
    options: { signal: AbortSignal; report: DoctorReport }
  ): Promise<Diagnosis>
  /** What the gateway says of itself once it listens; without it none runs. */
  listening(facts: Listening): void
}

/** What is looked for where a domain publishes a tree. */
const IN_IPFS: readonly StepName[] = ['servers', 'records', 'peers', 'root', 'tree', 'manifest', 'layers']

/** How many steps there are at most. */
const DOMAIN_STEPS = 9
const GATEWAY_STEPS = 6

/** @param options.pullMs for what a pull waits at most, in milliseconds */
export function createDoctor(options: {
  fresh: FreshOptions
  pullMs: number
  local: LocalFacts
  gateway: Omit<GatewayFacts, 'listening'>
  /** Other registries, as the gateway asks them; none unless given. */
  upstreams?: Pick<Upstreams, 'of' | 'all' | 'canonical' | 'domainOf'> | undefined
}): Doctor {
  const { fresh: settings, pullMs, local } = options
  let listening: Listening | undefined

  async function image(exam: Examination, wanted: ImageOfDomain, fresh: Fresh): Promise<void> {
    const { domain } = wanted
    const answers = await askServers(exam, domain, settings)
    const facts = { fresh, local, options: settings, serversAnswer: answers === true }
    const found = await followRecords(exam, domain, facts)
    const rest = (from: StepName, why: string): void => {
      const steps: StepName[] = ['peers', 'root', 'tree', 'manifest', 'layers']
      exam.skip(steps.slice(steps.indexOf(from)), why)
    }
    if (found === undefined) return rest('peers', 'no root is known')
    const known = { found, fresh, options: settings, pullMs }
    if ((await dialAddresses(exam, found, known)) === undefined) return rest('root', 'nobody can be asked')
    if ((await fetchRoot(exam, known)) === undefined) return rest('tree', 'there is no root to begin from')
    const place = await openRepository(exam, known, wanted)
    if (place === undefined) return rest('manifest', 'no repository was found')
    const manifest = await fetchManifest(exam, known, place, wanted.tag)
    if (manifest === undefined) return rest('layers', 'no manifest says which they are')
    await fetchFirstBytes(exam, known, place, manifest)
  }

  /** What an upstream calls a repository. */
  const below = ({ domain = '', repository }: Partial<ImageOfDomain>): string | undefined =>
    repository === undefined
      ? undefined
      : (options.upstreams?.canonical({ asked: repository, place: { kind: 'domain', domain }, repository })
          .repository ?? repository)

  /** Those that are the operator's to publish: not those that are pulled through. */
  async function* ownDomains(): AsyncGenerator<string> {
    for await (const domain of options.gateway.domains())
      if (options.upstreams?.of(domain) === undefined) yield domain
  }

  return {
    async examine(request, { signal, report }) {
      await using stack = new AsyncDisposableStack()
      const { domain, repository, tag } = request
      if (domain === undefined) {
        const exam = createExamination('gateway', { signal, report, total: GATEWAY_STEPS })
        const facts = { ...options.gateway, domains: ownDomains, listening }
        await examineGateway(exam, facts, { fresh: () => openFresh(settings, stack), options: settings })
        if (options.upstreams !== undefined) await lookAtUpstreams(exam, options.upstreams.all())
        return exam.diagnosis()
      }
      const target = repository === undefined ? domain : displayName(domain, repository)
      const named = tag === undefined ? target : `${target}:${tag}`
      const exam = createExamination(named, { signal, report, total: DOMAIN_STEPS })
      const upstream = options.upstreams?.of(options.upstreams.domainOf(domain) ?? domain)
      if (upstream !== undefined) await askUpstream(exam, upstream, { repository: below(request), tag })
      if (upstream?.policy.published === false)
        exam.skip(IN_IPFS, 'it is not looked for in DNS (published=no)')
      else await image(exam, { ...request, domain }, await openFresh(settings, stack))
      if (upstream !== undefined)
        exam.forgive('no-record', 'it publishes no tree, so its images come from there')
      return exam.diagnosis()
    },
    listening(facts) {
      listening = facts
    }
  }
}
