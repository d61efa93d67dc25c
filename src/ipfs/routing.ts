import { setTimeout as sleep } from 'node:timers/promises'
import {
  type DelegatedRoutingV1HttpApiClient,
  delegatedRoutingV1HttpApiClient
} from '@helia/delegated-routing-v1-http-api-client'
import type { Router as HeliaRouter } from '@helia/interface'
import type { Libp2p, PeerId } from '@libp2p/interface'
import type { SingleKadDHT } from '@libp2p/kad-dht'
import { peerIdFromCID } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import { type NameRecord, putIntoDht, recordsInDht } from './name-records.ts'

/** A peer that is said to have something, with the addresses that are known of it. */
export interface Found {
  readonly peer: PeerId
  /** Multiaddrs that end in the peer's id. */
  readonly addresses: readonly string[]
  /** Who says so. */
  readonly by: string
}

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

/** How long a DHT has to be entered after the start, and how often that is looked at, in milliseconds. */
const ENTER_MS = 10_000
/** How long one is waited for when the other is entered already. */
const OTHER_MS = 1500
const LOOK_MS = 100

/** Addresses of one peer that are looked at. */
const MAX_ADDRESSES = 16

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
  const services = libp2p.services as { dht?: SingleKadDHT; lanDht?: SingleKadDHT }
  const dhts = Object.entries({ DHT: services.dht, 'local DHT': services.lanDht }).flatMap(([name, dht]) =>
    dht === undefined ? [] : [{ name, dht }]
  )
  const clients = options.delegatedRouters.map((url) => ({
    url,
    client: delegatedRoutingV1HttpApiClient({
      // paths are written behind it as it is
      url: url.endsWith('/') ? url : `${url}/`,
      timeout: options.httpMs,
      cacheTTL: 0
    })({ logger: libp2p.logger })
  }))

  const entered = Date.now() + ENTER_MS

  /** Whether the DHT knows anybody, after a while in which it may get to; one that doesn't would wait for that for ever. */
  async function ready(dht: SingleKadDHT, signal: AbortSignal): Promise<boolean> {
    const began = Date.now()
    while (dht.routingTable.size === 0) {
      const other = dhts.some((one) => one.dht.routingTable.size > 0) && Date.now() - began > OTHER_MS
      if (other || Date.now() > entered) return false
      await sleep(LOOK_MS, undefined, { signal, ref: false })
    }
    return true
  }

  async function* fromDht(
    name: string,
    dht: SingleKadDHT,
    cid: CID,
    signal: AbortSignal
  ): AsyncGenerator<Found> {
    if (!(await ready(dht, signal))) return
    for await (const event of dht.findProviders(cid, { signal })) {
      if (event.name !== 'PROVIDER') continue
      for (const { id, multiaddrs } of event.providers) yield found(id, multiaddrs.map(String), name)
    }
  }

  async function* fromService(
    url: string,
    client: DelegatedRoutingV1HttpApiClient,
    cid: CID,
    signal: AbortSignal
  ): AsyncGenerator<Found> {
    for await (const { ID, Addrs } of client.getProviders(cid, { signal }))
      yield found(peerIdFromCID(ID), Addrs.map(String), url)
  }

  async function* recordsFromDht(
    by: string,
    dht: SingleKadDHT,
    name: CID,
    signal: AbortSignal
  ): AsyncGenerator<NameRecord> {
    if (await ready(dht, signal)) yield* recordsInDht(by, dht, name, signal)
  }

  async function* recordFrom(
    by: string,
    client: DelegatedRoutingV1HttpApiClient,
    name: CID,
    signal: AbortSignal
  ): AsyncGenerator<NameRecord> {
    // the service is the operator's choice, and checks nothing that isn't checked again
    yield { by, bytes: await client.getIPNS(name, { signal }) }
  }

  return {
    provides: dhts.length > 0,

    async *find(cid, { limit, signal }) {
      signal.throwIfAborted()
      const enough = new AbortController()
      const end = AbortSignal.any([signal, enough.signal])
      const sources = [
        ...dhts.map(({ name, dht }) => ({ name, answers: fromDht(name, dht, cid, end) })),
        ...clients.map(({ url, client }) => ({ name: url, answers: fromService(url, client, cid, end) }))
      ]
      const seen = new Set([libp2p.peerId.toString()])
      const failed = (name: string, error: unknown) => {
        if (!end.aborted)
          log.info({ router: name, cid: cid.toString(), cause: reason(error) }, 'router failed')
      }
      try {
        for await (const one of merged(sources, failed, end)) {
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
        dhts.map(async ({ name, dht }) => {
          let count = 0
          try {
            if (!(await ready(dht, signal))) return 0
            for await (const event of dht.provide(cid, { signal })) {
              if (event.name === 'PEER_RESPONSE' && event.messageName === 'ADD_PROVIDER') count++
            }
            await dht.cancelReprovide(cid)
          } catch (error) {
            log.debug({ router: name, cid: cid.toString(), err: reason(error) }, 'not provided')
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
      const sources = [
        ...dhts.map(({ name: by, dht }) => ({ name: by, answers: recordsFromDht(by, dht, name, end) })),
        ...clients.map(({ url, client }) => ({ name: url, answers: recordFrom(url, client, name, end) }))
      ]
      const failed = (by: string, error: unknown) => {
        if (!end.aborted) log.debug({ router: by, name: name.toString(), cause: reason(error) }, 'no record')
      }
      try {
        yield* merged(sources, failed, end)
        signal.throwIfAborted()
      } finally {
        enough.abort(new Error('found enough'))
      }
    },

    async putRecord(name, bytes, signal) {
      const into = async (by: string, put: () => Promise<void>) => {
        try {
          await put()
          return { by, problem: undefined }
        } catch (error) {
          return { by, problem: reason(error) }
        }
      }
      return Promise.all([
        ...clients.map(({ url, client }) => into(url, () => client.putIPNS(name, bytes, { signal }))),
        ...dhts.map(({ name: by, dht }) =>
          into(by, async () => {
            const took = (await ready(dht, signal)) ? await putIntoDht(dht, name, bytes, signal) : 0
            if (took === 0) throw new Error('no peer of it took the record')
          })
        )
      ])
    },

    async stop() {
      for (const { client } of clients) await client.stop()
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

function found(peer: PeerId, addresses: readonly string[], by: string): Found {
  const id = `/p2p/${peer.toString()}`
  const full = addresses
    .slice(0, MAX_ADDRESSES)
    .map((text) => (text.endsWith(id) ? text : `${text.replace(/\/$/, '')}${id}`))
  return { peer, by, addresses: full }
}

/** What several sources yield, as it comes, until all have ended or the signal says so. */
async function* merged<T>(
  sources: readonly { name: string; answers: AsyncGenerator<T> }[],
  failed: (name: string, error: unknown) => void,
  signal: AbortSignal
): AsyncGenerator<T> {
  const queue: T[] = []
  let running = sources.length
  let moved = Promise.withResolvers<void>()
  const notify = () => {
    moved.resolve()
    moved = Promise.withResolvers()
  }
  signal.addEventListener('abort', notify)
  for (const { name, answers } of sources) {
    void (async () => {
      try {
        for await (const one of answers) {
          if (signal.aborted) break
          queue.push(one)
          notify()
        }
      } catch (error) {
        failed(name, error)
      } finally {
        running--
        notify()
      }
    })()
  }
  try {
    while (!signal.aborted) {
      const next = moved.promise
      const one = queue.shift()
      if (one !== undefined) yield one
      else if (running === 0) return
      else await next
    }
  } finally {
    signal.removeEventListener('abort', notify)
  }
}
