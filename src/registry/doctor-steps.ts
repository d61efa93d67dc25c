import { isAbort, RegistryError, reason } from '../oci/errors.ts'
import type {
  Cause,
  Diagnosis,
  DoctorPart,
  DoctorReport,
  DoctorStep,
  StepName,
  Trouble
} from './doctor-types.ts'

/** What a step found. */
export interface Finding<T> {
  readonly says: string
  readonly parts?: readonly DoctorPart[]
  /** Instead of how long the step took, in milliseconds. */
  readonly ms?: number
  /** It works, but something is wrong with it. */
  readonly warning?: Trouble | undefined
  /** What the next steps need. */
  readonly value: T
}

/** A step has failed, and it is known why. */
export class StepFailed extends Error {
  override readonly name = 'StepFailed'
  readonly trouble: Trouble
  readonly parts: readonly DoctorPart[]
  /** What the next steps go on with is the last good answer. */
  readonly stale: boolean

  constructor(trouble: Trouble, options: { parts?: readonly DoctorPart[]; stale?: boolean } = {}) {
    super(trouble.why)
    this.trouble = trouble
    this.parts = options.parts ?? []
    this.stale = options.stale === true
  }
}

/** One examination: its steps, one after another. */
export interface Examination {
  /**
   * Does a step within `ms` milliseconds, and notes what came of it.
   *
   * @param blame what an error means that is no {@link StepFailed}
   * @returns what the next steps need; `undefined` when the step failed
   * @throws the signal's reason
   */
  step<T>(
    name: StepName,
    ms: number,
    work: (signal: AbortSignal) => Promise<Finding<T>>,
    blame: (error: unknown) => Trouble
  ): Promise<T | undefined>
  /** Notes steps that there is nothing left to do for. */
  skip(names: readonly StepName[], why: string): void
  /** Makes a failure with this cause a step that was skipped, since nothing depends on it. */
  forgive(cause: Cause, why: string): void
  diagnosis(): Diagnosis
}

/** What is shown while a step is under way. */
const TITLES: Record<StepName, string> = {
  listening: 'the gateway',
  data: 'the data folder',
  servers: 'name servers',
  addresses: 'own addresses',
  published: 'published domains',
  records: 'TXT records',
  ipns: 'IPNS name',
  peers: 'published addresses',
  root: 'root block',
  tree: 'registry tree',
  manifest: 'manifest',
  layers: 'first bytes of the layers',
  upstream: 'the registry that it is pulled from',
  upstreams: 'other registries'
}

/** @param total how many steps there will be */
export function createExamination(
  target: string,
  options: { signal: AbortSignal; report: DoctorReport; total: number }
): Examination {
  const { signal, report, total } = options
  const steps: DoctorStep[] = []

  return {
    async step(name, ms, work, blame) {
      signal.throwIfAborted()
      report({ what: TITLES[name], done: steps.length, total, unit: 'items' })
      const limit = AbortSignal.any([signal, AbortSignal.timeout(ms)])
      const start = performance.now()
      const note = (rest: Omit<DoctorStep, 'step' | 'ms'>, took = performance.now() - start): void =>
        void steps.push({ step: name, ms: rounded(took), ...rest })
      try {
        const { says, parts = [], ms: took, warning, value } = await work(limit)
        const state = warning === undefined ? 'ok' : 'warning'
        note({ state, says, parts, ...(warning && { trouble: warning }) }, took)
        return value
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof StepFailed) {
          const { parts, trouble, stale } = error
          note({ state: 'failed', says: reason(error), parts, ...(stale && { stale }), trouble })
          return undefined
        }
        const late = limit.aborted && !(error instanceof RegistryError)
        const trouble = late || isAbort(error) ? tooSlow(ms, blame(error)) : blame(error)
        note({ state: 'failed', says: trouble.why, parts: [], trouble })
        return undefined
      }
    },

    skip(names, why) {
      for (const step of names) steps.push({ step, state: 'skipped', ms: 0, says: why, parts: [] })
    },

    forgive(cause, why) {
      const at = steps.findIndex(({ state, trouble }) => state === 'failed' && trouble?.cause === cause)
      const found = steps[at]
      if (found !== undefined)
        steps[at] = { step: found.step, state: 'skipped', ms: found.ms, says: why, parts: found.parts }
    },

    diagnosis() {
      const failed = steps.find(({ state }) => state === 'failed')?.step
      return { version: 1, target, ok: failed === undefined, ...(failed && { failed }), steps }
    }
  }
}

/** Milliseconds, to a tenth. */
export function rounded(ms: number): number {
  return Math.round(ms * 10) / 10
}

function tooSlow(ms: number, { remedy }: Trouble): Trouble {
  return { cause: 'too-slow', why: `nothing came of it within ${ms} ms`, remedy }
}
