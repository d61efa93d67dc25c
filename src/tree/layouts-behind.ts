import { LRUCache } from 'lru-cache'
import { CID } from 'multiformats/cid'
import type { Digest } from '../oci/digest.ts'
import { type IndexWrite, type Records, recordRow } from '../store/index.ts'
import type { Listed } from './image-index.ts'
import type { Touch, Touches } from './image-layout.ts'

/** After how much quiet layouts that stayed behind are brought in step; what comes sooner comes fast (milliseconds). */
export const PAUSE_MS = 100

/** How long layouts may stay behind while pushes keep coming, in milliseconds. */
const BEHIND_MS = 1000

/** What layouts of a domain don't follow yet. */
interface Late {
  readonly touches: Touch[]
  readonly keys: string[]
  since: number
}

/**
 * Layouts that wait for a pause. Where pushes come faster than they are written, each brings all layouts to where
 * the next one leaves them again at once; so they are changed once for many. What is outstanding is recorded with
 * each push, so that nothing is lost in a crash: the next change goes on with it.
 */
export interface LayoutsBehind {
  /** What layouts of the domain don't follow yet. */
  of(domain: string): Promise<Late>
  isLate(domain: string): Promise<boolean>
  /** Whether `changes` made at once may leave it to a later one to bring the layouts in step. */
  mayWait(domain: string, late: Late, touches: Touches, changes: number): boolean
  /** The rows that record it, and what is to be called once they are written. */
  defer(domain: string, late: Late, touches: Touches): { rows: IndexWrite[]; written: () => void }
  /** The same for a change that brings all in step, which touched `touches`. */
  settle(domain: string, late: Late, touches: Touches): { rows: IndexWrite[]; written: () => void }
}

/** A touch of which all is known, as it is recorded. */
interface Row {
  readonly repository: string
  readonly tags: (readonly [string, Listed | undefined])[]
  readonly contents: (readonly [Digest, string, number])[]
}

export function createLayoutsBehind(records: Records): LayoutsBehind {
  const all = new Map<string, Promise<Late>>()
  /** Repositories that have a layout: where one begins, it begins with its repository. */
  const begun = new LRUCache<string, true>({ max: 10_000 })
  /** When domains changed last. */
  const last = new LRUCache<string, number>({ max: 1000 })
  const begunKey = (domain: string, repository: string): string => `${domain} ${repository}`
  const none = (): Late => ({ touches: [], keys: [], since: 0 })

  async function load(domain: string): Promise<Late> {
    const found = none()
    for await (const [key, value] of records.list(`layouts/${domain}/`)) {
      found.keys.push(key)
      found.touches.push(...decode(value))
    }
    return found
  }

  function late(domain: string): Promise<Late> {
    let found = all.get(domain)
    if (found === undefined) {
      found = load(domain)
      // A failed read is tried again by the next change.
      found.catch(() => all.delete(domain))
      all.set(domain, found)
    }
    return found
  }

  return {
    of: late,
    isLate: async (domain) => (await late(domain)).keys.length > 0,
    mayWait(domain, { keys, since }, touches, changes) {
      const repositories = [...touches.all()].map(({ repository }) => begunKey(domain, repository))
      if (repositories.length === 0 || touches.lookUp()) return false
      const now = performance.now()
      const isFast = changes > 1 || now - (last.get(domain) ?? Number.NEGATIVE_INFINITY) < PAUSE_MS
      const isFresh = keys.length === 0 || now - since < BEHIND_MS
      return isFast && isFresh && repositories.every((key) => begun.has(key))
    },
    defer(domain, found, touches) {
      const key = `layouts/${domain}/${String(found.keys.length).padStart(9, '0')}`
      const written = (): void => {
        last.set(domain, performance.now())
        if (found.keys.length === 0) found.since = performance.now()
        found.keys.push(key)
        found.touches.push(...touches.all())
      }
      return { rows: [recordRow(key, encode(touches))], written }
    },
    settle: (domain, { keys }, touches) => ({
      rows: keys.map((key) => recordRow(key, undefined)),
      written() {
        last.set(domain, performance.now())
        all.set(domain, Promise.resolve(none()))
        for (const { repository } of touches.all()) begun.set(begunKey(domain, repository), true)
      }
    })
  }
}

function encode(touches: Touches): Uint8Array {
  const rows = [...touches.all()].map(({ repository, tags, contents }): Row => {
    const known = [...contents].flatMap(([digest, link]) =>
      link === undefined ? [] : [[digest, link.cid.toString(), link.size] as const]
    )
    return { repository, tags: [...tags], contents: known }
  })
  return Buffer.from(JSON.stringify(rows))
}

function decode(value: Uint8Array): Touch[] {
  const rows = JSON.parse(Buffer.from(value).toString()) as Row[]
  return rows.map(({ repository, tags, contents }) => ({
    repository,
    tags,
    contents: contents.map(([digest, cid, size]) => [digest, { cid: CID.parse(cid), size }] as const)
  }))
}
