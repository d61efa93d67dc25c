import { UpstreamError } from '../upstream/failure.ts'
import { MoveError, Refused } from './types.ts'

/**
 * What a registry's refusal says to whoever moves images, in one line; any other failure goes on as it is.
 *
 * @param name what was asked for, for people
 * @param host what one logs in to
 */
export function asMoveError(error: unknown, name: string, host: string): unknown {
  if (!(error instanceof UpstreamError)) return error
  const { fault, status, said } = error
  const words = said ?? WORDS[status ?? 0]
  const message = words === undefined ? error.message : words.startsWith(name) ? words : `${name}: ${words}`
  if (fault === 'denied') {
    const login =
      status === 403
        ? `docker login ${host} as somebody who may`
        : `docker login ${host} lets you in, if you may`
    return new Refused(`${message}; ${login}`, { cause: error })
  }
  if (fault === 'unknown') {
    // other registries say no more than that
    const bare = said !== undefined && /^[\w ]*\b(?:unknown|not known|not found)[\w ]*$/i.test(said)
    const more = bare ? '; seaway tags lists what there is' : ''
    return new Refused(`${message}${more}`, { unknown: true, cause: error })
  }
  const final = status !== undefined && status !== 408 && status !== 429 && (status < 500 || status === 507)
  return final ? new Refused(message, { cause: error }) : new MoveError(message, { cause: error })
}

/** Whether a registry refused somebody the right. */
export const isDenied = (error: unknown): boolean =>
  error instanceof Refused && error.cause instanceof UpstreamError && error.cause.fault === 'denied'

const WORDS: Readonly<Record<number, string>> = {
  401: 'it asks for a login',
  403: 'it refuses access',
  404: 'it has no such image; seaway images and seaway tags list what there is',
  413: 'it takes no content of that size',
  429: 'it is asked too often; try again later',
  507: 'its disk is full'
}
