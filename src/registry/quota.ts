import type { Log } from '../log.ts'
import type { Digest } from '../oci/digest.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import type { BlobInfo, Store } from '../store/index.ts'
import type { TreeWriter } from '../tree/index.ts'
import type { Links } from './links.ts'
import { type Counts, createCounts } from './quota-count.ts'
import { createLeftUploads, type LeftUploads } from './uploads-left.ts'

/** The limits that the operator set, in bytes; `undefined` for none. */
export interface Limits {
  readonly store: number | undefined
  /** Of a domain; `*` stands for every domain that isn't named. */
  readonly domains: ReadonlyMap<string, number>
}

/** Room that is held for something that is arriving. */
export interface Reservation {
  /** Holds so many bytes more. @throws {RegistryError} DENIED when they don't fit a limit */
  take(bytes: number): Promise<void>
  /**
   * It will be this blob: where the store and the domain have that already, it takes no room while it arrives, unless
   * another does just now, and what is longer than that blob is refused.
   *
   * @throws {RegistryError} DIGEST_INVALID, by {@link Reservation.take}
   */
  expect(digest: Digest): Promise<void>
  /** It stays as far as it has come, whatever it may become later: what took no room does. @throws {RegistryError} DENIED */
  wait(): Promise<void>
  /** It became a blob of so many bytes, of which the store or the domain may have had it already. */
  kept(digest: Digest, size: number): Promise<void>
  /** It came to an end: what isn't kept is free again. */
  release(): void
}

/** Keeps pushes within the limits. What is there can be pulled whatever the limits say. */
export interface Quota extends Pick<Counts, 'storeBytes' | 'domainBytes' | 'limitedBytes'> {
  reserve(domain: string): Reservation
  /** The domain has a blob now that was here already. @throws {RegistryError} DENIED */
  added(domain: string, digest: Digest, size: number, signal: AbortSignal): Promise<void>
  limitOf(domain: string): number | undefined
  /** What takes room though nobody goes on with it: uploads of an earlier process. */
  readonly left: LeftUploads
}

/** From which part of a limit on the log warns. */
const WARN_AT = 0.8

/** How often at most the store is counted anew because a limit seems to be reached, in milliseconds. */
const RECOUNT_MS = 1000

/** How often room is made in the cache for one piece of a push. */
const MAX_TRIES = 5

/** A count that is never less than what is there: it grows with what is kept, and is counted anew at the limit. */
interface Account {
  /** What messages call it. */
  readonly what: string
  /** `undefined` for the store. */
  readonly domain: string | undefined
  readonly setting: string
  readonly limit: number
  held: Promise<number> | undefined
  added: number
  reserved: number
  countedAt: number
  warned: boolean
}

/**
 * @param options.makeRoom removes cached content of at least so many bytes, if there is so much
 */
export function createQuota(options: {
  store: Store
  trees: TreeWriter
  links: Pick<Links, 'list'>
  limits: Limits
  /** Whether a domain has an upstream; none has unless given. */
  pulledThrough?: (domain: string) => boolean
  makeRoom: (bytes: number, signal: AbortSignal) => Promise<void>
  log: Log
}): Quota {
  const { store, trees, links, limits, makeRoom, log } = options
  const accounts = new Map<string | undefined, Account>()
  const forever = new AbortController().signal
  /** Known blobs that arrive once more: one body of each takes no room. */
  const again = new Set<Digest>()
  const counts = createCounts({ store, trees, links, pulledThrough: options.pulledThrough })
  const limited = limits.store !== undefined || limits.domains.size > 0
  const left = createLeftUploads({ incoming: store.incoming, limited, log })

  const limitOf = (domain: string) => limits.domains.get(domain) ?? limits.domains.get('*')

  function account(domain: string | undefined, limit: number | undefined): Account | undefined {
    if (limit === undefined) return undefined
    let found = accounts.get(domain)
    if (found === undefined) {
      const names =
        domain === undefined
          ? { what: 'the store', setting: 'SEAWAY_STORE_LIMIT' }
          : { what: domain, setting: 'SEAWAY_DOMAIN_LIMITS' }
      const nothing = { held: undefined, added: 0, reserved: 0, countedAt: 0, warned: false }
      found = { ...names, domain, limit, ...nothing }
      accounts.set(domain, found)
    }
    return found
  }
  const ofStore = () => account(undefined, limits.store)
  const ofDomain = (domain: string) => account(domain, limitOf(domain))

  /** Counts what an account holds. What is kept meanwhile is counted on top, perhaps twice: never too little. */
  function count(of: Account): Promise<number> {
    of.countedAt = performance.now()
    of.added = 0
    const counted =
      of.domain === undefined ? counts.storeBytes(forever) : counts.limitedBytes(of.domain, forever)
    of.held = counted
    counted.catch(() => {
      if (of.held === counted) of.held = undefined // the next one tries again
    })
    return counted
  }

  /** What is there or on its way. */
  async function used(of: Account): Promise<number> {
    const held = await (of.held ?? count(of))
    await left.counted()
    return held + of.added + of.reserved + left.bytes(of.domain)
  }

  async function take(of: Account, bytes: number): Promise<void> {
    // Held before anything is awaited, so that two who come at the same time can't both have the last of it.
    of.reserved += bytes
    try {
      if ((await used(of)) > of.limit) await squeeze(of, bytes)
      warn(of, await used(of))
    } catch (error) {
      of.reserved -= bytes
      throw error
    }
  }

  /** Looks whether something has gone since it was counted, and whether the cache can give room. */
  async function squeeze(of: Account, bytes: number): Promise<void> {
    if (of.added > 0 || performance.now() - of.countedAt > RECOUNT_MS) await count(of)
    let now = await used(of)
    // Pulls that end meanwhile take some of the room that was made.
    for (let tries = 0; now > of.limit && of.domain === undefined && tries < MAX_TRIES; tries++) {
      await makeRoom(now - of.limit, forever)
      await count(of)
      now = await used(of)
    }
    if (now <= of.limit) return
    throw new RegistryError(
      'DENIED',
      `${of.what} is full: ${format(now - bytes)} of ${format(of.limit)} are taken, and this needs ${format(bytes)} more. ` +
        `Nothing of it was kept. Remove images there (seaway rm, then seaway gc), or raise ${of.setting}`,
      { detail: { limit: of.limit, used: now - bytes, setting: of.setting } }
    )
  }

  function warn(of: Account, now: number): void {
    const high = now >= of.limit * WARN_AT
    if (high && !of.warned) {
      const percent = Math.floor((now / of.limit) * 100)
      log.warn(
        { what: of.what, used: now, limit: of.limit, percent },
        `${of.what} is nearly full; see seaway usage`
      )
    }
    of.warned = high
  }

  /** What was pulled is kept when it fits; where it doesn't, what was used least lately goes instead. */
  async function afterPull(of: Account, size: number): Promise<void> {
    of.added += size
    const over = (await used(of)) - of.limit
    if (over <= 0) return
    await makeRoom(over, forever)
    await count(of)
  }

  store.blobs.onCached(({ size }) => {
    const of = ofStore()
    if (of === undefined) return
    afterPull(of, size).catch((error: unknown) => {
      log.warn({ cause: reason(error) }, 'could not bring the store below its limit after a pull')
    })
  })

  return {
    storeBytes: counts.storeBytes,
    domainBytes: counts.domainBytes,
    limitedBytes: counts.limitedBytes,
    limitOf,
    left,

    reserve(domain) {
      const held = new Map<Account, number>()
      const all = () => [ofStore(), ofDomain(domain)].filter((each) => each !== undefined)
      let arrived = 0
      /** How much of that room was taken for. */
      let covered = 0
      /** What it will be, where that is here already. */
      let known: BlobInfo | undefined
      function forget(): void {
        if (known !== undefined) again.delete(known.digest)
        known = undefined
      }
      async function cover(): Promise<void> {
        const bytes = arrived - covered
        if (bytes === 0) return
        covered = arrived
        // All at once, so that the room of an upload that is taken up again is nobody else's in between.
        const taking = all().map(async (of) => {
          await take(of, bytes)
          held.set(of, (held.get(of) ?? 0) + bytes)
        })
        for (const outcome of await Promise.allSettled(taking))
          if (outcome.status === 'rejected') throw outcome.reason
      }
      return {
        async expect(digest) {
          if (all().length === 0) return
          const blob = await store.blobs.stat(digest)
          if (blob === undefined || !(await counts.domainHas(domain, digest, forever))) return
          if (again.has(blob.digest)) return
          again.add(blob.digest)
          known = blob
        },
        async take(bytes) {
          arrived += bytes
          if (known === undefined) await cover()
          else if (arrived > known.size) throw tooLong(known)
        },
        async wait() {
          forget()
          await cover()
        },
        async kept(digest, size) {
          if (known !== undefined) return
          // Counted even where it was there before: the next count puts that right, and is never too late.
          for (const of of all()) {
            if (of.domain !== undefined && (await counts.domainHas(domain, digest, forever))) continue
            of.added += size
          }
        },
        release() {
          forget()
          for (const [of, bytes] of held) of.reserved -= bytes
          held.clear()
        }
      }
    },

    async added(domain, digest, size) {
      const of = ofDomain(domain)
      if (of === undefined || (await counts.domainHas(domain, digest, forever))) return
      await take(of, size)
      of.reserved -= size
      of.added += size
    }
  }
}

/** What a body gets that can't become the blob that it was said to be, before all of it has come. */
function tooLong({ digest, size }: BlobInfo): RegistryError {
  return new RegistryError(
    'DIGEST_INVALID',
    `the content is longer than the ${size} bytes of ${digest}, so that it is something else; nothing of it was kept. ` +
      'Push it by its own digest',
    { detail: { expected: digest, size } }
  )
}

/** Bytes as people read them; exact enough to see that a few more don't fit. */
function format(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const unit = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)))
  const value = bytes / 1000 ** unit
  return `${unit === 0 ? value : value.toFixed(value < 100 ? 1 : 0)} ${units[unit]}`
}
