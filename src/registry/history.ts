import { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { parseDomain } from '../oci/reference.ts'
import { recordRow, type Store } from '../store/index.ts'
import { createDirectories, diffTags, type LoadBlock, type TreeWriter } from '../tree/index.ts'

/** A root that was published: printed by `serve` with its records, or recorded by `seaway publish`. */
export interface PublishedRoot {
  /** Its number among those of its domain, from 1 on; it never changes. */
  readonly n: number
  readonly root: CID
  /** ISO 8601. */
  readonly at: string
}

/** The roots that domains have published. The last ones are kept with all that they hold. */
export interface History {
  /**
   * `root` may be published now, since it was printed, or it has been. Nothing happens when it is not the domain's
   * root any more, and no more than that it counts as published when it is the last one already.
   *
   * One that was only printed, and moves no tag, is no change that anybody wants to go back to: children of an
   * index that is still coming, a collection. It stands beside the root before it, as one of the same, until the
   * next such root takes its place.
   */
  note(domain: string, root: CID, how?: 'printed' | 'published'): Promise<void>
  /** Those that are kept, the newest first. */
  list(domain: string): Promise<PublishedRoot[]>
  /**
   * The root that `domain` (the current one), `domain@N` (the one with that number) or `domain@CID` names.
   *
   * @throws {RegistryError} NAME_INVALID, NAME_UNKNOWN
   */
  resolve(text: string): Promise<{ domain: string; root: CID }>
}

/** One as it is kept. */
interface Entry extends PublishedRoot {
  /** It has the tags of the one before it, and nobody has published it as far as is known. */
  readonly beside: boolean
}

/** How long finding out what moved may take, in milliseconds: it reads the store alone. */
const DIFF_MS = 30_000

const keyOf = (domain: string, n: number) => `published/${domain}/${String(n).padStart(12, '0')}`

/** @param options.keep how many roots of a domain are kept, the current one among them, without those beside others */
export function createHistory(options: {
  store: Pick<Store, 'records' | 'blocks' | 'uses'>
  trees: Pick<TreeWriter, 'root'>
  keep: number
  log: Log
}): History {
  const { store, trees, keep, log } = options
  let last: Promise<unknown> = Promise.resolve()

  async function list(domain: string): Promise<Entry[]> {
    const found: Entry[] = []
    for await (const [key, value] of store.records.list(`published/${domain}/`)) {
      const entry = JSON.parse(Buffer.from(value).toString()) as { root: string; at: string; beside?: true }
      const n = Number(key.slice(key.lastIndexOf('/') + 1))
      found.unshift({ n, root: CID.parse(entry.root), at: entry.at, beside: entry.beside === true })
    }
    return found
  }

  /** Those of `entries`, the newest first, that are kept. */
  function keptOf(entries: readonly Entry[]): Entry[] {
    let counted = 0
    return entries.filter(({ beside }) => {
      const kept = counted < keep
      if (!beside) counted++
      return kept
    })
  }

  /** Whether two roots have the same tags, as far as that can be told from what is here. */
  async function sameTags(before: CID, after: CID): Promise<boolean> {
    const load: LoadBlock = async (cid) => {
      const bytes = await store.blocks.find(cid)
      if (bytes === undefined) throw new RegistryError('UNAVAILABLE', `directory ${cid} is not here`)
      return bytes
    }
    try {
      const until = AbortSignal.timeout(DIFF_MS)
      for await (const _ of diffTags(before, after, createDirectories(), load, until)) return false
      return true
    } catch (error) {
      log.debug(
        { cause: reason(error) },
        'could not tell whether a root moves tags, so it counts as if it did'
      )
      return false
    }
  }

  async function note(domain: string, root: CID, how: 'printed' | 'published'): Promise<void> {
    const known = await list(domain)
    const [last] = known
    const again = last?.root.equals(root) === true
    const settled = how === 'printed' || !last?.beside
    if (again && settled) return
    if (!again && (await trees.root(domain))?.equals(root) !== true) return
    const same = !again && last !== undefined && (await sameTags(last.root, root))
    const entry: Entry = again
      ? { ...last, beside: false }
      : { n: (last?.n ?? 0) + 1, root, at: new Date().toISOString(), beside: same && how === 'printed' }
    const replaced = again || (same && last.beside)
    const kept = keptOf([entry, ...known.slice(replaced ? 1 : 0)])
    const numbers = new Set(kept.map(({ n }) => n))
    const old = known
      .filter(({ n }) => !numbers.has(n))
      .map(({ n }) => recordRow(keyOf(domain, n), undefined))
    const value = { root: root.toString(), at: entry.at, ...(entry.beside && { beside: true }) }
    const put: [string, Uint8Array] = [keyOf(domain, entry.n), Buffer.from(JSON.stringify(value))]
    await store.blocks.commit([], keep === 0 ? [] : [put], old)
  }

  return {
    note(domain, root, how = 'printed') {
      // A collection that begins while this is under way waits for it, and then keeps the root.
      const mine = last.then(() => store.uses.during(() => note(domain, root, how)))
      last = mine.catch(() => undefined) // whoever notes it hears of it
      return mine
    },

    async list(domain) {
      return keptOf(await list(domain))
    },

    async resolve(text) {
      const at = text.indexOf('@')
      const domain = parseDomain(at === -1 ? text : text.slice(0, at))
      const current = await trees.root(domain)
      if (current === undefined) {
        throw new RegistryError(
          'NAME_UNKNOWN',
          `${domain} has no registry tree here: push an image to it first`
        )
      }
      if (at === -1) return { domain, root: current }
      const wanted = text.slice(at + 1)
      const found = (await list(domain)).find(
        ({ n, root }) => String(n) === wanted || root.toString() === wanted
      )
      if (found === undefined) {
        throw new RegistryError(
          'NAME_UNKNOWN',
          `${domain} has no published root '${wanted.slice(0, 80)}' here any more: see seaway history ${domain}`
        )
      }
      return { domain, root: found.root }
    }
  }
}
