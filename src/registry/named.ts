import type { CID } from 'multiformats/cid'
import type { Digest } from '../oci/digest.ts'
import type { Store } from '../store/index.ts'
import { type Directories, type LoadBlock, openTree, type TreeView, type TreeWriter } from '../tree/index.ts'
import type { Links } from './links.ts'
import { pinnedRoots } from './pins.ts'

/** Whether anything that is kept here names content by `digest`, or by a sha512 that leads to it. */
export type Named = (digest: Digest, signal: AbortSignal) => Promise<boolean>

/**
 * Asks the trees of this gateway, the roots of theirs that are kept, pins, and what was uploaded and is in no tree
 * yet: what a collection keeps. A tree that can't be read may name it, and so counts as one that does.
 *
 * @param options.kept roots of a domain that stay besides its current one
 */
export function createNamed(options: {
  store: Pick<Store, 'blocks' | 'integrity' | 'records'>
  trees: () => Pick<TreeWriter, 'domains' | 'view'>
  kept: (domain: string) => Promise<readonly CID[]>
  links: Pick<Links, 'list'>
  directories: Directories
  loader: (domain: string) => LoadBlock
}): Named {
  const { store, trees, kept, links, directories, loader } = options

  const local: LoadBlock = async (cid) => {
    const bytes = await store.blocks.find(cid)
    if (bytes === undefined) throw new Error(`${cid} is not here`)
    return bytes
  }

  async function* views(): AsyncGenerator<TreeView> {
    const open = (root: CID, load: LoadBlock) => openTree({ cid: root, size: 0 }, directories, load)
    for await (const domain of trees().domains()) {
      const current = await trees().view(domain)
      if (current !== undefined) yield current
      for (const root of await kept(domain)) yield open(root, loader(domain))
    }
    for await (const root of pinnedRoots(store.records)) yield open(root, local)
  }

  return async (digest, signal) => {
    const names = new Set([digest])
    for await (const alias of store.integrity.aliasesOf(digest)) names.add(alias)
    for await (const link of links.list()) if (names.has(link.digest)) return true
    for await (const view of views()) {
      signal.throwIfAborted()
      try {
        for (const name of names) if ((await view.blob(name, signal)) !== undefined) return true
      } catch {
        signal.throwIfAborted()
        return true
      }
    }
    return false
  }
}
