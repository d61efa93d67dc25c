import type { IncomingMessage, ServerResponse } from 'node:http'
import { RegistryError } from '../oci/errors.ts'
import { errorBody } from './errors.ts'
import { hasBody, trafficOf } from './http2.ts'

/** The least that a body must bring on average over the time a client may be silent, in bytes a second. */
const MIN_RATE = 512

/** In how many steps the time is watched. */
const STEPS = 4

/**
 * Answers 408 and closes when a body stops, or comes so slowly that it could hold its connection and
 * its upload for ever: less than {@link MIN_RATE} over `idleMs`. Time in which the gateway itself is
 * behind does not count.
 */
export function watchBody(request: IncomingMessage, response: ServerResponse, idleMs: number): void {
  if (!hasBody(request)) return
  const least = (MIN_RATE * idleMs) / 1000
  const traffic = trafficOf(request, response)
  let marks = [traffic.bytesRead]
  const timer = setInterval(() => {
    const read = traffic.bytesRead
    if (request.complete) clearInterval(timer)
    // What has arrived and isn't taken shows that the client is not the one who is waited for.
    else if (request.readableLength > 0) marks = [read]
    else if (marks.length < STEPS) marks.push(read)
    else if (read - (marks.shift() ?? 0) >= least) marks.push(read)
    else {
      clearInterval(timer)
      refuse(request, response, idleMs)
    }
  }, idleMs / STEPS)
  timer.unref()
  response.once('close', () => {
    clearInterval(timer)
    // What is left of the body after the answer is thrown away, and not for as long as the client likes.
    if (!request.complete) setTimeout(() => request.complete || request.destroy(), idleMs).unref()
  })
}

function refuse(request: IncomingMessage, response: ServerResponse, idleMs: number): void {
  if (response.headersSent) {
    request.destroy()
    return
  }
  const error = new RegistryError(
    'REQUEST_TIMEOUT',
    `the body stopped, or came too slowly: at least ${MIN_RATE} bytes a second are needed over ${idleMs / 1000} s`
  )
  const body = JSON.stringify(errorBody(error))
  response.writeHead(error.status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(body),
    ...(request.httpVersionMajor === 1 && { Connection: 'close' })
  })
  // The handler hears that the body broke off, and keeps what it got.
  response.end(body, () => request.destroy())
}
