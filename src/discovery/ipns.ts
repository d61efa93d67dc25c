import type { Ipfs } from '../ipfs/index.ts'
import type { Log } from '../log.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { quote, unlessAborted, within } from './failure.ts'
import type { IpnsBook, Kept } from './ipns-book.ts'
import { OlderRecord } from './ipns-book.ts'
import { type IpnsName, MAX_RECORD, parseIpnsName, RECORD_TYPE } from './ipns-record.ts'

/** Peers have this head start before the network is asked as well (ms). */
const HEAD_START_MS = 500
/** After the first good answer, the others have so long to give a newer one (ms). */
const OTHERS_MS = 300
/** Without a time of its own a record is used for so long (ms). */
const DEFAULT_TTL_MS = 60_000
/** And never longer than this, whatever it says: a new root has to be seen some time (ms). */
const MAX_TTL_MS = 3_600_000
/** A name that could not be asked about is served from the book for so long before it is tried again (ms). */
const RECHECK_MS = 5000

/** Where an IPNS name leads. */
export interface IpnsAnswer {
  /** `/ipfs/…` or `/ipns/…` */
  readonly path: string
  readonly sequence: bigint
  /** Until when it may be used without asking again (epoch ms). */
  readonly expires: number
  /** Multiaddrs that the record carries. */
  readonly providers: readonly string[]
}

/** Finds where IPNS names lead. */
export interface IpnsResolver {
  /**
   * Where `name` leads: from the book while its record's TTL lasts, else from the gateways of `hints`, then from
   * routing services and the DHT, all under one deadline. A record with a lower sequence than one that was seen
   * before is refused, whoever gives it. When nobody answers, the last known record counts until it expires.
   * Those who ask for the same name at once share one look, and none of them can call it off for the others.
   *
   * @param options.hints multiaddrs of peers that are said to have what the name leads to
   * @param options.fresh ask in any case
   * @throws {RegistryError} NAME_INVALID, SOURCE_FAILED (also for a record that has expired), SOURCE_TIMEOUT
   */
  resolve(
    name: string,
    options: { hints?: readonly string[]; fresh?: boolean; signal: AbortSignal }
  ): Promise<IpnsAnswer>
  /** Calls off what is under way; afterwards nobody is asked any more. */
  stop(): Promise<void>
}

/** @param options.timeoutMs for one name */
export function createIpnsResolver(options: {
  ipfs: Pick<Ipfs, 'ask' | 'routing'>
  book: IpnsBook
  timeoutMs: number
  log: Log
  now?: () => number
}): IpnsResolver {
  const { ipfs, book, log, now = Date.now } = options
  const flights = new Map<string, Promise<Kept>>()
  const failed = new Map<string, number>()
  const stopping = new AbortController()

  /** Takes answers in as they come; ends soon after the first good one, or when there are no more. */
  async function gather(
    name: IpnsName,
    sources: readonly AsyncGenerator<{ from: string; bytes: Uint8Array }>[],
    problems: string[],
    signal: AbortSignal
  ): Promise<Kept | undefined> {
    let best: Kept | undefined
    const enough = new AbortController()
    let timer: NodeJS.Timeout | undefined
    const take = async (source: AsyncGenerator<{ from: string; bytes: Uint8Array }>): Promise<void> => {
      for await (const { from, bytes } of source) {
        try {
          const kept = await book.offer(name, bytes)
          if (best === undefined || kept.sequence >= best.sequence) best = kept
          timer ??= setTimeout(() => enough.abort(), OTHERS_MS)
        } catch (error) {
          const older = error instanceof OlderRecord
          problems.push(`${from} gave a record that is not used: ${reason(error)}`)
          log[older ? 'warn' : 'info']({ name: name.text, from, cause: reason(error) }, 'IPNS record refused')
        }
        if (enough.signal.aborted) return
      }
    }
    const all = Promise.allSettled(sources.map(take)).then(() => undefined)
    try {
      await unlessAborted(all, AbortSignal.any([signal, enough.signal]))
    } catch (error) {
      if (best === undefined) throw error
    } finally {
      clearTimeout(timer)
    }
    return best
  }

  async function* fromPeers(name: IpnsName, hints: readonly string[], signal: AbortSignal) {
    const path = `/ipns/${name.text}?format=ipns-record`
    const question = { path, accept: RECORD_TYPE, maxBytes: MAX_RECORD, signal }
    for await (const { from, bytes } of ipfs.ask(hints, question)) yield { from, bytes }
  }

  async function* fromNetwork(name: IpnsName, start: Promise<unknown>, signal: AbortSignal) {
    await start
    for await (const { by, bytes } of ipfs.routing.records(name.cid, signal)) yield { from: by, bytes }
  }

  async function ask(name: IpnsName, hints: readonly string[]): Promise<Kept> {
    const problems: string[] = []
    const found = await within(options.timeoutMs, stopping.signal, async (limit) => {
      // both end with this look, whoever wins
      const over = new AbortController()
      const end = AbortSignal.any([limit, over.signal])
      const asked = Promise.withResolvers<void>()
      const timer = setTimeout(asked.resolve, hints.length === 0 ? 0 : HEAD_START_MS)
      async function* peers() {
        try {
          yield* fromPeers(name, hints, end)
        } finally {
          asked.resolve() // none of them had it: nothing to wait for
        }
      }
      try {
        return await gather(name, [peers(), fromNetwork(name, asked.promise, end)], problems, limit)
      } finally {
        clearTimeout(timer)
        asked.resolve()
        over.abort(new Error('the look at the name is over'))
      }
    })
    if (found !== undefined) return found
    const detail = problems.length === 0 ? '' : `: ${problems.slice(0, 4).join('; ')}`
    throw new RegistryError(
      'SOURCE_FAILED',
      `nobody who was asked has a record of the IPNS name ${name.text}${detail}`
    )
  }

  function take(name: IpnsName, hints: readonly string[], signal: AbortSignal): Promise<Kept> {
    let flight = flights.get(name.text)
    if (flight === undefined) {
      flight = ask(name, hints).finally(() => flights.delete(name.text))
      flights.set(name.text, flight)
    }
    return unlessAborted(flight, signal)
  }

  const untilOf = ({ at, ttlMs, validUntil }: Kept): number =>
    Math.min(at + Math.min(ttlMs === 0 ? DEFAULT_TTL_MS : ttlMs, MAX_TTL_MS), validUntil)

  const answer = (kept: Kept, expires: number): IpnsAnswer => ({
    path: kept.value,
    sequence: kept.sequence,
    expires,
    providers: kept.providers
  })

  return {
    async resolve(text, { hints = [], fresh = false, signal }) {
      signal.throwIfAborted()
      const name = parseIpnsName(text)
      if (name === undefined) throw new RegistryError('NAME_INVALID', `${quote(text)} is not an IPNS name`)
      const known = await book.get(name)
      if (known !== undefined && !fresh) {
        if (untilOf(known) > now()) return answer(known, untilOf(known))
        if ((failed.get(name.text) ?? 0) > now()) return answer(known, now() + RECHECK_MS)
      }
      try {
        const found = await take(name, hints, signal)
        failed.delete(name.text)
        return answer(found, untilOf(found))
      } catch (error) {
        signal.throwIfAborted()
        if (known !== undefined) {
          log.info({ name: name.text, cause: reason(error) }, 'the last known IPNS record is used')
          if (failed.size > 1000) failed.clear()
          failed.set(name.text, now() + RECHECK_MS)
          return answer(known, now() + RECHECK_MS)
        }
        const ended = await book.expired(name)
        if (ended !== undefined)
          throw new RegistryError(
            'SOURCE_FAILED',
            `the record of the IPNS name ${name.text} expired at ${new Date(ended).toISOString()}, and no newer one was found (${reason(error)}): its publisher has to publish it again`,
            { cause: error }
          )
        throw error
      }
    },
    async stop() {
      stopping.abort(new RegistryError('UNAVAILABLE', 'the gateway is shutting down'))
      await Promise.allSettled(flights.values())
    }
  }
}
