import type { Context } from 'koa'
import type { RepositoryName } from '../oci/reference.ts'
import { type Meters, NOBODY, ownerOf } from '../registry/index.ts'
import { type Traffic, trafficOf } from './http2.ts'
import { type Naming, repositoryOf } from './request.ts'

/** Counts what clients send and get, as it passes their connections. */
export interface ClientMeter {
  /** Counts a request from now to its end; `name` is the repository that it is about, if it is about one. */
  watch(ctx: Context, name: RepositoryName | undefined): void
}

/** What of a connection has been counted. */
interface Counted {
  read: number
  written: number
}

/**
 * Bytes of a connection are counted for the request that is being answered on it: headers and bodies, as they
 * were read and handed to the system. What goes on for long is counted as it goes. With HTTP/2, where requests share
 * a connection at the same time, it is the bodies alone.
 */
export function createClientMeter(meters: Meters): ClientMeter {
  const counted = new WeakMap<Traffic, Counted>()
  const active = new Set<() => void>()
  meters.onFlush(() => {
    for (const sample of active) sample()
  })

  return {
    watch(ctx, name) {
      const traffic = trafficOf(ctx.req, ctx.res)
      const before = counted.get(traffic) ?? { read: 0, written: 0 }
      counted.set(traffic, before)
      const owner = name === undefined ? NOBODY : ownerOf(name)
      const sample = () => {
        // A name that nobody has here gets no row of its own.
        const refused = ctx.res.headersSent && ctx.res.statusCode >= 400
        const { bytesRead, bytesWritten } = traffic
        const fromClients = bytesRead - before.read
        const toClients = bytesWritten - before.written
        if (fromClients === 0 && toClients === 0) return
        before.read = bytesRead
        before.written = bytesWritten
        meters.add(refused ? NOBODY : owner, { fromClients, toClients })
      }
      active.add(sample)
      ctx.res.once('close', () => {
        active.delete(sample)
        sample()
      })
    }
  }
}

/** The repository that a request is about, by the name in its path; none where there is none, or a bad one. */
export function repositoryIn(ctx: Context, naming: Naming): RepositoryName | undefined {
  try {
    return ctx['params']?.name === undefined ? undefined : repositoryOf(ctx, naming)
  } catch {
    return undefined // whoever answers says what is wrong with it
  }
}
