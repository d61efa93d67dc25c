import type { Published } from '../discovery/index.ts'
import { ProbeFailure, type ProbeKind } from '../ipfs/index.ts'
import { reason } from '../oci/errors.ts'
import { noPeers, unreachable } from './doctor-causes.ts'
import type { Fresh, FreshOptions } from './doctor-fresh.ts'
import { type Examination, rounded, StepFailed } from './doctor-steps.ts'
import type { DoctorPart } from './doctor-types.ts'

/** How many addresses are dialled at a time. */
const AT_ONCE = 4

/** The share of a step's deadline that its own waits have, so that they say first what they waited for. */
const SHARE = 1.2

/** Dials each published address by itself. @returns whether there is anybody to ask */
export async function dialAddresses(
  exam: Examination,
  found: Published,
  { fresh, options }: { fresh: Fresh; options: FreshOptions }
): Promise<true | undefined> {
  const { domain, providers } = found
  const turns = Math.ceil(providers.length / AT_ONCE)
  return exam.step(
    'peers',
    (turns + 1) * options.node.timeouts.dialMs * SHARE,
    async (signal) => {
      if (providers.length === 0) throw new StepFailed(noPeers(domain, found.problems))
      const parts = await probeAll(fresh, providers, signal)
      const failing = parts.filter(({ ok }) => !ok)
      const says = `${parts.length - failing.length} of ${parts.length} can be reached`
      const [first] = failing
      if (first === undefined) return { says, parts, value: true }
      const why = failing.map(({ what, says: text }) => `${what}: ${text}`).join('; ')
      const warning = unreachable(domain, why, first.kind ?? 'failed')
      // the network may know others
      if (failing.length < parts.length || options.node.routing === 'public')
        return { says, parts, warning, value: true }
      throw new StepFailed({ ...warning, why: `no published address can be reached: ${why}` }, { parts })
    },
    (error) => unreachable(domain, reason(error), 'failed')
  )
}

/** Tries addresses, a few at a time, each by itself. */
export async function probeAll(
  fresh: Fresh,
  addresses: readonly string[],
  signal: AbortSignal
): Promise<DoctorPart[]> {
  const parts: DoctorPart[] = []
  const next = addresses.entries()
  const work = async (): Promise<void> => {
    for (const [index, what] of next) {
      const start = performance.now()
      const since = (): number => rounded(performance.now() - start)
      try {
        await fresh.ipfs.probe.address(what, signal)
        parts[index] = { what, ok: true, says: 'answers', ms: since() }
      } catch (error) {
        signal.throwIfAborted()
        parts[index] = { what, ok: false, says: reason(error), kind: kindOf(error), ms: since() }
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  return parts
}

function kindOf(error: unknown): ProbeKind {
  return error instanceof ProbeFailure ? error.kind : 'failed'
}
