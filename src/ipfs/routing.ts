import type { Router as HeliaRouter } from '@helia/interface'
import type { Libp2p } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import { merged } from './merged.ts'
import type { NameRecord } from './name-records.ts'
import { dhtRouters, type Found, type Router } from './routers.ts'
import { serviceRouter } from './service-router.ts'

export type { Found } from './routers.ts'

/** Who has what, as the network tells it. */
export interface Routing {
  /**
   * Peers that are said to have `cid`, as they are found, each once, at most `limit` of them. Every source of
   * answers is asked at once; one that fails is logged and passed over.
   *
   * @throws the signal's reason, nothing else
   */
  find(cid: CID, options: { limit: number; signal: AbortSignal }): AsyncGenerator<Found>
  /**
   * Tells the network that we have `cid`: the peers of the DHT whose ids are nearest to it.
   *
   * @returns how many of them took note by the time that the signal is aborted.
   */
  provide(cid: CID, signal: AbortSignal): Promise<number>
  /** Whether anybody can be told at all. */
  readonly provides: boolean
  /**
   * Records of an IPNS name (a CID of a key) that services and DHTs have, unchecked, as they come; all are asked
   * at once.
   *
   * @throws the signal's reason, nothing else
   */
  records(name: CID, signal: AbortSignal): AsyncGenerator<NameRecord>
  /** Gives a record of an IPNS name to every service and DHT; says of each what came of it. */
  putRecord(
    name: CID,
    bytes: Uint8Array,
    signal: AbortSignal
  ): Promise<readonly { by: string; problem: string | undefined }[]>
  stop(): Promise<void>
}

/** Peers that bitswap is told of for one block. */
const MAX_PROVIDERS = 20

/** Makes the routing over the DHTs of a node, whatever there are of them, and HTTP services. */
export function createRouting(options: {
  libp2p: Libp2p
  delegatedRouters: readonly string[]
  /** For one answer of a service. */
  httpMs: number
  log: Log
}): Routing {
  const { libp2p, log } = options
  const dhts = dhtRouters(libp2p)
  const services = options.delegatedRouters.map((url) => serviceRouter(url, options.httpMs))
  const routers: readonly Router[] = [...dhts, ...services]

  return {
    provides: routers.some(({ provide }) => provide !== undefined),

    async *find(cid, { limit, signal }) {
      signal.throwIfAborted()
      const enough = new AbortController()
      const end = AbortSignal.any([signal, enough.signal])
      const streams = routers.map((router) => ({ name: router.name, answers: router.find(cid, end) }))
      const seen = new Set([libp2p.peerId.toString()])
      const failed = (name: string, error: unknown) => {
        if (!end.aborted)
          log.info({ router: name, cid: cid.toString(), cause: reason(error) }, 'router failed')
      }
      try {
        for await (const one of merged(streams, failed, end)) {
          const key = one.peer.toString()
          if (seen.has(key)) continue
          seen.add(key)
          yield one
          if (seen.size > limit) return
        }
        signal.throwIfAborted()
      } finally {
        enough.abort(new Error('found enough'))
      }
    },

    async provide(cid, signal) {
      const told = await Promise.all(
        routers.map(async (router) => {
          let count = 0
          try {
            for await (const _ of router.provide?.(cid, signal) ?? []) count++
          } catch (error) {
            log.debug({ router: router.name, cid: cid.toString(), err: reason(error) }, 'not provided')
          }
          return count
        })
      )
      return told.reduce((sum, count) => sum + count, 0)
    },

    async *records(name, signal) {
      signal.throwIfAborted()
      const enough = new AbortController()
      const end = AbortSignal.any([signal, enough.signal])
      const streams = routers.map((router) => ({ name: router.name, answers: router.records(name, end) }))
      const failed = (by: string, error: unknown) => {
        if (!end.aborted) log.debug({ router: by, name: name.toString(), cause: reason(error) }, 'no record')
      }
      try {
        yield* merged(streams, failed, end)
        signal.throwIfAborted()
      } finally {
        enough.abort(new Error('found enough'))
      }
    },

    putRecord: (name, bytes, signal) =>
      Promise.all(
        [...services, ...dhts].map(async (router) => {
          try {
            await router.putRecord(name, bytes, signal)
            return { by: router.name, problem: undefined }
          } catch (error) {
            return { by: router.name, problem: reason(error) }
          }
        })
      ),

    async stop() {
      for (const router of routers) await router.stop()
    }
  }
}

/** The routing as Helia wants it, for bitswap's last resort. */
export function heliaRouter(routing: Routing): HeliaRouter {
  return {
    name: 'seaway',
    async *findProviders(cid, options) {
      const signal = options?.signal ?? new AbortController().signal
      for await (const { peer, addresses, by } of routing.find(cid, { limit: MAX_PROVIDERS, signal }))
        yield { id: peer.toCID(), multiaddrs: addresses.map(multiaddr), router: by, fallback: false }
    }
  }
}
