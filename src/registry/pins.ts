import { CID } from 'multiformats/cid'
import { RegistryError } from '../oci/errors.ts'
import type { Store } from '../store/index.ts'
import { openLocal } from './collect-reading.ts'
import type { History } from './history.ts'

/** A root that stays with all that is here of it, until it is unpinned. */
export interface Pin {
  /** Its CID. */
  readonly root: string
  /** What it was called when it was pinned: its CID, `example.com`, `example.com@7`. */
  readonly name: string
  /** ISO 8601. */
  readonly at: string
}

/** A pin that was just made, with what it holds. */
export interface Pinned extends Pin {
  readonly blobs: number
  /** Of those blobs, each once. */
  readonly bytes: number
  /** Blobs that the tree names and that are not here: a pin fetches nothing. */
  readonly elsewhere: number
  /** Whether the tree lacks directories here, so that it may name more. */
  readonly partial: boolean
}

/** Roots that no collection and no eviction touches. */
export interface Pins {
  /**
   * Pins a root: a CID, or what {@link History.resolve} knows. Waits for a collection that is under way. What is
   * pinned already stays as it was, and is told of anew.
   *
   * @throws {RegistryError} NAME_UNKNOWN when it isn't here, NAME_INVALID, REQUEST_INVALID for what is no tree
   */
  add(text: string, signal: AbortSignal): Promise<Pinned>
  /** All of them, by their CIDs. */
  list(): Promise<Pin[]>
  /** Unpins the root of that CID, or what was pinned by that name. @throws {RegistryError} NAME_UNKNOWN */
  remove(text: string): Promise<Pin>
}

const PREFIX = 'pin/'
const DAG_PB = 0x70

/** The roots that are pinned. */
export async function* pinnedRoots(records: Pick<Store['records'], 'list'>): AsyncGenerator<CID> {
  for await (const [key] of records.list(PREFIX)) yield CID.parse(key.slice(PREFIX.length))
}

export function createPins(options: {
  store: Pick<Store, 'records' | 'sweeper'>
  history: Pick<History, 'resolve'>
}): Pins {
  const { store, history } = options
  const { records } = store

  async function rootOf(text: string): Promise<CID> {
    const cid = cidIn(text) ?? (await history.resolve(text)).root
    if (cid.code === DAG_PB) return cid.toV1()
    throw new RegistryError('REQUEST_INVALID', `${text} is no registry tree: only roots can be pinned`)
  }

  async function list(): Promise<Pin[]> {
    const found: Pin[] = []
    for await (const [key, value] of records.list(PREFIX)) {
      const root = key.slice(PREFIX.length)
      found.push({ root, ...(JSON.parse(Buffer.from(value).toString()) as Omit<Pin, 'root'>) })
    }
    return found
  }

  return {
    list,

    async add(text, signal) {
      const cid = await rootOf(text)
      const root = cid.toString()
      // as a collection of its own: none that has marked already goes on to remove what is pinned meanwhile
      return store.sweeper.run(signal, async (sweep) => {
        const [directory] = await sweep.blocks([cid.multihash.bytes])
        if (directory === undefined) {
          throw new RegistryError(
            'NAME_UNKNOWN',
            `${root} is not here, and a pin fetches nothing: pull ipfs/${root}/<image> first`
          )
        }
        const held = { blobs: 0, bytes: 0, elsewhere: 0 }
        const tree = openLocal(cid, sweep)
        for await (const digest of tree.view.contents(signal)) {
          signal.throwIfAborted()
          const blob = await sweep.blob(digest)
          if (blob === undefined) held.elsewhere++
          else held.blobs++
          held.bytes += blob?.size ?? 0
        }
        const known = (await list()).find((pin) => pin.root === root)
        const pin = known ?? { root, name: text, at: new Date().toISOString() }
        const { name, at } = pin
        if (known === undefined) await records.put(PREFIX + root, Buffer.from(JSON.stringify({ name, at })))
        return { ...pin, ...held, partial: tree.elsewhere() }
      })
    },

    async remove(text) {
      const root = cidIn(text)?.toV1().toString()
      const found = (await list()).filter((pin) => pin.root === root || pin.name === text)
      const [pin] = found
      if (pin === undefined)
        throw new RegistryError('NAME_UNKNOWN', `${text} is not pinned: see seaway pin ls`)
      if (found.length > 1)
        throw new RegistryError(
          'REQUEST_INVALID',
          `${found.length} roots were pinned as ${text}: name one by its CID, as seaway pin ls lists them`
        )
      await records.delete(PREFIX + pin.root)
      return pin
    }
  }
}

function cidIn(text: string): CID | undefined {
  try {
    return CID.parse(text)
  } catch {
    return undefined // a domain, then
  }
}
