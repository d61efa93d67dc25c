import { setTimeout as sleep } from 'node:timers/promises'
import type { Libp2p, PeerId } from '@libp2p/interface'
import type { SingleKadDHT } from '@libp2p/kad-dht'
import type { CID } from 'multiformats/cid'
import { type NameRecord, putIntoDht, recordsInDht } from './name-records.ts'

/** A peer that is said to have something, with the addresses that are known of it. */
export interface Found {
  readonly peer: PeerId
  /** Multiaddrs that end in the peer's id. */
  readonly addresses: readonly string[]
  /** Who says so. */
  readonly by: string
}

/** One that can be asked who has what: a DHT, or a service. Everything throws what it fails with. */
export interface Router {
  readonly name: string
  find(cid: CID, signal: AbortSignal): AsyncGenerator<Found>
  records(name: CID, signal: AbortSignal): AsyncGenerator<NameRecord>
  putRecord(name: CID, bytes: Uint8Array, signal: AbortSignal): Promise<void>
  /** Tells it that we have `cid`, and yields for each peer that took note; not there where it can't be told. */
  provide?(cid: CID, signal: AbortSignal): AsyncGenerator<void>
  stop(): Promise<void>
}

/** How long a DHT has to be entered after the start, and how often that is looked at, in milliseconds. */
const ENTER_MS = 10_000
/** How long one is waited for when the other is entered already. */
const OTHER_MS = 1500
const LOOK_MS = 100

/** Addresses of one peer that are looked at. */
const MAX_ADDRESSES = 16

/** The DHTs of a node, whatever there are of them. */
export function dhtRouters(libp2p: Libp2p): Router[] {
  const services = libp2p.services as { dht?: SingleKadDHT; lanDht?: SingleKadDHT }
  const dhts = Object.entries({ DHT: services.dht, 'local DHT': services.lanDht }).flatMap(([name, dht]) =>
    dht === undefined ? [] : [{ name, dht }]
  )
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

  return dhts.map(({ name, dht }) => ({
    name,

    async *find(cid, signal) {
      if (!(await ready(dht, signal))) return
      for await (const event of dht.findProviders(cid, { signal })) {
        if (event.name !== 'PROVIDER') continue
        for (const { id, multiaddrs } of event.providers) yield found(id, multiaddrs.map(String), name)
      }
    },

    async *records(of, signal) {
      if (await ready(dht, signal)) yield* recordsInDht(name, dht, of, signal)
    },

    async putRecord(of, bytes, signal) {
      const took = (await ready(dht, signal)) ? await putIntoDht(dht, of, bytes, signal) : 0
      if (took === 0) throw new Error('no peer of it took the record')
    },

    async *provide(cid, signal) {
      if (!(await ready(dht, signal))) return
      for await (const event of dht.provide(cid, { signal })) {
        if (event.name === 'PEER_RESPONSE' && event.messageName === 'ADD_PROVIDER') yield
      }
      await dht.cancelReprovide(cid)
    },

    stop: async () => {}
  }))
}

/** What is found, with the peer's id at the end of each address. */
export function found(peer: PeerId, addresses: readonly string[], by: string): Found {
  const id = `/p2p/${peer.toString()}`
  const full = addresses
    .slice(0, MAX_ADDRESSES)
    .map((text) => (text.endsWith(id) ? text : `${text.replace(/\/$/, '')}${id}`))
  return { peer, by, addresses: full }
}
