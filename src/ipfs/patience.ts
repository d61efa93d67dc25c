import { RegistryError } from '../oci/errors.ts'

/** Ends what comes too slowly to be waited for, where it can be had elsewhere. */
export interface Patience {
  /** For whoever brings it: aborted with the one given, and when a thing takes too long. */
  readonly signal: AbortSignal
  /**
   * What `source` yields. The time counts while the next thing is waited for, and not while one is made use of.
   *
   * @throws {RegistryError} SOURCE_TIMEOUT when one takes longer; what `source` throws
   */
  watch<T>(source: AsyncIterable<T>): AsyncGenerator<T>
}

/** @param ms how long each thing may take, in milliseconds */
export function createPatience(ms: number, signal: AbortSignal): Patience {
  const late = new AbortController()
  return {
    signal: AbortSignal.any([signal, late.signal]),
    async *watch(source) {
      const wait = () =>
        setTimeout(() => {
          late.abort(new RegistryError('SOURCE_TIMEOUT', `it comes too slowly: nothing for ${ms} ms`))
        }, ms)
      let timer = wait()
      try {
        for await (const one of source) {
          clearTimeout(timer)
          yield one
          timer = wait()
        }
      } catch (error) {
        signal.throwIfAborted()
        throw late.signal.aborted ? late.signal.reason : error
      } finally {
        clearTimeout(timer)
      }
    }
  }
}
