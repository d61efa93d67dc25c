import type { Log } from '../log.ts'
import type { Digest } from '../oci/digest.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { DEFAULT_DOMAIN, displayName, parseRepository } from '../oci/reference.ts'
import { createHashSet, type Store } from '../store/index.ts'
import type { TreeView, TreeWriter } from '../tree/index.ts'
import { manifestIn, openLocal } from './collect-reading.ts'
import { type Meters, type Owner, sum, type Traffic } from './meters.ts'
import { namesIn } from './names.ts'
import type { Quota } from './quota.ts'

/** What a repository, or all of a domain, takes; in bytes where nothing else is said. */
export interface Holdings {
  /** As clients name it. */
  readonly name: string
  /** Manifests. */
  readonly images: number
  readonly tags: number
  /** The content of each image by itself, as it was pushed. */
  readonly asPushed: number
  /** Each blob once. */
  readonly onDisk: number
  /** What keeping each blob once has saved. */
  readonly saved: number
  /** Content that the tree names and that is elsewhere. */
  readonly elsewhere: number
  /** Part of it couldn't be read here, being elsewhere or damaged: what that part names isn't counted. */
  readonly incomplete?: true
  /**
   * What went to peers is in the sums over everything alone: they ask for blocks by CID, one at a time or a blob's,
   * and any number of trees may have those.
   */
  readonly today: Traffic
  readonly month: Traffic
}

/** A domain's, with its limit. */
export interface DomainHoldings extends Holdings {
  readonly limit?: number
  /** Of the limit. */
  readonly percent?: number
}

/** What `seaway usage` tells. */
export interface UsageReport {
  readonly store: {
    /** Content, each blob once. */
    readonly used: number
    readonly limit?: number
    readonly percent?: number
    /** Content that was pushed here, or that a tree of this gateway has. */
    readonly pushed: number
    readonly cached: number
    readonly cacheLimit?: number
    readonly index: number
    readonly incoming: number
    readonly quarantine: number
    readonly free: number
    readonly today: Traffic
    readonly month: Traffic
  }
  readonly domains: readonly DomainHoldings[]
  readonly repositories: readonly Holdings[]
  /** Whether there are more repositories than are listed. */
  readonly more: boolean
  /** What is at 80 % of its limit or beyond. */
  readonly warnings: readonly string[]
}

/** How many repositories are listed at most. */
const MAX_LISTED = 10_000

const WARN_AT = 80

const NOTHING: Traffic = { fromClients: 0, toClients: 0, fromPeers: 0, toPeers: 0 }

/** Works out what is used, when asked: nothing of it is kept up to date meanwhile. */
export function createUsage(options: {
  store: Store
  trees: TreeWriter
  quota: Quota
  meters: Meters
  limits: { store: number | undefined; cache: number | undefined }
  log: Log
}): (of: string | undefined, signal: AbortSignal, progress: (done: number) => void) => Promise<UsageReport> {
  const { store, trees, quota, meters, limits, log } = options

  /** Traffic by owner, and the sum over everything. */
  async function traffic(period: 'day' | 'month', signal: AbortSignal) {
    const by = new Map<string, Traffic>()
    let all = NOTHING
    for await (const [owner, bytes] of meters.read(period, signal)) {
      all = sum(all, bytes)
      for (const key of new Set([owner.domain, keyOf(owner)])) by.set(key, sum(by.get(key) ?? NOTHING, bytes))
    }
    return { by, all }
  }

  /** Counts a part of a tree; what can't be read of it doesn't keep the rest from being counted. */
  async function part(of: string, into: Count, signal: AbortSignal, work: () => Promise<void>) {
    try {
      await work()
    } catch (error) {
      signal.throwIfAborted()
      log.warn({ of, cause: reason(error) }, 'could not count all of it: run seaway verify')
      into.incomplete = true
    }
  }

  async function holdings(view: TreeView, inTree: string, count: Count, signal: AbortSignal): Promise<void> {
    const seen = createHashSet()
    const take = (digest: Digest, size: number, here: boolean) => {
      count.asPushed += size
      const name = Buffer.from(digest.slice(digest.indexOf(':') + 1), 'hex').subarray(0, 32)
      if (seen.has(name)) return
      seen.add(name)
      if (here) count.onDisk += size
      else count.elsewhere += size
    }
    for await (const digest of view.manifests(inTree, signal)) {
      count.images++
      await part(`${inTree}@${digest}`, count, signal, async () => {
        const found = await manifestIn(store.peek, view, inTree, digest, signal)
        if (found !== undefined) take(digest, found.size, true)
        if (found?.manifest === undefined) count.incomplete = true
        for (const each of found?.manifest?.blobs ?? [])
          take(each.digest, each.size, (await store.peek.blob(each.digest)) !== undefined)
      })
    }
    count.tags = (await view.tags(inTree, signal)).length
  }

  return async (of, signal, progress) => {
    const [day, month] = [await traffic('day', signal), await traffic('month', signal)]
    const asked = of === undefined ? undefined : await target(of, month.by)
    const domains: DomainHoldings[] = []
    const repositories: Holdings[] = []
    const listed = new Set<string>()
    let more = false
    let done = 0

    /** What everything that is told of ends in. */
    const row = (name: string, key: string, { incomplete, ...count }: Count): Holdings => ({
      name,
      ...count,
      saved: Math.max(0, count.asPushed - count.onDisk - count.elsewhere),
      today: day.by.get(key) ?? NOTHING,
      month: month.by.get(key) ?? NOTHING,
      ...(incomplete && { incomplete })
    })
    function list(owner: Owner, count: Count): void {
      if (asked?.repository !== undefined && asked.repository !== owner.repository) return
      listed.add(keyOf(owner))
      progress(++done)
      if (repositories.length === MAX_LISTED) more = true
      else repositories.push(row(displayName(owner.domain, owner.repository), keyOf(owner), count))
    }
    function listDomain(domain: string, count: Count, counted: number): void {
      listed.add(domain)
      if (asked?.repository === undefined)
        domains.push({ ...row(domain, domain, count), ...limited(counted, quota.limitOf(domain)) })
    }

    for await (const domain of trees.domains()) {
      if (asked !== undefined && asked.domain !== domain) continue
      const root = (await trees.view(domain))?.root
      if (root === undefined) continue
      const total = nothing()
      let counted = 0
      const names = openLocal(root, store.peek)
      let tree = names
      await part(domain, total, signal, async () => {
        for await (const repository of namesIn(names.view, domain, '', signal)) {
          if (asked?.repository !== undefined && asked.repository !== repository) continue
          // What is elsewhere was read as empty, and counts once more where the next one lacks it too.
          if (tree.elsewhere()) tree = openLocal(root, store.peek)
          const count = nothing()
          const full = `${domain}/${repository}`
          await part(full, count, signal, async () => {
            const inTree = (await tree.view.hasRepository(full, signal)) ? full : repository
            await holdings(tree.view, inTree, count, signal)
          })
          if (tree.elsewhere()) count.incomplete = true
          addTo(total, count)
          list({ domain, repository }, count)
        }
      })
      if (names.elsewhere()) total.incomplete = true
      if (asked?.repository === undefined)
        await part(domain, total, signal, async () => {
          total.onDisk = await quota.domainBytes(domain, signal)
          counted = await quota.limitedBytes(domain, signal)
        })
      listDomain(domain, total, counted)
    }
    // What is only pulled from has no tree here.
    for (const key of [...month.by.keys()].sort()) {
      const [domain = '', repository] = key.split('\0')
      if (listed.has(key) || domain === '' || (asked !== undefined && asked.domain !== domain)) continue
      if (repository === undefined) listDomain(domain, nothing(), 0)
      else list({ domain, repository }, nothing())
    }
    const used = await quota.storeBytes(signal)
    const cached = await store.sweeper.cachedBytes(signal)
    const whole = {
      used,
      ...limited(used, limits.store),
      pushed: used - cached,
      cached,
      ...(limits.cache !== undefined && { cacheLimit: limits.cache }),
      ...(await store.space()),
      today: day.all,
      month: month.all
    }
    const high = [{ name: 'the store', ...whole }, ...domains].filter(({ percent = 0 }) => percent >= WARN_AT)
    return {
      store: whole,
      domains,
      repositories,
      more,
      warnings: high.map(({ name, percent }) => `${name} is at ${percent} % of its limit`)
    }
  }

  /** What a word of the command line names: a domain, or a repository in one, that has a tree or had traffic. */
  async function target(
    text: string,
    traffic: ReadonlyMap<string, Traffic>
  ): Promise<{ domain: string; repository?: string }> {
    const hasTree = async (domain: string) => (await trees.view(domain)) !== undefined
    if (text !== '' && ((await hasTree(text)) || traffic.has(text))) return { domain: text }
    const { place, repository } = parseRepository(text)
    const domain = place.kind === 'domain' ? place.domain : DEFAULT_DOMAIN
    const isKnown = async () => (await hasTree(domain)) || traffic.has(keyOf({ domain, repository }))
    if (place.kind === 'domain' && (await isKnown())) return { domain, repository }
    throw new RegistryError(
      'NAME_UNKNOWN',
      `${text} is no domain and no repository that has a tree here, or was pulled this month`
    )
  }
}

/** What is counted of a repository, or a domain. */
interface Count {
  images: number
  tags: number
  asPushed: number
  onDisk: number
  elsewhere: number
  incomplete: boolean
}

const nothing = (): Count => ({ images: 0, tags: 0, asPushed: 0, onDisk: 0, elsewhere: 0, incomplete: false })

function addTo(total: Count, part: Count): void {
  for (const what of ['images', 'tags', 'asPushed', 'onDisk', 'elsewhere'] as const) total[what] += part[what]
  total.incomplete ||= part.incomplete
}

/** Of an owner without a repository: its domain's, as {@link Meters} has it for those that are too many. */
const keyOf = ({ domain, repository }: Owner) => (repository === '' ? domain : `${domain}\0${repository}`)

function limited(used: number, limit: number | undefined): { limit?: number; percent?: number } {
  return limit === undefined ? {} : { limit, percent: Math.floor((used / Math.max(1, limit)) * 100) }
}
