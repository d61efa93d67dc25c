import { reason } from '../oci/errors.ts'
import { type Fault, UpstreamError } from './failure.ts'
import type { Mirror } from './mirror.ts'

/** What one server of an upstream says when it is asked. */
export interface MirrorCheck {
  readonly url: string
  /** What is wrong; nothing if it gave what was asked for, or isn't expected to have it. */
  readonly fault?: Fault
  readonly says: string
  /** In milliseconds, the token's included. */
  readonly ms: number
  /** What it said of how often it may be asked. */
  readonly limits: Readonly<Record<string, string>>
}

/** A manifest that is asked for by HEAD, which no registry counts as a pull. */
export interface Checked {
  readonly repository: string
  readonly reference: string
  /** Whether a registry that is well may lack it. */
  readonly mayLack: boolean
}

/** Asks all servers of an upstream at once. @throws the signal's reason */
export function checkMirrors(
  mirrors: readonly Mirror[],
  { repository, reference, mayLack }: Checked,
  signal: AbortSignal
): Promise<MirrorCheck[]> {
  const path = `manifests/${reference}`
  return Promise.all(
    mirrors.map(async (mirror): Promise<MirrorCheck> => {
      const start = performance.now()
      const done = (says: string, fault?: Fault): MirrorCheck => ({
        url: mirror.url.href,
        says,
        ms: performance.now() - start,
        limits: mirror.limits,
        ...(fault !== undefined && { fault })
      })
      try {
        const reply = await mirror.ask({
          method: 'HEAD',
          repository,
          path,
          headers: { accept: '*/*' },
          signal
        })
        reply.body.resume()
        return done(mayLack ? 'it answers' : `it has ${repository}:${reference}`)
      } catch (error) {
        signal.throwIfAborted()
        const fault = error instanceof UpstreamError ? error.fault : 'down'
        return mayLack && fault === 'unknown' ? done('it answers') : done(reason(error), fault)
      }
    })
  )
}
