import type { Digest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { MAX_MANIFEST, readManifest } from '../oci/manifest.ts'
import { DEFAULT_DOMAIN, displayName, parseRepository } from '../oci/reference.ts'
import { createHashSet, type Store } from '../store/index.ts'
import type { TreeView, TreeWriter } from '../tree/index.ts'
import { type Meters, sum, type Traffic } from './meters.ts'
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
}): (of: string | undefined, signal: AbortSignal, progress: (done: number) => void) => Promise<UsageReport> {
  const { store, trees, quota, meters, limits } = options

  /** Traffic by owner, of the domain that is asked for or of all, and the sum over everything. */
  async function traffic(period: 'day' | 'month', domain: string | undefined, signal: AbortSignal) {
    const by = new Map<string, Traffic>()
    let all = NOTHING
    for await (const [owner, bytes] of meters.read(period, signal)) {
      all = sum(all, bytes)
      if (domain !== undefined && owner.domain !== domain) continue
      for (const key of [owner.domain, `${owner.domain}\0${owner.repository}`])
        by.set(key, sum(by.get(key) ?? NOTHING, bytes))
    }
    return { by, all }
  }

  async function holdings(view: TreeView, inTree: string, signal: AbortSignal) {
    const seen = createHashSet()
    const count = { images: 0, asPushed: 0, onDisk: 0, elsewhere: 0 }
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
      const blob = await store.blobs.stat(digest)
      if (blob === undefined) continue
      take(digest, blob.size, true)
      const bytes = await store.blobs.readSmall(blob, MAX_MANIFEST)
      const { blobs } = readManifest(bytes, await view.manifestType(inTree, digest, signal))
      for (const each of blobs)
        take(each.digest, each.size, (await store.blobs.stat(each.digest)) !== undefined)
    }
    return { ...count, tags: (await view.tags(inTree, signal)).length }
  }

  return async (of, signal, progress) => {
    const asked = of === undefined ? undefined : await target(of)
    const [day, month] = [
      await traffic('day', asked?.domain, signal),
      await traffic('month', asked?.domain, signal)
    ]
    const domains: DomainHoldings[] = []
    const repositories: Holdings[] = []
    let more = false
    let done = 0
    for await (const domain of trees.domains()) {
      if (asked !== undefined && asked.domain !== domain) continue
      const view = await trees.view(domain)
      if (view === undefined) continue
      const total = { images: 0, tags: 0, asPushed: 0, elsewhere: 0 }
      for await (const name of namesIn(view, domain, '', signal)) {
        if (asked?.repository !== undefined && asked.repository !== name) continue
        const inTree = (await view.hasRepository(`${domain}/${name}`, signal)) ? `${domain}/${name}` : name
        const found = await holdings(view, inTree, signal)
        total.images += found.images
        total.tags += found.tags
        total.asPushed += found.asPushed
        total.elsewhere += found.elsewhere
        progress(++done)
        if (repositories.length === MAX_LISTED) more = true
        else {
          const key = `${domain}\0${name}`
          repositories.push({
            name: displayName(domain, name),
            ...found,
            saved: Math.max(0, found.asPushed - found.onDisk - found.elsewhere),
            today: day.by.get(key) ?? NOTHING,
            month: month.by.get(key) ?? NOTHING
          })
        }
      }
      if (asked?.repository !== undefined) continue
      const onDisk = await quota.domainBytes(domain, signal)
      domains.push({
        name: domain,
        ...total,
        onDisk,
        saved: Math.max(0, total.asPushed - total.elsewhere - onDisk),
        today: day.by.get(domain) ?? NOTHING,
        month: month.by.get(domain) ?? NOTHING,
        ...limited(onDisk, quota.limitOf(domain))
      })
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

  /** What a word of the command line names: a domain that has a tree, or a repository in one. */
  async function target(text: string): Promise<{ domain: string; repository?: string }> {
    if ((await trees.root(text)) !== undefined) return { domain: text }
    const { place, repository } = parseRepository(text)
    const domain = place.kind === 'domain' ? place.domain : DEFAULT_DOMAIN
    if (place.kind === 'domain' && (await trees.root(domain)) !== undefined) return { domain, repository }
    throw new RegistryError('NAME_UNKNOWN', `${text} is no domain and no repository that has a tree here`)
  }
}

function limited(used: number, limit: number | undefined): { limit?: number; percent?: number } {
  return limit === undefined ? {} : { limit, percent: Math.floor((used / Math.max(1, limit)) * 100) }
}
