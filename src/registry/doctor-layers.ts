import type { ContentWay } from '../ipfs/index.ts'
import type { Digest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import type { Manifest } from '../oci/manifest.ts'
import { missing } from './doctor-causes.ts'
import type { Found, Known } from './doctor-content.ts'
import { type Examination, rounded, StepFailed } from './doctor-steps.ts'
import type { DoctorPart } from './doctor-types.ts'

/** How many layers are looked at. */
const MAX_LAYERS = 32

/** The ways in which a layer's first bytes are fetched, the fastest first. */
const WAYS: readonly ContentWay[] = ['http', 'stream', 'bitswap']

/** The first bytes of the config and of each layer, by each way that some peer offers. */
export function fetchFirstBytes(
  exam: Examination,
  { found, fresh, options, pullMs }: Known,
  place: Found,
  manifest: Manifest
): Promise<true | undefined> {
  const { domain } = found
  const digests = [...new Set(manifest.blobs.map(({ digest }) => digest))]
  const looked = digests.slice(0, MAX_LAYERS)
  // a silent way costs its deadline, and there may be three of them for each
  const eachMs = Math.min(pullMs, 2 * options.node.timeouts.blockMs)
  return exam.step(
    'layers',
    pullMs + looked.length * WAYS.length * eachMs,
    async (signal) => {
      const parts: DoctorPart[] = []
      for (const digest of looked) parts.push(...(await firstBytes(digest, signal)))
      const lost = looked.filter((digest) => !parts.some(({ what, ok }) => what === digest && ok))
      const failing = parts.filter(({ ok }) => !ok)
      const words = failing.map(
        ({ what, way, says }) => `${what}${way === undefined ? '' : ` by ${way}`}: ${says}`
      )
      if (lost.length > 0)
        throw new StepFailed(
          missing('layer-missing', domain, `no peer gives ${lost.join(', ')} (${words.join('; ')})`),
          { parts }
        )
      const rest =
        digests.length > looked.length ? `; ${digests.length - looked.length} more not looked at` : ''
      const says = `${looked.length} of ${digests.length} begin to arrive${rest}`
      const warning = failing.length === 0 ? undefined : missing('source-failed', domain, words.join('; '))
      return { says, parts, warning, value: true }
    },
    (error) => missing('layer-missing', domain, reason(error))
  )

  async function firstBytes(digest: Digest, signal: AbortSignal): Promise<DoctorPart[]> {
    await place.view.ahead(place.name, { blob: digest }, signal)
    const link = await place.view.blob(digest, signal).catch((error: unknown) => {
      signal.throwIfAborted()
      return reason(error)
    })
    if (typeof link === 'string') return [{ what: digest, ok: false, says: link }]
    if (link === undefined) return [{ what: digest, ok: false, says: 'the tree does not hold it' }]
    const peers = await place.peers(signal, link.cid)
    const parts: DoctorPart[] = []
    for (const way of WAYS) {
      const start = performance.now()
      const limit = AbortSignal.any([signal, AbortSignal.timeout(eachMs)])
      const ms = (): number => rounded(performance.now() - start)
      try {
        const bytes = await fresh.ipfs.probe.firstLeaf(link.cid, way, { peers, signal: limit })
        if (bytes !== undefined) parts.push({ what: digest, way, ok: true, says: `${bytes} bytes`, ms: ms() })
      } catch (error) {
        signal.throwIfAborted()
        const says = limit.aborted ? `nothing within ${eachMs} ms` : reason(error)
        parts.push({ what: digest, way, ok: false, says, ms: ms() })
      }
    }
    return parts.length > 0
      ? parts
      : [{ what: digest, ok: false, says: 'nobody is there who could be asked' }]
  }
}
