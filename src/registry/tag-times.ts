import { LRUCache } from 'lru-cache'
import type { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import type { Digest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import { type IndexWrite, type Records, recordRow } from '../store/index.ts'
import {
  createDirectories,
  diffTags,
  type LoadBlock,
  openTree,
  pastKey,
  pastTime,
  type TagMove,
  type TreeWriter
} from '../tree/index.ts'

/**
 * When tags were made to point at what they point at: records `tag/<domain>/<repository>\0<tag>`, written in one
 * step with the tag. A tree can't hold it without making the same content two different trees.
 */
export function tagTimeKey(domain: string, repository: string, tag: string): string {
  return `tag/${domain}/${repository}\0${tag}`
}

/** Where the newest time of a repository stands: no tag has an empty name, and it goes with the rest of them. */
const newestKey = (domain: string, repository: string) => tagTimeKey(domain, repository, '')

/** Where it stands since when tags are here that have no time of their own. */
const untimedKey = (domain: string) => `tags/${domain}`

/** Of how many repositories the newest time is remembered. */
const MAX_REPOSITORIES = 1000

/** Of how many tags it is remembered that they were moved: of those that are on their way, and more. */
const MAX_MOVED = 10_000

/** What retention knows of tags beside the tree. Whoever moves a tag writes its rows in the same change. */
export interface TagTimes {
  /**
   * The rows that say that tags are moved now. Of one repository, what is moved later has the later time, also
   * when the clock was set back between.
   */
  rows(domain: string, moves: readonly TagMove[]): Promise<IndexWrite[]>
  /**
   * The rows for a tree that becomes another one. Where it can't be told which tags differ, all those that have no
   * time of their own count as moved now.
   */
  rowsBetween(
    domain: string,
    before: CID | undefined,
    after: CID,
    load: LoadBlock,
    signal: AbortSignal
  ): Promise<IndexWrite[]>
  /** The row that keeps {@link untimed} what it is when the tree is to have another base. */
  untimedRows(domain: string): Promise<IndexWrite[]>
  /** When a tag was made to point at `digest` (epoch ms); `undefined` when its row is of something else, or isn't there. */
  of(domain: string, repository: string, tag: string, digest: Digest): Promise<number | undefined>
  /** When rows were made for a tag last (epoch ms), perhaps of a change that is still on its way; it is forgotten in time. */
  moved(domain: string, repository: string, tag: string): number | undefined
  /** Since when tags are here that have no time of their own, because the tree began from a published one. */
  untimed(domain: string): Promise<number | undefined>
}

/** Opens them. */
export function createTagTimes(options: {
  records: Records
  trees: Pick<TreeWriter, 'base'>
  log: Log
}): TagTimes {
  const { records, trees, log } = options
  const newest = new LRUCache<string, number>({ max: MAX_REPOSITORIES })
  const moved = new LRUCache<string, number>({ max: MAX_MOVED })

  async function newestOf(domain: string, repository: string): Promise<number> {
    const key = newestKey(domain, repository)
    const known = newest.get(key)
    if (known !== undefined) return known
    const value = await records.get(key)
    if (value !== undefined) return timeIn(value).at
    let found = 0
    // Rows from before there was one that says it.
    for await (const [, row] of records.list(key)) found = Math.max(found, timeIn(row).at)
    return found
  }

  async function rowsOf(
    domain: string,
    repository: string,
    moves: readonly TagMove[]
  ): Promise<IndexWrite[]> {
    const gone = moves.filter(({ digest }) => digest === undefined)
    const rows = gone.map(({ tag }) => recordRow(tagTimeKey(domain, repository, tag), undefined))
    if (gone.length === moves.length) return rows
    const key = newestKey(domain, repository)
    const before = await newestOf(domain, repository)
    // Another may have come while this one was read.
    const at = Math.max(Date.now(), before + 1, (newest.get(key) ?? 0) + 1)
    newest.set(key, at)
    rows.push(recordRow(key, Buffer.from(String(at))))
    for (const { tag, digest } of moves) {
      if (digest === undefined) continue
      const tagKey = tagTimeKey(domain, repository, tag)
      moved.set(tagKey, at)
      rows.push(recordRow(tagKey, Buffer.from(`${at} ${digest}`)))
    }
    return rows
  }

  async function rows(domain: string, moves: readonly TagMove[]): Promise<IndexWrite[]> {
    const found: IndexWrite[] = []
    for (const [repository, part] of Map.groupBy(moves, (move) => move.repository))
      for (const row of await rowsOf(domain, repository, part)) found.push(row)
    return found
  }

  async function untimed(domain: string): Promise<number | undefined> {
    const since = await records.get(untimedKey(domain))
    if (since !== undefined) return timeIn(since).at
    const base = await trees.base(domain)
    const value = base && (await records.get(pastKey(domain, base)))
    return value && pastTime(value)
  }

  return {
    rows,
    untimed,
    moved: (domain, repository, tag) => moved.get(tagTimeKey(domain, repository, tag)),

    async rowsBetween(domain, before, after, load, signal) {
      if (before === undefined) return []
      const directories = createDirectories()
      const view = openTree({ cid: after, size: 0 }, directories, load)
      const moves: TagMove[] = []
      try {
        for await (const { repository, tag } of diffTags(before, after, directories, load, signal))
          moves.push({ repository, tag, digest: await view.tag(repository, tag, signal) })
        return await rows(domain, moves)
      } catch (error) {
        signal.throwIfAborted()
        log.warn(
          { domain, cause: reason(error) },
          'could not tell which tags change, so all may count as new'
        )
        return [recordRow(untimedKey(domain), Buffer.from(String(Date.now())))]
      }
    },

    async untimedRows(domain) {
      const since = await untimed(domain)
      return since === undefined ? [] : [recordRow(untimedKey(domain), Buffer.from(String(since)))]
    },

    async of(domain, repository, tag, digest) {
      const value = await records.get(tagTimeKey(domain, repository, tag))
      if (value === undefined) return undefined
      const { at, what } = timeIn(value)
      return what === undefined || what === digest ? at : undefined
    }
  }
}

/** What a row says. Those of old don't say what the tag pointed at. */
function timeIn(value: Uint8Array): { at: number; what: string | undefined } {
  const [at, what] = Buffer.from(value).toString().split(' ')
  return { at: Number(at), what }
}
