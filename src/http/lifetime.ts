import type { ServerResponse } from 'node:http'
import { RegistryError } from '../oci/errors.ts'
import { hasBody } from './http2.ts'

/** Makes a request's signal. `deadlineMs` bounds its waiting for others, where it has a bound. */
export type Lifetime = (response: ServerResponse, deadlineMs: number | undefined) => AbortSignal

/**
 * Signals that abort when the client goes away, when the deadline passes, or at shutdown.
 *
 * One controller a request, which is forgotten with it: `AbortSignal.any` over a signal that lives as long
 * as the process leaves something behind at each call, and a timeout signal lives on to its end.
 */
export function createLifetimes(stopping: AbortSignal): Lifetime {
  const live = new Set<AbortController>()
  stopping.addEventListener('abort', () => {
    for (const controller of live) controller.abort(stopping.reason)
  })
  return (response, deadlineMs) => {
    const controller = new AbortController()
    if (stopping.aborted) {
      controller.abort(stopping.reason)
      return controller.signal
    }
    live.add(controller)
    let timer: NodeJS.Timeout | undefined
    const begin = () => {
      const late = () => controller.abort(new DOMException('the deadline passed', 'TimeoutError'))
      timer = setTimeout(late, deadlineMs)
    }
    // A body that takes its time is not a wait for others.
    if (deadlineMs !== undefined) {
      if (hasBody(response.req)) response.req.once('end', begin)
      else begin()
    }
    response.once('close', () => {
      live.delete(controller)
      clearTimeout(timer)
      if (!response.writableFinished)
        controller.abort(new RegistryError('UNAVAILABLE', 'the client went away'))
    })
    return controller.signal
  }
}
