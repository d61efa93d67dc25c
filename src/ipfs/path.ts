import { setTimeout as delay } from 'node:timers/promises'
import { decode } from '@ipld/dag-pb'
import { LRUCache } from 'lru-cache'
import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import { readCar } from './car.ts'
import type { Gateway } from './gateway.ts'
import { PeerBusy, PeerFault } from './wants.ts'

const DAG_PB = 0x70

/** What one answer may hold: a path of a dozen names, each in a directory of a few shards. */
const MAX_BLOCKS = 256
const MAX_BYTES = 8 * 1024 * 1024

/** How long a gateway that can't do paths isn't asked for one, in milliseconds. */
const REST_MS = 60_000

/** Gateways that are asked for one path; afterwards block by block is the better bet. */
const MAX_ASKED = 2

/** Directories along a path, in one request. */
export interface Paths {
  /**
   * Fetches the blocks from `root` along `names`, the last one included, and keeps those that aren't here.
   * Whatever goes wrong is logged and no error: nothing is proven by an answer but what its blocks say.
   *
   * @returns how many blocks came
   */
  fetch(
    root: CID,
    names: readonly string[],
    options: {
      gateways: readonly Gateway[]
      signal: AbortSignal
      /** Ask all of them, also those that could not do it a moment ago: there is no other way. */
      anyway?: boolean
      /** Told of each gateway that gave nothing of use, and why. */
      failed?: (gateway: Gateway, why: string) => void
    }
  ): Promise<number>
}

/** What {@link createPaths} is made from. */
export interface PathsOptions {
  /** Keeps a block that was verified. */
  keep(cid: CID, bytes: Uint8Array): Promise<void>
  /** Told of a gateway that sent other blocks than its CIDs said, or than were asked for. */
  lied(gateway: Gateway, what: string): void
  /** For one gateway's answer, in milliseconds. */
  limitMs: number
  /** For how long gateways that are busy are asked again, in milliseconds. */
  busyMs: number
  log: Log
}

/**
 * Makes the fetcher. Of what a gateway sends, only blocks that hang together with `root` are kept, so that
 * nobody can fill the store with blocks of their own choice. The same path asked for twice at a time is one
 * request.
 *
 * @see https://specs.ipfs.tech/http-gateways/trustless-gateway/#dag-scope-request-query-parameter
 */
export function createPaths({ keep, lied, limitMs, busyMs, log }: PathsOptions): Paths {
  const resting = new LRUCache<string, true>({ max: 1024, ttl: REST_MS })
  const running = new Map<string, Promise<number>>()

  async function from(
    gateway: Gateway,
    root: CID,
    names: readonly string[],
    signal: AbortSignal
  ): Promise<number> {
    const chunks = await gateway.openPath(root, names, signal)
    if (chunks === undefined) return 0
    const expected = new Set([root.toString()])
    let bytes = 0
    let kept = 0
    let block: Buffer | undefined
    for await (const { cid, size, at, data, last } of readCar(chunks)) {
      if (at === 0) {
        bytes += size
        if (bytes > MAX_BYTES || kept >= MAX_BLOCKS) throw new PeerFault('sent more than a path can hold')
        block = Buffer.allocUnsafeSlow(size)
      }
      block?.set(data, at)
      if (!last || block === undefined) continue
      if (!expected.delete(cid.toString()))
        throw new PeerFault(`sent ${cid}, which isn't on the path`, { lie: true })
      if (cid.code === DAG_PB) for (const { Hash } of decode(block).Links) expected.add(Hash.toString())
      await keep(cid, block)
      kept++
    }
    return kept
  }

  async function ask(
    root: CID,
    names: readonly string[],
    gateways: readonly Gateway[],
    signal: AbortSignal,
    failed: (gateway: Gateway, why: string) => void
  ): Promise<number> {
    const queue = gateways.map((gateway) => ({ gateway, at: 0 }))
    const deadline = Date.now() + busyMs
    for (const { gateway, at } of queue) {
      try {
        if (at > 0) await delay(at - Date.now(), undefined, { signal })
        const limit = AbortSignal.timeout(limitMs)
        const came = await from(gateway, root, names, AbortSignal.any([signal, limit]))
        if (came === 0) failed(gateway, "doesn't have it")
        return came
      } catch (error) {
        signal.throwIfAborted()
        const again = error instanceof PeerBusy ? Date.now() + error.retryMs : Number.POSITIVE_INFINITY
        if (again < deadline) {
          // after those that haven't been asked yet
          queue.push({ gateway, at: again })
          continue
        }
        resting.set(gateway.name, true)
        failed(gateway, reason(error))
        if (error instanceof PeerFault && error.lie) lied(gateway, error.message)
        const path = `${root}/${names.join('/')}`
        log.debug({ gateway: gateway.name, path, cause: reason(error) }, 'no blocks of a path')
      }
    }
    return 0
  }

  return {
    async fetch(root, names, { gateways, signal, anyway, failed = () => {} }) {
      const key = `${root}/${names.join('/')}`
      const joined = running.get(key)
      // one that was joined and was given up by who began it is no answer: block by block then
      if (joined !== undefined) return joined.catch(() => 0)
      const able = gateways.filter(({ name }) => !resting.has(name)).slice(0, MAX_ASKED)
      const others = anyway === true ? gateways.filter((gateway) => !able.includes(gateway)) : []
      const work = ask(root, names, [...able, ...others], signal, failed).finally(() => running.delete(key))
      running.set(key, work)
      return work
    }
  }
}
