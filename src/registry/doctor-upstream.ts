import { reason } from '../oci/errors.ts'
import type { ImageOfDomain } from '../oci/reference.ts'
import type { MirrorCheck, Upstream } from '../upstream/index.ts'
import { trouble } from './doctor-causes.ts'
import { type Examination, StepFailed } from './doctor-steps.ts'
import type { DoctorPart, Trouble } from './doctor-types.ts'

/** How long an upstream's servers may take, each with its token, in milliseconds. */
const CHECK_MS = 30_000

/** Asks the registry that a domain is pulled through from, as the running gateway does; `undefined` when none of its servers will do. */
export function askUpstream(
  exam: Examination,
  upstream: Upstream,
  { repository, tag }: Pick<ImageOfDomain, 'repository' | 'tag'>
): Promise<true | undefined> {
  const { domain } = upstream
  const image = repository === undefined ? undefined : { repository, reference: tag ?? 'latest' }
  return exam.step(
    'upstream',
    CHECK_MS,
    async (signal) => {
      if (upstream.policy.offline)
        return { says: 'it is set to be offline, and not asked (offline=yes)', value: true as const }
      const checks = await upstream.check(image, signal)
      const parts = checks.map(partOf)
      const good = checks.filter(({ fault }) => fault === undefined)
      const why = checks
        .filter(({ fault }) => fault !== undefined)
        .map(({ url, says }) => `${url}: ${says}`)
        .join('; ')
      const bad = checks.find(({ fault }) => fault !== undefined)
      const wrong = bad && troubleWith(domain, bad, why)
      if (good.length === 0 && wrong !== undefined) throw new StepFailed(wrong, { parts })
      const says = `${good.length} of ${checks.length} answer`
      return { says, parts, warning: wrong ?? nearLimit(checks), value: true as const }
    },
    (error) => trouble('upstream-down', reason(error), `look whether ${domain} can be reached from here`)
  )
}

/** What the registries that are pulled through said last, without asking them. */
export function lookAtUpstreams(
  exam: Examination,
  upstreams: readonly Upstream[]
): Promise<true | undefined> {
  return exam.step(
    'upstreams',
    CHECK_MS,
    async () => {
      const all = upstreams.flatMap((upstream) =>
        upstream.mirrors().map(({ url, failure, limits }) => ({ upstream, url, failure, limits }))
      )
      const asked = all.filter(
        ({ failure, limits }) => failure !== undefined || Object.keys(limits).length > 0
      )
      const parts = asked.map(
        ({ url, failure, limits }): DoctorPart => ({
          what: url,
          ok: failure === undefined,
          says: [failure ?? 'well', ...limitsIn(limits)].join('; ')
        })
      )
      const failing = parts.filter(({ ok }) => !ok)
      const names = upstreams.map(({ domain }) => domain)
      const says = `${names.length === 0 ? 'none is' : `${names.join(', ')} are`} pulled through`
      const why = failing.map(({ what, says: text }) => `${what}: ${text}`).join('; ')
      const warning =
        failing.length === 0
          ? undefined
          : trouble(
              'upstream-down',
              why,
              `'seaway doctor DOMAIN' asks one again; what is here is served meanwhile`
            )
      return { says, parts, warning, value: true as const }
    },
    (error) => trouble('failed', reason(error), 'try again')
  )
}

function partOf({ url, fault, says, ms, limits }: MirrorCheck): DoctorPart {
  return { what: url, ok: fault === undefined, says: [says, ...limitsIn(limits)].join('; '), ms }
}

/** `ratelimit-remaining: 76;w=21600`, as it was said. */
function limitsIn(limits: Readonly<Record<string, string>>): string[] {
  return Object.entries(limits).map(([name, value]) => `${name} ${value}`)
}

/** How many pulls are left, where a registry says so. */
function leftIn(limits: Readonly<Record<string, string>>): number | undefined {
  const left = /^\d+/.exec(limits['ratelimit-remaining'] ?? '')?.[0]
  return left === undefined ? undefined : Number(left)
}

function nearLimit(checks: readonly MirrorCheck[]): Trouble | undefined {
  const empty = checks.find(({ limits }) => leftIn(limits) === 0)
  return (
    empty &&
    trouble(
      'rate-limited',
      `${empty.url} gives no more pulls for now (${limitsIn(empty.limits).join(', ')})`,
      'log in with an account that may pull more (SEAWAY_UPSTREAM_AUTH), put a mirror before it (SEAWAY_UPSTREAMS), or raise SEAWAY_UPSTREAM_TTL; what is here is served'
    )
  )
}

function troubleWith(domain: string, { fault }: MirrorCheck, why: string): Trouble {
  if (fault === 'denied')
    return trouble(
      'upstream-denied',
      why,
      'set credentials that may pull it (SEAWAY_UPSTREAM_AUTH, or auth=)'
    )
  if (fault === 'unknown')
    return trouble('no-tag', why, 'look whether the image is called so, and is there yet')
  if (fault === 'busy')
    return trouble(
      'rate-limited',
      why,
      'wait, or log in with an account that may pull more (SEAWAY_UPSTREAM_AUTH)'
    )
  if (fault === 'wrong')
    return trouble(
      'upstream-wrong',
      why,
      `look whether the URLs of ${domain} in SEAWAY_UPSTREAMS lead to a registry`
    )
  return trouble(
    'upstream-down',
    why,
    `look whether ${domain} can be reached from here (HTTPS_PROXY, ca=, the URL in SEAWAY_UPSTREAMS)`
  )
}
