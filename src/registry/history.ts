import { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { RegistryError } from '../oci/errors.ts'
import { parseDomain } from '../oci/reference.ts'
import { recordRow, type Store } from '../store/index.ts'
import type { TreeWriter } from '../tree/index.ts'

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
  /** `root` is published now. Nothing happens when it is the last one already, or not the domain's root any more. */
  note(domain: string, root: CID): Promise<void>
  /** Those that are kept, the newest first. */
  list(domain: string): Promise<PublishedRoot[]>
  /**
   * The root that `domain` (the current one), `domain@N` (the one with that number) or `domain@CID` names.
   *
   * @throws {RegistryError} NAME_INVALID, NAME_UNKNOWN
   */
  resolve(text: string): Promise<{ domain: string; root: CID }>
}

const keyOf = (domain: string, n: number) => `published/${domain}/${String(n).padStart(12, '0')}`

/** @param options.keep how many roots of a domain are kept */
export function createHistory(options: {
  store: Pick<Store, 'records' | 'blocks' | 'uses'>
  trees: Pick<TreeWriter, 'root'>
  keep: number
  log: Log
}): History {
  const { store, trees, keep } = options
  let last: Promise<unknown> = Promise.resolve()

  async function list(domain: string): Promise<PublishedRoot[]> {
    const found: PublishedRoot[] = []
    for await (const [key, value] of store.records.list(`published/${domain}/`)) {
      const { root, at } = JSON.parse(Buffer.from(value).toString()) as { root: string; at: string }
      found.unshift({ n: Number(key.slice(key.lastIndexOf('/') + 1)), root: CID.parse(root), at })
    }
    return found
  }

  async function note(domain: string, root: CID): Promise<void> {
    const known = await list(domain)
    if (known[0]?.root.equals(root) === true) return
    if ((await trees.root(domain))?.equals(root) !== true) return
    const n = (known[0]?.n ?? 0) + 1
    const value = Buffer.from(JSON.stringify({ root: root.toString(), at: new Date().toISOString() }))
    const old = known
      .slice(Math.max(0, keep - 1))
      .map((entry) => recordRow(keyOf(domain, entry.n), undefined))
    await store.blocks.commit([], keep === 0 ? [] : [[keyOf(domain, n), value]], old)
  }

  return {
    note(domain, root) {
      // A collection that begins while this is under way waits for it, and then keeps the root.
      const mine = last.then(() => store.uses.during(() => note(domain, root)))
      last = mine.catch(() => undefined) // whoever notes it hears of it
      return mine
    },

    async list(domain) {
      return (await list(domain)).slice(0, keep)
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
