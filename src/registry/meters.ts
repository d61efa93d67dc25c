import type { Limiter } from '../ipfs/limits.ts'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import type { RepositoryName } from '../oci/reference.ts'
import type { Store } from '../store/index.ts'

/** Bytes that went in a time. */
export interface Traffic {
  readonly fromClients: number
  readonly toClients: number
  readonly fromPeers: number
  readonly toPeers: number
}

/** Whose traffic it was; both empty for what belongs to no repository: refusals, and blocks that peers ask for by CID. */
export interface Owner {
  readonly domain: string
  readonly repository: string
}

/** Bytes by repository, by day and by month (UTC). */
export interface Meters {
  add(owner: Owner, bytes: Partial<Traffic>): void
  /** What went today, or this month: all owners that there are, one perhaps in two parts. */
  read(period: 'day' | 'month', signal: AbortSignal): AsyncGenerator<[Owner, Traffic]>
  /** Writes down what was added; also done every few seconds, and before {@link Meters.read}. */
  flush(): Promise<void>
  /** Called before each flush, for those who count what is still going on. */
  onFlush(listener: () => void): void
  stop(): Promise<void>
}

/** What belongs to no repository. */
export const NOBODY: Owner = { domain: '', repository: '' }

const NOTHING: Traffic = { fromClients: 0, toClients: 0, fromPeers: 0, toPeers: 0 }

/** How often what was counted is written, in milliseconds: what a crash loses of it. */
const FLUSH_MS = 10_000

/** How many days and months are kept. */
const DAYS = 90
const MONTHS = 13

/** How many repositories have a row of their own in one day or month; those beyond share their domain's. */
const MAX_ROWS = 20_000

const DAY_MS = 86_400_000

/** @param options.now for tests: epoch ms */
export function createMeters(options: {
  store: Pick<Store, 'records' | 'blocks'>
  log: Log
  now?: () => number
}): Meters {
  const { store, log, now = Date.now } = options
  const { records } = store
  let dirty = new Map<string, Traffic>()
  /** How many rows a period has, by the beginning of their keys. */
  const rows = new Map<string, number>()
  const listeners: (() => void)[] = []
  let writing: Promise<void> = Promise.resolve()
  let pruned = ''

  const timer = setInterval(() => {
    flush().catch((error: unknown) => log.warn({ cause: reason(error) }, 'could not write the meters'))
  }, FLUSH_MS)
  timer.unref()

  const dayOf = (at: number) => new Date(at).toISOString().slice(0, 10)
  const prefixes = (at: number) => [`meter/d/${dayOf(at)}/`, `meter/m/${dayOf(at).slice(0, 7)}/`]
  // neither holds a NUL
  const nameOf = ({ domain, repository }: Owner) => `${domain}\0${repository}`
  const ownerNamed = (name: string): Owner => {
    const [domain = '', repository = ''] = name.split('\0')
    return { domain, repository }
  }

  async function rowsOf(prefix: string): Promise<number> {
    const known = rows.get(prefix)
    if (known !== undefined) return known
    let count = 0
    for await (const _ of records.list(prefix)) count++
    rows.set(prefix, count)
    return count
  }

  /** Adds to the rows of a period; too many of them become their domains'. */
  async function merge(prefix: string, added: ReadonlyMap<string, Traffic>): Promise<[string, Uint8Array][]> {
    const sums = new Map<string, Traffic>()
    let count = await rowsOf(prefix)
    for (const [name, traffic] of added) {
      let key = prefix + name
      let before = sums.get(key) ?? (await stored(key))
      if (before === undefined && count >= MAX_ROWS) {
        key = prefix + nameOf({ domain: name.slice(0, name.indexOf('\0')), repository: '' })
        before = sums.get(key) ?? (await stored(key))
      }
      if (before === undefined) count++
      sums.set(key, sum(before ?? NOTHING, traffic))
    }
    rows.set(prefix, count)
    return [...sums].map(([key, traffic]) => [key, Buffer.from(JSON.stringify(traffic))])
  }

  async function stored(key: string): Promise<Traffic | undefined> {
    const value = await records.get(key)
    return value && (JSON.parse(Buffer.from(value).toString()) as Traffic)
  }

  async function write(): Promise<void> {
    for (const listener of listeners) listener()
    if (dirty.size > 0) {
      const added = dirty
      dirty = new Map()
      try {
        const changed = await Promise.all(prefixes(now()).map((prefix) => merge(prefix, added)))
        await store.blocks.commit([], changed.flat())
      } catch (error) {
        // it is still to be written, and so are the rows that were counted
        rows.clear()
        for (const [name, traffic] of added) dirty.set(name, sum(dirty.get(name) ?? NOTHING, traffic))
        throw error
      }
    }
    await prune()
  }

  /** Old periods go, once a day. */
  async function prune(): Promise<void> {
    const today = dayOf(now())
    if (pruned === today) return
    pruned = today
    rows.clear()
    const month = new Date(now())
    month.setUTCDate(1)
    month.setUTCMonth(month.getUTCMonth() - MONTHS)
    await removeBefore('meter/d/', `meter/d/${dayOf(now() - DAYS * DAY_MS)}/`)
    await removeBefore('meter/m/', `meter/m/${month.toISOString().slice(0, 7)}/`)
  }

  async function removeBefore(prefix: string, first: string): Promise<void> {
    const old: string[] = []
    for await (const [key] of records.list(prefix)) {
      if (key >= first) break
      old.push(key)
    }
    for (const key of old) await records.delete(key)
  }

  function flush(): Promise<void> {
    const mine = writing.then(write)
    writing = mine.catch(() => undefined) // told to whoever asked
    return mine
  }

  return {
    add(owner, bytes) {
      const name = nameOf(owner)
      const known = dirty.has(name) || dirty.size < MAX_ROWS
      const key = known ? name : nameOf({ domain: '', repository: '' })
      dirty.set(key, sum(dirty.get(key) ?? NOTHING, { ...NOTHING, ...bytes }))
    },
    async *read(period, signal) {
      let unwritten: ReadonlyMap<string, Traffic> = new Map()
      await flush().catch((error: unknown) => {
        // on a full disk this is asked to see what takes the space
        log.warn({ cause: reason(error) }, 'could not write the meters')
        unwritten = new Map(dirty)
      })
      const prefix = prefixes(now())[period === 'day' ? 0 : 1] as string
      for await (const [key, value] of records.list(prefix)) {
        signal.throwIfAborted()
        yield [ownerNamed(key.slice(prefix.length)), JSON.parse(Buffer.from(value).toString()) as Traffic]
      }
      for (const [name, traffic] of unwritten) yield [ownerNamed(name), traffic]
    },
    flush,
    onFlush: (listener) => void listeners.push(listener),
    async stop() {
      clearInterval(timer)
      await flush().catch((error: unknown) =>
        log.warn({ cause: reason(error) }, 'the last of the meters is lost')
      )
    }
  }
}

/** A limiter that counts what it lets go to peers. */
export function countedToPeers(up: Limiter, meters: Meters): Limiter {
  return {
    async take(bytes, signal) {
      await up.take(bytes, signal)
      meters.add(NOBODY, { toPeers: bytes })
    },
    giveBack(bytes) {
      up.giveBack(bytes)
      meters.add(NOBODY, { toPeers: -bytes })
    }
  }
}

/** Whose traffic a request for a repository is. Roots that are named by their CID count as one: anybody could make up more. */
export function ownerOf({ place, repository }: RepositoryName): Owner {
  return place.kind === 'domain' ? { domain: place.domain, repository } : { domain: place.kind, repository }
}

/** Both together. */
export function sum(a: Traffic, b: Traffic): Traffic {
  return {
    fromClients: a.fromClients + b.fromClients,
    toClients: a.toClients + b.toClients,
    fromPeers: a.fromPeers + b.fromPeers,
    toPeers: a.toPeers + b.toPeers
  }
}
