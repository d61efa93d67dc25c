import { LRUCache } from 'lru-cache'
import { CID } from 'multiformats/cid'
import type { Ipfs, PeerId } from '../ipfs/index.ts'
import type { Transfers } from '../ipfs/transfer.ts'
import type { Log } from '../log.ts'
import type { Digest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import type { Damage, SetAside, Store } from '../store/index.ts'
import type { TreeWriter } from '../tree/index.ts'
import type { Named } from './named.ts'
import type { Place, Places } from './places.ts'
import type { Again } from './repair-through.ts'

/** Mends what is damaged: it is set aside, and fetched again from whoever has it. */
export interface Repair {
  /**
   * Fetches again what was set aside, unless it came back by itself; says what became of it. Callers of the same
   * thing at the same time share the work.
   */
  fetch(entry: SetAside, signal: AbortSignal): Promise<SetAside>
  /** Whether anything that is kept here names content by this digest. */
  readonly named: Named
  /** Tries again what could not be had before. */
  retry(signal: AbortSignal): Promise<void>
  stop(): Promise<void>
}

/** How many things found by reads are repaired at once, and how many wait for their turn. */
const AT_ONCE = 4
const MAX_WAITING = 1000

/** How long the same damage isn't looked at again, in milliseconds: every read of it tells of it. */
const AGAIN_MS = 30_000

/** How often what could not be repaired is tried again, in milliseconds. */
const RETRY_MS = 10 * 60_000

/** The outcome of what nothing here names any more. */
const UNNEEDED = 'not needed any more'

/** How many domains are asked for a small block that any of their trees may hold. */
const MAX_DOMAINS = 32

export function createRepair(options: {
  store: Store
  ipfs: Ipfs
  transfers: Transfers
  places: Places
  trees: () => TreeWriter
  named: Named
  /** Multiaddrs of peers that are asked for whatever is missing. */
  peers: readonly string[]
  /** Asks the registries that content was pulled through from; none unless given. */
  again?: Again
  log: Log
}): Repair {
  const { store, ipfs, transfers, places, trees, named, log } = options
  const stopping = new AbortController()
  const seen = new LRUCache<string, true>({ max: 10_000, ttl: AGAIN_MS })
  const waiting: Damage[] = []
  const running = new Set<Promise<void>>()
  const fetching = new Map<string, Promise<SetAside>>()

  store.onDamage((damage) => {
    const key = damage.kind === 'blob' ? damage.digest : damage.entry.id
    if (seen.has(key) || waiting.length >= MAX_WAITING || stopping.signal.aborted) return
    seen.set(key, true)
    waiting.push(damage)
    work()
  })
  const timer = setInterval(() => {
    retry(stopping.signal).catch((error: unknown) => {
      log.warn({ cause: reason(error) }, 'could not try again to repair what is damaged')
    })
  }, RETRY_MS)
  timer.unref()

  function work(): void {
    while (running.size < AT_ONCE) {
      const damage = waiting.shift()
      if (damage === undefined) return
      const job = handle(damage)
        .catch((error: unknown) => {
          if (!stopping.signal.aborted)
            log.error({ err: error }, 'could not repair what a read found damaged')
        })
        .finally(() => {
          running.delete(job)
          work()
        })
      running.add(job)
    }
  }

  /** What a read met is checked as a whole first: it may have been mended since. */
  async function handle(damage: Damage): Promise<void> {
    const { signal } = stopping
    if (damage.kind === 'aside') {
      await fetch(damage.entry, signal)
      return
    }
    const verdict = await store.integrity.blob(damage.digest, { signal, foundBy: 'read' })
    if (verdict.kind === 'mended') log.warn({ damage, what: verdict.what }, 'the index was mended')
    if (verdict.kind === 'aside') await fetch(verdict.entry, signal)
  }

  /** Peers of a place, and the operator's; none is no failure. */
  async function union(of: readonly Place['peers'][], cid: CID, signal: AbortSignal): Promise<PeerId[]> {
    const none = (error: unknown): readonly PeerId[] => {
      signal.throwIfAborted()
      log.debug({ cause: reason(error) }, 'peers that could have it cannot be reached')
      return []
    }
    const standing = options.peers.length === 0 ? [] : ipfs.connect(options.peers, { signal }).catch(none)
    const found = await Promise.all([...of.map((peers) => peers(signal, cid).catch(none)), standing])
    return [...new Map(found.flat().map((peer) => [peer.toString(), peer])).values()]
  }

  /** The files that are said to hold a blob, with where they come from: what our trees say, then its own row. */
  async function sources(entry: SetAside, signal: AbortSignal): Promise<Map<string, Place['peers'][]>> {
    const found = new Map<string, Place['peers'][]>()
    for await (const domain of trees().domains()) {
      const place = await places.local(domain, '_', signal).catch(() => undefined) // its tree can't be read: others may
      const link = await place?.view.blob(entry.id as Digest, signal).catch(() => undefined) // as above
      if (place === undefined || link === undefined) continue
      const cid = link.cid.toString()
      found.set(cid, [...(found.get(cid) ?? []), place.peers].slice(0, MAX_DOMAINS))
    }
    if (entry.cid !== '' && !found.has(entry.cid)) found.set(entry.cid, [])
    return found
  }

  async function fetchBlob(entry: SetAside, signal: AbortSignal): Promise<string> {
    const digest = entry.id as Digest
    const failures: string[] = []
    for (const [text, of] of await sources(entry, signal)) {
      const cid = CID.parse(text)
      try {
        const peers = (s: AbortSignal) => union(of, cid, s)
        const transfer = await transfers.open({ digest, cid, peers }, signal)
        await transfer.done(signal)
        await store.integrity.restored(entry)
        return `fetched again from peers as ${text}`
      } catch (error) {
        signal.throwIfAborted()
        failures.push(reason(error))
      }
    }
    const again = await options.again?.(digest, signal).catch((error: unknown) => {
      signal.throwIfAborted()
      failures.push(reason(error))
    })
    if (again !== undefined) {
      await store.integrity.restored(entry)
      return again
    }
    throw new Error(
      failures.length === 0 ? 'no tree and no row says which file holds it' : failures.join('; ')
    )
  }

  async function fetchBlock(entry: SetAside, signal: AbortSignal): Promise<string> {
    const cid = CID.parse(entry.cid)
    const verdict = await store.integrity.block(cid.multihash.bytes, { signal, foundBy: entry.foundBy })
    if (verdict.kind === 'sound') return 'written again here'
    if (verdict.kind === 'gone') return UNNEEDED
    const of: Place['peers'][] = []
    for await (const domain of trees().domains()) {
      const place = await places.local(domain, '_', signal).catch(() => undefined) // the damage may be in its way
      if (place !== undefined && of.push(place.peers) === MAX_DOMAINS) break
    }
    const bytes = await ipfs.block(cid, { peers: await union(of, cid, signal), signal })
    await store.blocks.commit([{ cid, bytes }], [])
    return 'fetched again from peers'
  }

  async function attempt(entry: SetAside, signal: AbortSignal): Promise<SetAside> {
    const line = { id: entry.id, what: entry.what, file: entry.name }
    let change: Pick<SetAside, 'state' | 'outcome'>
    try {
      const back = entry.kind === 'blob' && (await store.blobs.stat(entry.id as Digest)) !== undefined
      if (back) await store.integrity.restored(entry)
      const outcome = back
        ? 'pushed or pulled again'
        : entry.kind === 'blob'
          ? await fetchBlob(entry, signal)
          : await fetchBlock(entry, signal)
      change = { state: outcome === UNNEEDED ? 'unneeded' : 'repaired', outcome }
      log.warn({ ...line, outcome }, 'damaged content was set aside and replaced')
    } catch (error) {
      signal.throwIfAborted()
      const needed = entry.kind === 'block' || (await named(entry.id as Digest, signal))
      change = needed ? { state: 'bad', outcome: reason(error) } : { state: 'unneeded', outcome: UNNEEDED }
      const level = needed ? 'error' : 'warn'
      log[level](
        { ...line, cause: reason(error) },
        `damaged content was set aside and cannot be had again${needed ? '' : ', but nothing needs it any more'}`
      )
    }
    await store.quarantine.update(entry.name, change)
    return { ...entry, ...change }
  }

  function fetch(entry: SetAside, signal: AbortSignal): Promise<SetAside> {
    const joined = fetching.get(entry.id)
    if (joined !== undefined) return joined.then(({ state, outcome }) => ({ ...entry, state, outcome }))
    const mine = attempt(entry, AbortSignal.any([signal, stopping.signal])).finally(() =>
      fetching.delete(entry.id)
    )
    fetching.set(entry.id, mine)
    return mine
  }

  async function retry(signal: AbortSignal): Promise<void> {
    for await (const entry of store.quarantine.entries())
      if (entry.state === 'bad') await fetch(entry, signal)
  }

  return {
    fetch,
    retry,
    named,
    async stop() {
      clearInterval(timer)
      stopping.abort(new Error('the gateway is stopping'))
      waiting.length = 0
      await Promise.allSettled([...running, ...fetching.values()])
    }
  }
}
